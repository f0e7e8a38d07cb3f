"""What a journal's records say: flat lists as JSON, cheap to make and to read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import orjson

from model_service.usage.domain import UsageEvent

#: First in every payload. A later version may have more; what is here keeps its place.
VERSION: Final = 1
#: Longest payload in bytes. An event without `why` and tags is far below it: of its texts six may
#: be set by users, each of at most 255 characters of at most four bytes.
MOST_BYTES: Final = 8_000
#: The status of a call whose process died: it was the service that failed.
INTERRUPTED_STATUS: Final = 500
#: The class of error of such a call.
INTERRUPTED: Final = "interrupted"

#: Longest text kept where a payload is too long even without `why` and tags, in characters.
_MOST_TEXT: Final = 255
#: Largest number of tokens believed; what is above it does not even fit a JSON integer.
_MOST_TOKENS: Final = 2**53

_TAGS: Final = 21
_WHY: Final = 22
_BEGUN_TAGS: Final = 8


def origin(
    user_id: str | None,
    token_id: UUID | None,
    model: str,
    provider: str,
    upstream_model: str,
    key_id: UUID | None,
    door: str,
    operation: str,
    stream: bool,
) -> orjson.Fragment:
    """What many calls have in common, written once: who calls what, with which key, and how."""
    values = [
        user_id, token_id, model, provider, upstream_model, key_id, door, operation, stream
    ]  # fmt: skip
    return orjson.Fragment(orjson.dumps([_short(_plain(value)) for value in values]))


def begun_payload(
    id: str,  # noqa: A002 - the event's own word for it
    time_ms: int,
    request_id: str,
    origin: orjson.Fragment,
    input_tokens: int,
    input_rate: str | None = None,
    price_version: str | None = None,
    tags: Sequence[str] = (),
) -> bytes:
    """What is known of a call before its provider is asked.

    `time_ms` is in milliseconds since 1970, UTC; `id`, a UUID, and `time_ms` must be the event's
    own later on. `input_tokens` is an estimate; `input_rate` is US dollars for one of them.
    """
    return _dump(
        [VERSION, id, time_ms, request_id, origin, input_tokens, input_rate, price_version, tags],
        len_fixed=_BEGUN_TAGS,
    )


def event_payload(
    id: str,  # noqa: A002 - the event's own word for it
    time_ms: int,
    request_id: str,
    origin: orjson.Fragment,
    status: int,
    input_tokens: int,
    cached_input_tokens: int,
    cache_write_tokens: int,
    cache_write_1h_tokens: int,
    output_tokens: int,
    reasoning_tokens: int,
    cost: str | None,
    price_version: str | None,
    latency_ms: float,
    first_token_ms: float | None,
    attempts: int,
    fallback_from: str | None = None,
    estimated: bool = False,
    error_class: str | None = None,
    tags: Sequence[str] = (),
    why: Mapping[str, Any] | None = None,
) -> bytes:
    """An event as `UsageEvent` has it; `cost` is the text of a decimal number.

    A `why` that makes it longer than `MOST_BYTES` is left out, then the tags, then what is
    beyond 255 characters of a text: what is billed for is never too long to be kept.
    """
    return _dump(
        [
            VERSION,
            id,
            time_ms,
            request_id,
            origin,
            status,
            input_tokens,
            cached_input_tokens,
            cache_write_tokens,
            cache_write_1h_tokens,
            output_tokens,
            reasoning_tokens,
            cost,
            price_version,
            latency_ms,
            first_token_ms,
            attempts,
            fallback_from,
            estimated,
            error_class,
            None,  # room for one more, so that tags and why stay last
            tags,
            why,
        ],
        len_fixed=_TAGS,
    )


def parse_event(payload: bytes) -> UsageEvent:
    """The event that `event_payload` wrote.

    Raises:
        ValueError: it is none.
    """
    values = _load(payload, _WHY + 1)
    try:
        return UsageEvent(
            **_common(values),
            status=values[5],
            input_tokens=values[6],
            cached_input_tokens=values[7],
            cache_write_tokens=values[8],
            cache_write_1h_tokens=values[9],
            output_tokens=values[10],
            reasoning_tokens=values[11],
            cost=_decimal(values[12]),
            price_version=values[13],
            latency_ms=values[14],
            first_token_ms=values[15],
            attempts=values[16],
            fallback_from=values[17],
            estimated=values[18],
            error_class=values[19],
            tags=tuple(values[_TAGS]),
            why=values[_WHY],
        )
    except (TypeError, AttributeError, ArithmeticError, OSError) as error:
        raise ValueError("not an event") from error


def moment_of(payload: bytes) -> datetime:
    """When the call of an event's payload began.

    Raises:
        ValueError: it is none, or no such time can be told.
    """
    try:
        return datetime.fromtimestamp(_load(payload, _WHY + 1)[2] / 1000, UTC)
    except (TypeError, ArithmeticError, OSError) as error:
        raise ValueError("not an event") from error


def interrupted(payload: bytes) -> UsageEvent:
    """The event of a call that was begun and never ended, from what `begun_payload` wrote.

    What it used is not known: its tokens are those that were estimated before it began.

    Raises:
        ValueError: it is no such payload.
    """
    values = _load(payload, _BEGUN_TAGS + 1)
    try:
        rate = _decimal(values[6])
        return UsageEvent(
            **_common(values),
            status=INTERRUPTED_STATUS,
            input_tokens=values[5],
            cost=None if rate is None else rate * values[5],
            price_version=values[7],
            attempts=1,
            estimated=True,
            error_class=INTERRUPTED,
            tags=tuple(values[_BEGUN_TAGS]),
            why={"interrupted": "the process ended before the call did"},
        )
    except (TypeError, AttributeError, ArithmeticError, OSError) as error:
        raise ValueError("not a call begun") from error


def _common(values: list[Any]) -> dict[str, Any]:
    """What calls begun and ended both say. Raises TypeError, AttributeError, ValueError."""
    user_id, token_id, model, provider, upstream, key_id, door, operation, stream = values[4]
    return {
        "id": UUID(values[1]),
        "time": datetime.fromtimestamp(values[2] / 1000, UTC),
        "request_id": values[3],
        "user_id": user_id,
        "token_id": _uuid(token_id),
        "model": model,
        "provider": provider,
        "upstream_model": upstream,
        "key_id": _uuid(key_id),
        "door": door,
        "operation": operation,
        "stream": stream,
    }


def _load(payload: bytes, length: int) -> list[Any]:
    values = orjson.loads(payload)
    if not isinstance(values, list) or len(values) < length or values[0] != VERSION:
        raise ValueError("not a payload of this version")
    return values


# The same few tokens and keys, over and over.
@lru_cache(4096)
def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _dump(values: list[Any], *, len_fixed: int) -> bytes:
    """The payload. Values from `len_fixed` on may be left out: the tags, then perhaps why."""
    try:
        payload = orjson.dumps(values)
    except TypeError:
        return _shortened([_plain(value) for value in values], len_fixed)
    return payload if len(payload) <= MOST_BYTES else _shortened(values, len_fixed)


def _shortened(values: list[Any], len_fixed: int) -> bytes:
    """The same, made to fit: first without why, then without tags, then with shorter texts."""
    for place, instead in ((len_fixed + 1, {"omitted": "too long"}), (len_fixed, ())):
        payload = orjson.dumps(values)
        if len(payload) <= MOST_BYTES:
            return payload
        if place < len(values):
            values[place] = instead
    payload = orjson.dumps(values)
    if len(payload) <= MOST_BYTES:
        return payload
    return orjson.dumps([_short(value) for value in values])


def _short(value: Any) -> Any:  # noqa: ANN401 - as above
    return value[:_MOST_TEXT] if isinstance(value, str) else value


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a caller put into a payload
    """What JSON can say of a value: a stray half of a character, or a huge number, is mended."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-_MOST_TOKENS, min(value, _MOST_TOKENS))
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | float | orjson.Fragment):
        return value
    return str(value)
