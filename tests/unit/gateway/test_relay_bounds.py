"""What a provider streams to keep this service busy: the work grows no faster than the stream."""

import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import orjson
import pytest

from model_service.gateway.plans import convert
from model_service.gateway.relay import MOST_CALLS
from model_service.gateway.routes import find
from model_service.kernel.types import Provider
from model_service.providers.translation import StreamRelay
from tests.unit.gateway.keys import model

BODY: dict[str, Any] = {"model": "m", "stream": True, "max_tokens": 9}
ASKED = [{"role": "user", "content": "hello"}]
DOORS: dict[bytes, dict[str, Any]] = {
    b"/v1/chat/completions": BODY | {"messages": ASKED},
    b"/v1/responses": {"model": "m", "stream": True, "input": "hello"},
    b"/v1/messages": BODY | {"messages": ASKED},
    b"/v1beta/models/m:streamGenerateContent?alt=sse": {"contents": [{"parts": [{"text": "x"}]}]},
}


def delta(**said: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": said, "finish_reason": None}]}


def call(index: int, arguments: str = "") -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return delta(tool_calls=[{"index": index, "id": f"call_{index}", "function": function}])


def block(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def open_calls(count: int) -> Iterator[dict[str, Any]]:
    yield from map(call, range(count))


def texts_beside_a_call(count: int) -> Iterator[dict[str, Any]]:
    yield call(0, '{"a":"')
    for _ in range(count):
        yield delta(tool_calls=[{"index": 0, "function": {"arguments": "x" * 50}}])
        yield delta(content="y")


def open_blocks(count: int) -> Iterator[dict[str, Any]]:
    yield from (block(index, type="text", text="") for index in range(count))


def open_tools(count: int) -> Iterator[dict[str, Any]]:
    for index in range(count):
        yield block(index, type="tool_use", id=f"toolu_{index}", name="f", input={})


Stream = Callable[[int], Iterator[dict[str, Any]]]
STREAMS: list[tuple[Provider, Stream]] = [
    (Provider.CUSTOM, open_calls),
    (Provider.CUSTOM, texts_beside_a_call),
    (Provider.ANTHROPIC, open_blocks),
    (Provider.ANTHROPIC, open_tools),
]


def relayed(path: bytes, provider: Provider, events: Iterator[dict[str, Any]]) -> StreamRelay:
    """What the stream came to, fed in small pieces."""
    route = find(path, [])
    assert route is not None
    relay = convert(route, model(provider=provider), dict(DOORS[path]), stream=True, now=1).relay()
    data = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)
    for start in range(0, len(data), 4096):
        relay.feed(data[start : start + 4096])
        if relay.failure is not None:
            break
    relay.end()
    return relay


def ids(one: Any) -> str:
    path, (provider, stream) = one
    return f"{provider}-{stream.__name__}-{path.decode()}"


@pytest.mark.parametrize("one", list(product(DOORS, STREAMS)), ids=ids)
def test_a_stream_without_sense_or_end_is_soon_dealt_with(one: Any) -> None:
    """Some of these once took a minute: each new event was compared with all before it."""
    path, (provider, stream) = one
    started = time.process_time()
    relay = relayed(path, provider, stream(20_000))
    assert time.process_time() - started < 10
    assert relay.failure is not None


def test_more_calls_than_anybody_makes_are_a_failure() -> None:
    relay = relayed(b"/v1/messages", Provider.CUSTOM, open_calls(MOST_CALLS + 1))
    assert relay.failure is not None
    assert "calls" in relay.failure.fault.message


def test_as_many_calls_as_that_are_passed_on() -> None:
    def whole() -> Iterator[dict[str, Any]]:
        yield from open_calls(MOST_CALLS)
        yield {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}

    assert relayed(b"/v1/messages", Provider.CUSTOM, whole()).complete
