"""Costs worked out by hand: what a provider reports, what it asks, and the sum, line by line.

Prices are US dollars for a million tokens, as published on 2026-11-25 by
https://developers.openai.com/api/docs/pricing, https://platform.claude.com/docs/en/about-claude/pricing
and https://ai.google.dev/gemini-api/docs/pricing. A line reads: so many tokens, at so much for a
million, come to so many dollars.
"""

from dataclasses import dataclass
from typing import Any

Line = tuple[int, str, str]

GPT_4O = {"input": 2.5, "cachedInput": 1.25, "output": 10}
GPT_5 = {
    "input": 1.25,
    "cachedInput": 0.125,
    "output": 10,
    "tiers": {
        "flex": {"input": 0.625, "cachedInput": 0.0625, "output": 5},
        "priority": {"input": 2.5, "cachedInput": 0.25, "output": 20},
        "batch": {"multiplier": 0.5},
    },
}
GPT_5_4 = {
    "input": 2.5,
    "cachedInput": 0.25,
    "output": 15,
    "longContext": [{"above": 272_000, "input": 5, "cachedInput": 0.5, "output": 22.5}],
}
EMBEDDING = {"input": 0.02}
HAIKU_4_5 = {
    "input": 1,
    "cachedInput": 0.1,
    "cacheWrite": 1.25,
    "cacheWrite1h": 2,
    "output": 5,
    "tiers": {"batch": {"multiplier": 0.5}},
}
SONNET_4_5 = {
    "input": 3,
    "cachedInput": 0.3,
    "cacheWrite": 3.75,
    "cacheWrite1h": 6,
    "output": 15,
    "longContext": [
        {
            "above": 200_000,
            "input": 6,
            "cachedInput": 0.6,
            "cacheWrite": 7.5,
            "cacheWrite1h": 12,
            "output": 22.5,
        }
    ],
}
GEMINI_2_5_PRO = {
    "input": 1.25,
    "cachedInput": 0.125,
    "output": 10,
    "longContext": [{"above": 200_000, "input": 2.5, "cachedInput": 0.25, "output": 15}],
}
GEMINI_2_5_FLASH = {"input": 0.3, "cachedInput": 0.03, "output": 2.5}


@dataclass(frozen=True)
class Worked:
    """A call: its provider's report in the form of `dialect`, the prices, and the sum."""

    name: str
    dialect: str
    reported: dict[str, Any]
    prices: dict[str, Any]
    lines: tuple[Line, ...]
    dollars: str
    book: tuple[str, str]
    """The provider and the model by which the bundled book is to say the same."""
    tier: str | None = None


