"""What a proxy before the provider may send where a stream was asked for."""

import pytest

from model_service.providers.dialects.anthropic.passthrough import AnthropicRelay
from model_service.providers.dialects.anthropic.reader import AnthropicReader
from model_service.providers.faults import FaultKind
from tests.unit.dialects.anthropic.wire_data import TEXT_STREAM, sse

ERROR = b'{"type":"error","error":{"type":"overloaded_error","message":"Busy"}}'
NO_EVENTS = [
    b"<html>\n\n<body>Sign in to the hotel's network</body>\n\n</html>\n\n",
    b"foo: bar\n\nid: 1\n\nretry: 5\n\n",
    b"event: error\n\n",
    b"{}\n\n",
]


@pytest.mark.parametrize("page", NO_EVENTS, ids=range(len(NO_EVENTS)))
def test_what_is_no_event_does_not_pass(page: bytes) -> None:
    relay = AnthropicRelay("opus")
    assert relay.feed(page) + relay.end() == b""
    assert relay.failure is not None
    assert relay.failure.fault.kind is FaultKind.UPSTREAM


@pytest.mark.parametrize("page", NO_EVENTS, ids=range(len(NO_EVENTS)))
def test_what_is_no_event_is_left_out_of_a_stream(page: bytes) -> None:
    relay = AnthropicRelay("opus")
    passed = relay.feed(sse(*TEXT_STREAM[:4]) + page + sse(*TEXT_STREAM[4:]))
    assert passed == sse(*TEXT_STREAM).replace(b"claude-opus-4-8", b"opus")
    assert relay.complete


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"], ids=["none", "line", "blank"])
def test_a_plain_error_in_place_of_a_stream_keeps_its_words(end: bytes) -> None:
    for reads in (AnthropicRelay("opus"), AnthropicReader()):
        assert not reads.feed(ERROR + end)
        assert not reads.end()
        assert reads.failure is not None
        assert reads.failure.fault.kind is FaultKind.OVERLOADED
        assert reads.failure.fault.message == "Busy"


def test_a_plain_error_behind_events_is_the_failure() -> None:
    for reads in (AnthropicRelay("opus"), AnthropicReader()):
        reads.feed(sse(*TEXT_STREAM[:4]) + ERROR)
        reads.end()
        assert reads.failure is not None
        assert reads.failure.fault.message == "Busy"
