"""The Gemini API's words for what all dialects know, and where its methods are.

Sources: https://ai.google.dev/api/generate-content, and the API's description at
https://generativelanguage.googleapis.com/$discovery/rest?version=v1beta.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from model_service.providers.chat import Document, FinishReason, Usage

#: What this dialect is called, as a door and as an upstream.
NAME: Final = "google"

#: In place of a signature, for calls that Gemini did not make: its documented way to take over a
#: conversation (https://ai.google.dev/gemini-api/docs/generate-content/thought-signatures, FAQ).
UNSIGNED: Final = "skip_thought_signature_validator"

# Of counts, those that most answers have not.
_SPECIAL: Final = frozenset(
    ("cachedContentTokenCount", "toolUsePromptTokenCount", "thoughtsTokenCount", "serviceTier")
)

_COLLECTIONS: Final = ("models/", "tunedModels/")

_FILTERED: Final = (
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
)

#: Why an answer ended. What is not here is no end of an answer, but a failure of the model's:
#: MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, OTHER and the like.
FINISHES: Final[Mapping[str, FinishReason]] = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    # The limit of one request. Whoever came by another door cannot send the token to go on with.
    "CONTINUATION": FinishReason.LENGTH,
    **dict.fromkeys(_FILTERED, FinishReason.CONTENT_FILTER),
}

#: The other way. A pause has no word here: the answer goes on when the caller asks again.
FINISH_WORDS: Final[Mapping[FinishReason, str]] = {
    FinishReason.STOP: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.CONTENT_FILTER: "SAFETY",
    FinishReason.REFUSAL: "SAFETY",
    FinishReason.STOP_SEQUENCE: "STOP",
    FinishReason.PAUSE: "STOP",
}

#: A tier of ours (OpenAI's words) for Google's.
TIERS: Final[Mapping[str, str]] = {"standard": "default", "flex": "flex", "priority": "priority"}


def resource(model: str) -> str:
    """The model's resource name, as bodies have it."""
    return model if model.startswith(_COLLECTIONS) else f"models/{model}"


def method_path(model: str, method: str) -> str:
    """The path of a method of a model, below the base URL."""
    collection, _, name = resource(model).partition("/")
    return f"/v1beta/{collection}/{quote(name, safe='')}:{method}"


def usage_of(document: object) -> Usage | None:
    """Token counts in our classes; None when there are none.

    The prompt's count has what was cached in it, but not what built-in tools put into the
    prompt; the candidates' count has no thoughts in it.
    """
    if not isinstance(document, dict):
        return None
    prompt, output = document.get("promptTokenCount"), document.get("candidatesTokenCount")
    if (
        type(prompt) is type(output) is int
        and prompt >= 0
        and output >= 0
        and _SPECIAL.isdisjoint(document)
    ):
        return Usage(prompt, 0, 0, 0, output)
    cached = _count(document, "cachedContentTokenCount")
    prompt = _count(document, "promptTokenCount")
    if "toolUsePromptTokenCount" in document:
        prompt += _count(document, "toolUsePromptTokenCount")
    thoughts = _count(document, "thoughtsTokenCount")
    return Usage(
        input=max(prompt - cached, 0),
        cached_input=cached,
        output=_count(document, "candidatesTokenCount") + thoughts,
        reasoning=thoughts,
        tier=None if "serviceTier" not in document else _paid_tier(document),
    )


def usage_document(usage: Usage) -> Document:
    """Token counts as Google has them."""
    document: dict[str, Any] = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": max(usage.output - usage.reasoning, 0),
        "totalTokenCount": usage.total,
    }
    if usage.cached_input:
        document["cachedContentTokenCount"] = usage.cached_input
    if usage.reasoning:
        document["thoughtsTokenCount"] = usage.reasoning
    return document


def _paid_tier(metadata: object) -> str | None:
    tier = tier_of(metadata)
    return None if tier == "default" else tier


def tier_of(metadata: object) -> str | None:
    """The tier that usage metadata tells of, in OpenAI's words."""
    tier = metadata.get("serviceTier") if isinstance(metadata, dict) else None
    return TIERS.get(tier.lower()) if isinstance(tier, str) else None


def _count(document: Mapping[str, object], name: str) -> int:
    value = document.get(name)
    return value if type(value) is int and value > 0 else 0
