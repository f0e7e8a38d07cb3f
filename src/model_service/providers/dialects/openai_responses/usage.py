"""What the API says was used, and why an answer ended."""

from typing import Final

from model_service.providers.chat import FinishReason, Usage
from model_service.providers.translation import Document

# What is not below it is no number of tokens, and sums of it might not fit into JSON.
_GREATEST: Final = 2**53


def read_usage(response: Document) -> Usage | None:
    """The `usage` of a response, in disjoint classes; None without one.

    `input_tokens` has everything that went in; what was read from a cache and what was written to
    it are parts of that. Of the two lifetimes of caches (30 minutes, 12 hours) the longer one
    stands where the intermediate form has its longer one.
    """
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    details = _object(usage.get("input_tokens_details"))
    given = _count(usage.get("input_tokens"))
    cached = min(_count(details.get("cached_tokens")), given)
    written = min(_count(details.get("cache_write_tokens")), given - cached)
    longer = _object(details.get("cache_write_tokens_details")).get("ttl_12h_tokens")
    written_longer = min(_count(longer), written)
    output = _count(usage.get("output_tokens"))
    reasoning = _object(usage.get("output_tokens_details")).get("reasoning_tokens")
    tier = response.get("service_tier")
    return Usage(
        input=given - cached - written,
        cached_input=cached,
        cache_write=written - written_longer,
        cache_write_1h=written_longer,
        output=output,
        reasoning=min(_count(reasoning), output),
        tier=tier if type(tier) is str and tier != "default" else None,
    )


def cut_reason(response: Document) -> FinishReason:
    """Why a response is incomplete."""
    reason = _object(response.get("incomplete_details")).get("reason")
    if reason == "content_filter":
        return FinishReason.CONTENT_FILTER
    return FinishReason.LENGTH


def _object(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if type(value) is int and 0 < value < _GREATEST else 0
