"""JSON that is small on the wire and large in memory."""

import gc

import orjson
import pytest

from model_service.providers.dialects.anthropic.passthrough import AnthropicPassthrough
from model_service.providers.dialects.google.passthrough import GooglePassthrough
from model_service.providers.dialects.openai_chat.passthrough import ChatPassthrough
from model_service.providers.dialects.openai_responses.passthrough import ResponsesPassthrough
from model_service.providers.documents import MOST_CONTAINERS, UNSUSPICIOUS, loads
from model_service.providers.faults import CallFailed
from model_service.providers.translation import Passthrough


@pytest.mark.parametrize("container", [b"[]", b"{}", b"[[[[]]]]", b'{"a":{}}'])
def test_more_lists_and_objects_than_anybody_needs_are_refused(container: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError, match="too many"):
        loads(b"[" + (container + b",") * MOST_CONTAINERS + b"0]")


def test_a_large_text_or_image_is_no_matter() -> None:
    text = "x" * (3 * UNSUSPICIOUS)
    assert loads(orjson.dumps({"image": text})) == {"image": text}


def test_as_many_as_are_allowed_are_parsed() -> None:
    assert len(loads(b"[" + b"[]," * (MOST_CONTAINERS - 1) + b"0]")) == MOST_CONTAINERS


@pytest.mark.parametrize("data", [b"[]", b"[" * UNSUSPICIOUS * 2, b'"' + b"x" * UNSUSPICIOUS * 2])
def test_garbage_is_collected_again_whatever_came_of_it(data: bytes) -> None:
    try:
        loads(data)
    except orjson.JSONDecodeError:
        assert len(data) > UNSUSPICIOUS
    assert gc.isenabled()


@pytest.mark.parametrize(
    "passthrough",
    [AnthropicPassthrough(), GooglePassthrough(), ChatPassthrough(), ResponsesPassthrough()],
    ids=lambda passthrough: type(passthrough).__name__,
)
def test_a_providers_answer_is_no_exception(passthrough: Passthrough) -> None:
    body = b'{"choices":[],"content":[],"output":[],"candidates":[],"x":[%b0]}'
    assert passthrough.answer(body % b"", "m")
    with pytest.raises(CallFailed):
        passthrough.answer(body % (b"[]," * MOST_CONTAINERS), "m")
