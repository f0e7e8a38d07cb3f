"""Providers that go on after they have said that an answer ended, as some proxies do.

https://github.com/su-kaka/gcli2api/issues/403: every chunk has a finish reason. What comes after
the first one cannot be passed on any more, and the answer without it is not whole.
"""

import pytest

from model_service.providers.faults import FaultKind

from .wire import Json, call_delta, chunk, failed, read_whole, sse


@pytest.mark.parametrize(
    "more",
    [{"content": " there"}, call_delta(0, "{}", "call_1", "f"), {"refusal": "No"}],
    ids=["text", "call", "refusal"],
)
def test_more_of_an_ended_answer_is_a_failure_and_not_left_out(more: Json) -> None:
    fault = failed(sse(chunk({"content": "Hello"}, finish="stop"), chunk(more, finish="stop")))
    assert fault.kind is FaultKind.UPSTREAM


@pytest.mark.parametrize(
    "more", [{}, {"content": ""}, {"content": None}, {"role": "assistant", "tool_calls": []}]
)
def test_an_ended_answer_of_which_nothing_more_comes_is_whole(more: Json) -> None:
    assert read_whole(sse(chunk({"content": "Hello"}, finish="stop"), chunk(more, finish="stop")))
