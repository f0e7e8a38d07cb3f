"""Whatever callers send is read and passed on, or refused by name; never anything else."""

from contextlib import suppress
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.chat import Finished, FinishReason, Started
from model_service.providers.dialects.openai_responses.door import ResponsesDoor
from model_service.providers.dialects.openai_responses.upstream import ResponsesUpstream
from model_service.providers.faults import CallFailed
from model_service.providers.translation import Notes
from tests.unit.dialects.openai_responses.wire import CALL, MESSAGE, TARGET, THOUGHT

_words = st.sampled_from(
    ["auto", "none", "low", "function", "json_schema", "user", "assistant", "developer",
     "input_text", "input_image", "input_file", "output_text", "refusal", "reasoning", "message",
     "function_call", "function_call_output", "data:image/png;base64,aGk=", "explicit"]
)  # fmt: skip
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | _words | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
_item_fields = st.dictionaries(
    st.sampled_from(
        ["type", "role", "content", "call_id", "name", "arguments", "output", "id", "status",
         "summary", "encrypted_content", "text", "image_url", "file_data", "detail", "refusal"]
    ),
    _json,
    max_size=5,
)  # fmt: skip
_items = st.lists(
    _item_fields
    | st.builds(
        lambda item, fields: {**item, **fields}, st.sampled_from([MESSAGE, CALL, THOUGHT]),
        _item_fields,
    )
    | st.fixed_dictionaries(
        {"role": _words, "content": st.lists(_item_fields, max_size=2)}
    ),
    max_size=4,
)  # fmt: skip
_bodies = st.builds(
    lambda fields, items: {"input": items, **fields},
    st.dictionaries(
        st.sampled_from(
            ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "metadata",
             "include", "temperature", "top_p", "max_output_tokens", "top_logprobs", "user",
             "stream_options", "truncation", "store", "service_tier", "prompt_cache_key"]
        ),
        _json,
        max_size=4,
    ),
    _items | st.text(max_size=5),
)  # fmt: skip


@given(_bodies)
def test_any_request_is_read_or_refused_by_name(body: dict[str, Any]) -> None:
    request = None
    with suppress(CallFailed):
        request = ResponsesDoor().read(body, "fast", stream=True)
    assert request is None or request.model == "fast"


@given(_bodies)
def test_whatever_is_read_can_be_sent_and_repeated(body: dict[str, Any]) -> None:
    door = ResponsesDoor()
    with suppress(CallFailed):
        request = door.read(body, "fast", stream=True)
        writer = door.writer(request, "fast")
        written = writer.write(Started("x")) + writer.write(Finished(FinishReason.STOP))
        assert b"response.created" in written
        assert b"response.completed" in writer.end()
        outgoing = ResponsesUpstream().request(request, TARGET, Notes(door.spelling))
        assert orjson.loads(orjson.dumps(outgoing.body))["model"] == "gpt-5.6-sol"


@given(_items)
def test_what_is_read_from_items_is_the_same_after_being_sent(items: list[Any]) -> None:
    door = ResponsesDoor()
    with suppress(CallFailed):
        request = door.read({"input": items}, "fast", stream=False)
        sent = ResponsesUpstream().request(request, TARGET, Notes({})).body
        once = door.read(
            {"input": sent["input"], "instructions": sent.get("instructions")},
            "fast",
            stream=False,
        )
        again = ResponsesUpstream().request(once, TARGET, Notes({})).body
        assert again["input"] == sent["input"]