def chat(prompt: int, output: int, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    """`usage` of chat completions: the prompt includes what was cached, the output reasoning."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def responses(given: int, output: int, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    """A response's `usage`."""
    return {
        "usage": {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": reasoning},
        }
    }


def messages(
    fresh: int, output: int, read: int = 0, five_minutes: int = 0, hour: int = 0
) -> dict[str, Any]:
    """A message's `usage`: the input leaves out what was read from or written to a cache."""
    return {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": five_minutes + hour,
        "cache_creation": {
            "ephemeral_5m_input_tokens": five_minutes,
            "ephemeral_1h_input_tokens": hour,
        },
        "output_tokens": output,
    }


def gemini(prompt: int, answer: int, cached: int = 0, thoughts: int = 0) -> dict[str, Any]:
    """`usageMetadata`: the prompt includes what was cached, thoughts are beside the answer."""
    return {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": cached,
        "candidatesTokenCount": answer,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": prompt + answer + thoughts,
    }


WORKED = (
    Worked(
        "openai: cached tokens are part of the prompt, so 2006 - 1920 are fresh",
        "openai_chat",
        chat(2006, 300, cached=1920),
        GPT_4O,
        (
            (86, "2.5", "0.000215"),
            (1920, "1.25", "0.0024"),
            (300, "10", "0.003"),
        ),
        "0.005615",
        book=("OPENAI", "gpt-4o"),
    ),
    Worked(
        "openai: reasoning is in the completion already, and costs as much",
        "openai_chat",
        chat(75, 1186, reasoning=1024),
        GPT_5,
        ((75, "1.25", "0.00009375"), (1186, "10", "0.01186")),
        "0.01195375",
        book=("OPENAI", "gpt-5"),
    ),
    Worked(
        "openai responses: the same rules under other names",
        "openai_responses",
        responses(10_000, 500, cached=9_000, reasoning=400),
        GPT_5,
        ((1_000, "1.25", "0.00125"), (9_000, "0.125", "0.001125"), (500, "10", "0.005")),
        "0.007375",
        book=("OPENAI", "gpt-5"),
    ),
    Worked(
        "openai flex: half of it all",
        "openai_chat",
        chat(10_000, 500, cached=9_000),
        GPT_5,
        ((1_000, "0.625", "0.000625"), (9_000, "0.0625", "0.0005625"), (500, "5", "0.0025")),
        "0.0036875",
        tier="flex",
        book=("OPENAI", "gpt-5"),
    ),
    Worked(
        "openai priority: twice as much",
        "openai_chat",
        chat(10_000, 500, cached=9_000),
        GPT_5,
        ((1_000, "2.5", "0.0025"), (9_000, "0.25", "0.00225"), (500, "20", "0.01")),
        "0.01475",
        tier="priority",
        book=("OPENAI", "gpt-5"),
    ),
    Worked(
        "openai batch: half, by a multiplier",
        "openai_chat",
        chat(10_000, 500, cached=9_000),
        GPT_5,
        ((1_000, "0.625", "0.000625"), (9_000, "0.0625", "0.0005625"), (500, "5", "0.0025")),
        "0.0036875",
        tier="batch",
        book=("OPENAI", "gpt-5"),
    ),
    Worked(
        "a tier that nobody has a price for costs what the standard one does",
        "openai_chat",
        chat(10_000, 500),
        GPT_5,
        ((10_000, "1.25", "0.0125"), (500, "10", "0.005")),
        "0.0175",
        tier="scale",
        book=("OPENAI", "gpt-5"),
    ),
    Worked(
        "openai: a prompt of just 272,000 tokens is a short one",
        "openai_chat",
        chat(272_000, 1_000, cached=200_000),
        GPT_5_4,
        ((72_000, "2.5", "0.18"), (200_000, "0.25", "0.05"), (1_000, "15", "0.015")),
        "0.245",
        book=("OPENAI", "gpt-5.4"),
    ),
    Worked(
        "openai: with one token more, all of them cost what long prompts do",
        "openai_chat",
        chat(272_001, 1_000, cached=200_000),
        GPT_5_4,
        ((72_001, "5", "0.360005"), (200_000, "0.5", "0.1"), (1_000, "22.5", "0.0225")),
        "0.482505",
        book=("OPENAI", "gpt-5.4"),
    ),
    Worked(
        "embeddings: only what goes in",
        "openai_chat",
        {"prompt_tokens": 8, "total_tokens": 8},
        EMBEDDING,
        ((8, "0.02", "0.00000016"),),
        "0.00000016",
        book=("OPENAI", "text-embedding-3-small"),
    ),
    Worked(
        "anthropic: cached tokens are beside the input, and reading them costs a tenth",
        "anthropic",
        messages(21, 393, read=188_086),
        HAIKU_4_5,
        ((21, "1", "0.000021"), (188_086, "0.1", "0.0188086"), (393, "5", "0.001965")),
        "0.0207946",
        book=("ANTHROPIC", "claude-haiku-4-5"),
    ),
    Worked(
        "anthropic: writing for five minutes costs 1.25 times as much, for an hour twice",
        "anthropic",
        messages(2_048, 503, read=1_800, five_minutes=456, hour=100),
        HAIKU_4_5,
        (
            (2_048, "1", "0.002048"),
            (1_800, "0.1", "0.00018"),
            (456, "1.25", "0.00057"),
            (100, "2", "0.0002"),
            (503, "5", "0.002515"),
        ),
        "0.005513",
        book=("ANTHROPIC", "claude-haiku-4-5"),
    ),
    Worked(
        "anthropic batch: half of everything, caches too",
        "anthropic",
        messages(2_048, 503, read=1_800, five_minutes=456, hour=100),
        HAIKU_4_5,
        (
            (2_048, "0.5", "0.001024"),
            (1_800, "0.05", "0.00009"),
            (456, "0.625", "0.000285"),
            (100, "1", "0.0001"),
            (503, "2.5", "0.0012575"),
        ),
        "0.0027565",
        tier="batch",
        book=("ANTHROPIC", "claude-haiku-4-5"),
    ),
    Worked(
        "anthropic: a prompt of just 200,000 tokens with its caches is a short one",
        "anthropic",
        messages(50_000, 1_000, read=100_000, five_minutes=40_000, hour=10_000),
        SONNET_4_5,
        (
            (50_000, "3", "0.15"),
            (100_000, "0.3", "0.03"),
            (40_000, "3.75", "0.15"),
            (10_000, "6", "0.06"),
            (1_000, "15", "0.015"),
        ),
        "0.405",
        book=("ANTHROPIC", "claude-sonnet-4-5"),
    ),
    Worked(
        "anthropic: what is cached counts towards a long prompt",
        "anthropic",
        messages(50_000, 1_000, read=100_001, five_minutes=40_000, hour=10_000),
        SONNET_4_5,
        (
            (50_000, "6", "0.3"),
            (100_001, "0.6", "0.0600006"),
            (40_000, "7.5", "0.3"),
            (10_000, "12", "0.12"),
            (1_000, "22.5", "0.0225"),
        ),
        "0.8025006",
        book=("ANTHROPIC", "claude-sonnet-4-5"),
    ),
    Worked(
        "gemini: thoughts are beside the answer, and are output all the same",
        "google",
        gemini(1_000, 200, thoughts=850),
        GEMINI_2_5_FLASH,
        ((1_000, "0.3", "0.0003"), (1_050, "2.5", "0.002625")),
        "0.002925",
        book=("GOOGLE", "gemini-2.5-flash"),
    ),
    Worked(
        "gemini: cached content is part of the prompt, so 30,000 - 28,000 are fresh",
        "google",
        gemini(30_000, 100, cached=28_000),
        GEMINI_2_5_PRO,
        ((2_000, "1.25", "0.0025"), (28_000, "0.125", "0.0035"), (100, "10", "0.001")),
        "0.007",
        book=("GOOGLE", "gemini-2.5-pro"),
    ),
    Worked(
        "gemini: a prompt of just 200,000 tokens is a short one",
        "google",
        gemini(200_000, 400, thoughts=600),
        GEMINI_2_5_PRO,
        ((200_000, "1.25", "0.25"), (1_000, "10", "0.01")),
        "0.26",
        book=("GOOGLE", "gemini-2.5-pro"),
    ),
    Worked(
        "gemini: above 200,000 tokens thoughts cost more as well",
        "google",
        gemini(200_001, 400, thoughts=600),
        GEMINI_2_5_PRO,
        ((200_001, "2.5", "0.5000025"), (1_000, "15", "0.015")),
        "0.5150025",
        book=("GOOGLE", "gemini-2.5-pro"),
    ),
    Worked(
        "gemini: a blocked prompt costs what went in",
        "google",
        {"promptTokenCount": 12, "totalTokenCount": 12},
        GEMINI_2_5_FLASH,
        ((12, "0.3", "0.0000036"),),
        "0.0000036",
        book=("GOOGLE", "gemini-2.5-flash"),
    ),
)
