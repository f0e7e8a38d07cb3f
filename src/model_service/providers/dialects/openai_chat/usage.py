"""Used tokens, as chat completions count them: everything that went in is in `prompt_tokens`.

Sources: https://developers.openai.com/api/reference/resources/chat (CompletionUsage),
https://api-docs.deepseek.com/api/create-chat-completion, https://docs.x.ai/docs/guides/reasoning,
https://ai.google.dev/gemini-api/docs/openai
"""

from typing import Final

from model_service.providers.chat import Document, Usage

#: More than any call can use; whoever says so counts wrong.
_MOST: Final = 10**12
_HITS: Final = "prompt_cache_hit_tokens"


def usage_document(usage: Usage) -> Document:
    """`usage` of an answer."""
    prompt, output = usage.prompt, usage.output
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def read_usage(document: Document) -> Usage:
    """The tokens by class, from a provider's `usage`. What makes no sense counts as none."""
    plain = _plain(document)
    if plain is not None:
        return plain
    prompt = count(document.get("prompt_tokens"))
    output = count(document.get("completion_tokens"))
    into = _details(document, "prompt_tokens_details")
    cached = count(into.get("cached_tokens"))
    if not cached:  # DeepSeek's, and Moonshot's
        cached = count(document.get(_HITS))
        cached = cached or count(document.get("cached_tokens"))
    written = count(into.get("cache_write_tokens"))
    reasoning = count(_details(document, "completion_tokens_details").get("reasoning_tokens"))
    # xAI has thoughts beside the output rather than in it, and Gemini's compatible API does not
    # name them at all: the total tells.
    beside = count(document.get("total_tokens")) - prompt - output
    if beside > 0 and reasoning in (0, beside):
        output, reasoning = output + beside, beside
    # Where the cache is counted beside the prompt, it does not fit into it.
    fresh = prompt - cached - written
    return Usage(
        input=fresh if fresh >= 0 else prompt,
        cached_input=cached,
        cache_write=written,
        output=output,
        reasoning=min(reasoning, output),
    )


def _plain(document: Document) -> Usage | None:
    """The tokens as OpenAI itself spells them, with nothing written to a cache; else None."""
    prompt, output = document.get("prompt_tokens"), document.get("completion_tokens")
    into, out = document.get("prompt_tokens_details"), document.get("completion_tokens_details")
    if (
        type(prompt) is not int
        or type(output) is not int
        or type(into) is not dict
        or type(out) is not dict
        or prompt + output != document.get("total_tokens")
    ):
        return None
    cached, reasoning = into.get("cached_tokens"), out.get("reasoning_tokens")
    if (
        type(cached) is not int
        or type(reasoning) is not int
        or into.get("cache_write_tokens")
        or not 0 <= cached <= prompt <= _MOST
        or not 0 <= reasoning <= output <= _MOST
        or (not cached and (_HITS in document or "cached_tokens" in document))
    ):
        return None
    return Usage(prompt - cached, cached, 0, 0, output, reasoning)


def paid_tier(document: Document) -> str | None:
    """The service tier that an answer, or an event of a stream, names; None for the usual one."""
    tier = document.get("service_tier")
    return tier if type(tier) is str and tier != "default" else None


def _details(document: Document, name: str) -> Document:
    details = document.get(name)
    return details if isinstance(details, dict) else {}


def count(value: object) -> int:
    """A number of tokens; 0 for what is none."""
    if type(value) is int:  # nearly always
        return value if 0 <= value <= _MOST else 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 <= value <= _MOST else 0
