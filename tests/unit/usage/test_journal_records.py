"""Payloads say what they were told, whatever that was, and are never too long to be kept."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.usage.records import (
    MOST_BYTES,
    begun_payload,
    event_payload,
    interrupted,
    origin,
    parse_event,
)
from model_service.usage.segments import MOST_RECORD, RECORD_BYTES
from tests.usage_journals import TIME_MS, begun, event, event_id

_TOKENS = st.integers(0, 2**53)
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=255)
_MAYBE_UUID = st.none() | st.uuids()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_ORIGIN: dict[str, Any] = {
    "user_id": None,
    "token_id": None,
    "model": "m",
    "provider": "OPENAI",
    "upstream_model": "u",
    "key_id": None,
    "door": "openai",
    "operation": "chat",
    "stream": True,
}


def _event(**changes: Any) -> bytes:
    values: dict[str, Any] = {
        "id": str(event_id(1)),
        "time_ms": TIME_MS,
        "request_id": "req",
        "status": 200,
        "input_tokens": 1,
        "cached_input_tokens": 2,
        "cache_write_tokens": 3,
        "cache_write_1h_tokens": 4,
        "output_tokens": 5,
        "reasoning_tokens": 6,
        "cost": "1.50",
        "price_version": "v",
        "latency_ms": 1.5,
        "first_token_ms": 0.5,
        "attempts": 2,
    }
    whose = {name: changes.pop(name) for name in list(changes) if name in _ORIGIN}
    return event_payload(origin=origin(**(_ORIGIN | whose)), **(values | changes))


@given(
    id=st.uuids(),
    time_ms=st.integers(0, 4_000_000_000_000),
    user_id=st.none() | _TEXT,
    token_id=_MAYBE_UUID,
    key_id=_MAYBE_UUID,
    model=_TEXT,
    tokens=st.tuples(_TOKENS, _TOKENS, _TOKENS, _TOKENS, _TOKENS, _TOKENS),
    cost=st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=12),
    tags=st.lists(st.text("abc", max_size=9), max_size=5),
)
def test_an_event_is_read_as_it_was_told(
    id: UUID,  # noqa: A002 - the event's own word for it
    time_ms: int,
    user_id: str | None,
    token_id: UUID | None,
    key_id: UUID | None,
    model: str,
    tokens: tuple[int, ...],
    cost: Decimal | None,
    tags: list[str],
) -> None:
    names = (
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "output_tokens",
        "reasoning_tokens",
    )
    read = parse_event(
        _event(
            id=id,
            time_ms=time_ms,
            user_id=user_id,
            token_id=token_id,
            key_id=key_id,
            model=model,
            cost=None if cost is None else str(cost),
            tags=tags,
            **dict(zip(names, tokens, strict=True)),
        )
    )
    assert (read.id, read.user_id, read.token_id) == (id, user_id, token_id)
    assert (read.key_id, read.model, read.tags) == (key_id, model, tuple(tags))
    assert read.time == _EPOCH + timedelta(milliseconds=time_ms)
    assert tuple(getattr(read, name) for name in names) == tokens
    assert read.cost == cost


def test_every_other_field_is_read_as_it_was_told() -> None:
    read = parse_event(
        _event(
            status=499,
            stream=False,
            first_token_ms=None,
            fallback_from="other",
            estimated=True,
            error_class="timeout",
            why={"candidates": ["a", "b"]},
        )
    )
    assert (read.request_id, read.provider, read.upstream_model) == ("req", "OPENAI", "u")
    assert (read.door, read.operation, read.status, read.stream) == ("openai", "chat", 499, False)
    assert (read.price_version, read.latency_ms, read.first_token_ms) == ("v", 1.5, None)
    assert (read.attempts, read.fallback_from, read.estimated) == (2, "other", True)
    assert (read.error_class, read.why) == ("timeout", {"candidates": ["a", "b"]})


def test_an_id_may_be_told_as_text() -> None:
    assert parse_event(_event(id=str(event_id(5)))).id == event_id(5)


def test_a_call_cut_is_an_estimated_failure_of_the_service() -> None:
    read = interrupted(begun(3))
    assert read.id == event_id(3)
    assert read.time == _EPOCH + timedelta(milliseconds=TIME_MS)
    assert (read.status, read.estimated, read.error_class) == (500, True, "interrupted")
    assert (read.input_tokens, read.output_tokens, read.cost) == (7, 0, None)


def test_a_call_cut_costs_what_was_estimated_for_its_input() -> None:
    payload = begun_payload(
        str(event_id(1)),
        TIME_MS,
        "r",
        origin(**(_ORIGIN | {"token_id": event_id(2), "key_id": event_id(3)})),
        9,
        "0.0000025",
        "v1",
        ("a",),
    )
    read = interrupted(payload)
    assert (read.cost, read.price_version, read.tags) == (Decimal("0.0000225"), "v1", ("a",))
    assert (read.token_id, read.key_id, read.stream) == (event_id(2), event_id(3), True)


def test_a_why_too_long_to_be_kept_is_left_out() -> None:
    payload = _event(why={"skipped": ["x" * 100] * 100}, tags=("kept",))
    read = parse_event(payload)
    assert len(payload) <= MOST_BYTES
    assert (read.why, read.tags) == ({"omitted": "too long"}, ("kept",))


def test_tags_too_long_to_be_kept_are_left_out() -> None:
    read = parse_event(_event(tags=["x" * 1000] * 10, why={"a": 1}))
    assert (read.tags, read.output_tokens, read.cost) == ((), 5, Decimal("1.50"))


def test_the_longest_texts_there_are_still_fit_into_a_record() -> None:
    widest = "\U0001f600" * 5000
    payload = _event(
        user_id=widest,
        model=widest,
        upstream_model=widest,
        fallback_from=widest,
        request_id=widest,
        price_version=widest,
        tags=[widest],
        why={"a": widest},
    )
    assert len(payload) + RECORD_BYTES <= MOST_RECORD
    assert parse_event(payload).output_tokens == 5


def test_the_longest_intent_still_fits_into_a_record() -> None:
    payload = begun_payload(
        str(event_id(1)),
        TIME_MS,
        "r" * 9000,
        origin(
            **(_ORIGIN | {"user_id": "u" * 9000, "model": "m" * 9000, "upstream_model": "u" * 9000})
        ),
        9,
        None,
        None,
        ["t" * 9000],
    )
    assert len(payload) + RECORD_BYTES <= MOST_RECORD
    assert interrupted(payload).input_tokens == 9


def test_half_a_character_does_not_lose_the_event() -> None:
    assert parse_event(_event(model="a\ud800b", why={"x": ["\udfff"]})).model == "a?b"


def test_a_number_beyond_belief_does_not_lose_the_event() -> None:
    assert parse_event(_event(output_tokens=10**40)).output_tokens == 2**53


@pytest.mark.parametrize("read", [parse_event, interrupted])
@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"[2]", b"[1,2,3]", b"\xff", b"null"])
def test_what_is_no_payload_is_refused(read: Callable[[bytes], Any], payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(payload)


@pytest.mark.parametrize("place", [1, 2, 4, 12])
def test_a_payload_with_a_value_of_another_kind_is_refused(place: int) -> None:
    values = orjson.loads(event(1))
    values[place] = ["?"]
    with pytest.raises(ValueError, match=r"."):
        parse_event(orjson.dumps(values))
