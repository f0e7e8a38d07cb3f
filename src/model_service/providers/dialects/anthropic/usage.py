"""Token counts of the Messages API.

`input_tokens` leave out what was read from and written to the cache. In a stream
`message_start` has the first counts, and each `message_delta` totals that replace them
(https://platform.claude.com/docs/en/build-with-claude/streaming).
"""

from typing import Final

from model_service.providers.chat import Document, Usage
from model_service.providers.dialects.anthropic.wire import paid_tier

# More than any answer has; what is above is no count.
_MOST: Final = 2**53
_NOTHING_WRITTEN: Final = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}


def read_usage(document: object, before: Usage | None = None) -> Usage | None:
    """The counts of a `usage` object, laid over those known before.

    What it leaves out stays as it was. Counts of the prompt do not go back to nothing: some
    servers repeat them as 0 at the end.
    """
    if not isinstance(document, dict):
        return before
    plain = _plain(document) if before is None else None
    if plain is not None:
        plain.tier = paid_tier(document)
        return plain
    known = before or Usage()
    written = _of_prompt(
        document, "cache_creation_input_tokens", known.cache_write + known.cache_write_1h
    )
    hour = known.cache_write_1h
    creation = document.get("cache_creation")
    if isinstance(creation, dict):
        hour = _of_prompt(creation, "ephemeral_1h_input_tokens", hour)
        written = max(written, hour + _count(creation, "ephemeral_5m_input_tokens", 0))
    hour = min(hour, written)
    output = _count(document, "output_tokens", known.output)
    details = document.get("output_tokens_details")
    thinking = known.reasoning
    if isinstance(details, dict):
        thinking = _count(details, "thinking_tokens", thinking)
    return Usage(
        input=_of_prompt(document, "input_tokens", known.input),
        cached_input=_of_prompt(document, "cache_read_input_tokens", known.cached_input),
        cache_write=written - hour,
        cache_write_1h=hour,
        output=output,
        reasoning=min(thinking, output),
        tier=paid_tier(document) or known.tier,
    )


def _plain(document: Document) -> Usage | None:
    """The first counts, with nothing written to the cache; None for others."""
    fresh, output = document.get("input_tokens"), document.get("output_tokens")
    cached, creation = document.get("cache_read_input_tokens"), document.get("cache_creation")
    if (
        type(fresh) is not int
        or type(output) is not int
        or type(cached) is not int
        or not (0 <= fresh < _MOST and 0 <= output < _MOST and 0 <= cached < _MOST)
        or document.get("cache_creation_input_tokens")
        or "output_tokens_details" in document
        or (creation is not None and creation != _NOTHING_WRITTEN)
    ):
        return None
    return Usage(fresh, cached, 0, 0, output)


def write_usage(usage: Usage) -> Document:
    """The `usage` object of a whole answer."""
    return {
        **write_totals(usage),
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
    }


def write_totals(usage: Usage) -> Document:
    """The `usage` object of a `message_delta`."""
    totals: Document = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cached_input,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        totals["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return totals


def _count(document: Document, name: str, otherwise: int) -> int:
    value = document.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST:
        return value
    return otherwise


def _of_prompt(document: Document, name: str, known: int) -> int:
    return _count(document, name, known) or known
