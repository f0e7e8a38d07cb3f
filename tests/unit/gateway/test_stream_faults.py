"""Streams that are a little wrong, at every door and from every provider."""

from itertools import product

import pytest

from model_service.gateway.plans import convert
from model_service.gateway.routes import Operation, Route
from model_service.providers.chat import Usage
from model_service.providers.translation import StreamRelay
from tests.unit.gateway.recovery_streams import (
    BODIES,
    DOORS,
    PROVIDERS,
    answer,
    parsed,
    registered,
    sent,
)

EVERYWHERE = [*product(DOORS, PROVIDERS)]
USAGE = Usage(input=9, output=7)
#: Streams that OpenAI's Responses API gives end with the event that has the finish reason.
MARKED = [
    (door, place)
    for door, place in EVERYWHERE
    if place not in ("google", "google-old", "ollama")
    and not (door == "openai_responses" and place in ("openai", "azure"))
]


def relay(door: str, place: str) -> StreamRelay:
    """The way back that a stream usually goes."""
    route = Route(door, door.partition("_")[0], Operation.CHAT)
    return convert(route, registered(place), dict(BODIES[door]), stream=True, now=1).relay()


def broken(place: str) -> bytes:
    """An event that is none."""
    return b'{"model": "up", "mess\n' if place == "ollama" else b'data: {"broken": \n\n'


@pytest.mark.parametrize(("door", "place"), EVERYWHERE)
def test_a_malformed_event_is_skipped_when_what_follows_is_sound(door: str, place: str) -> None:
    way = relay(door, place)
    pieces = sent(place, door, answer(["It is ", "Paris."]))
    middle = len(pieces) // 2
    out = b"".join(map(way.feed, [*pieces[:middle], broken(place), *pieces[middle:]])) + way.end()

    assert way.complete
    assert parsed(door, out).text == "It is Paris."


@pytest.mark.parametrize(("door", "place"), EVERYWHERE)
def test_a_stream_that_ends_in_what_is_no_event_fails(door: str, place: str) -> None:
    way = relay(door, place)
    pieces = sent(place, door, answer(["It is ", "Paris."]))
    for piece in [*pieces[:2], broken(place), broken(place)]:
        way.feed(piece)
    way.end()

    assert not way.complete
    assert way.failure is not None
    assert way.failure.fault.code == "malformed_answer"


@pytest.mark.parametrize(("door", "place"), MARKED)
def test_a_stream_with_a_finish_reason_needs_no_closing_mark(door: str, place: str) -> None:
    way = relay(door, place)
    data = b"".join(sent(place, door, answer(["It is ", "Paris."])))
    mark = b"event: message_stop" if place.startswith("anthropic") else b"data: [DONE]"
    whole, found, _ = data.partition(mark)
    assert found
    out = way.feed(whole) + way.end()

    assert way.complete
    assert way.usage == USAGE
    got = parsed(door, out)
    assert len(got.ends) == 1
    assert got.usage == (9, 7)
