"""Reading providers' listings of models: what dialects share.

Listings come from outside, so every field is checked, cut to what the API shows, and None
when it is of another type. What cannot be a listing at all raises MalformedListing.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from model_service.kernel.provider import OfferedModel

Entry = Mapping[str, object]

#: No provider offers more; whoever lists more is broken or means harm.
MOST_MODELS: Final = 5_000

# What a registration takes (API.md: name and modelId 255, description 10,000 characters).
_LONGEST_NAME: Final = 255
_LONGEST_DESCRIPTION: Final = 10_000
_LONGEST_CURSOR: Final = 2048
# Beyond any model's window, and exact as a JSON number everywhere (RFC 8259 section 6).
_MOST_TOKENS: Final = 2**53 - 1
_YEAR_10000: Final = 253_402_300_800  # seconds since 1970: the first second a datetime cannot hold


class MalformedListing(Exception):
    """The answer is not the listing of models it should be; it never leaves this package."""


def entries(document: object, name: str) -> Sequence[Entry]:
    """The objects in the array `name` of the document. Raises MalformedListing."""
    return objects(document.get(name) if isinstance(document, dict) else None)


def objects(array: object) -> Sequence[Entry]:
    """The array, when it is one of objects alone, and not too many. Raises MalformedListing."""
    if not isinstance(array, list) or len(array) > MOST_MODELS:
        raise MalformedListing
    if not all(isinstance(entry, dict) for entry in array):
        raise MalformedListing
    return array


def model_id(entry: Entry, *names: str) -> str:
    """The first of the named fields that is there, as a model's id. Raises MalformedListing."""
    value = next((entry[name] for name in names if name in entry), None)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME or not value.isprintable():
        raise MalformedListing
    return value


def display_name(entry: Entry, *names: str) -> str | None:
    """The first of the named fields that can be shown as a name."""
    return _text(entry, names, _LONGEST_NAME)


def description(entry: Entry, name: str = "description") -> str | None:
    """The field as a description, cut to 10,000 characters."""
    return _text(entry, (name,), _LONGEST_DESCRIPTION)


def tokens(entry: Entry, *names: str) -> int | None:
    """The first of the named fields that is a number of tokens."""
    for name in names:
        value = entry.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_TOKENS:
            return value
    return None


def epoch_moment(entry: Entry, name: str) -> datetime | None:
    """The field, in seconds since 1970, as a time. Zero stands for not known."""
    value = entry.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _YEAR_10000:
        return datetime.fromtimestamp(value, UTC)
    return None


def iso_moment(entry: Entry, name: str) -> datetime | None:
    """The field, an RFC 3339 string, as a time in UTC. 1970 stands for not known."""
    value = entry.get(name)
    if not isinstance(value, str):
        return None
    try:
        given = datetime.fromisoformat(value)
        moment = given.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if given.tzinfo is not None and moment.timestamp() > 0 else None


def cursor(value: object) -> str:
    """Where the next page begins. Raises MalformedListing."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_CURSOR:
        raise MalformedListing
    return value


def openai_models(document: object) -> tuple[OfferedModel, ...]:
    """A listing as OpenAI and all who imitate it give it. Raises MalformedListing.

    OpenAI itself says no more than `id` and `created`. Vendors add, after their API references:
    Groq `context_window` and `max_completion_tokens`, OpenRouter `name`, `description`,
    `context_length` and `top_provider.max_completion_tokens`, Mistral `name`, `description` and
    `max_context_length`, vLLM `max_model_len`. Together answers with the bare array and names
    models in `display_name`.
    """
    array = objects(document) if isinstance(document, list) else entries(document, "data")
    return tuple(_openai_model(entry) for entry in array)


def _openai_model(entry: Entry) -> OfferedModel:
    identifier = model_id(entry, "id")
    nested = entry.get("top_provider")
    top_provider = nested if isinstance(nested, dict) else {}
    return OfferedModel(
        id=identifier,
        name=display_name(entry, "name", "display_name") or identifier,
        description=description(entry),
        max_tokens=tokens(entry, "max_completion_tokens")
        or tokens(top_provider, "max_completion_tokens"),
        context_window=tokens(
            entry, "context_window", "context_length", "max_context_length", "max_model_len"
        ),
        created=epoch_moment(entry, "created"),
    )


def _text(entry: Entry, names: Sequence[str], longest: int) -> str | None:
    for name in names:
        value = entry.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()[:longest]
    return None
