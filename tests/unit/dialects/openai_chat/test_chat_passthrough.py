"""Calls that pass through: the named edits and nothing else."""

from typing import Any

import orjson
import pytest

from model_service.kernel.types import Provider
from model_service.providers.chat import Usage
from model_service.providers.dialects.openai_chat.passthrough import ChatPassthrough
from model_service.providers.faults import CallFailed, FaultKind

from .wire import TEXT_ANSWER, target

PASS = ChatPassthrough()
HI = [{"role": "user", "content": "Hi"}]


def sent(
    body: dict[str, Any],
    *,
    stream: bool = False,
    provider: Provider = Provider.OPENAI,
    temperature: float | None = None,
    upstream_model: str = "gpt-4.1",
    passthrough: ChatPassthrough = PASS,
) -> dict[str, Any]:
    to = target(provider, default_temperature=temperature, upstream_model=upstream_model)
    return passthrough.request(
        {"model": "my-model", "messages": HI, **body}, to, stream=stream
    ).body


def history(**message: Any) -> list[Any]:
    return [*HI, {"role": "assistant", "content": "Four.", **message}]


def assistant_sent(provider: Provider = Provider.OPENAI, **message: Any) -> dict[str, Any]:
    message_sent: dict[str, Any] = sent({"messages": history(**message)}, provider=provider)[
        "messages"
    ][1]
    return message_sent


def test_the_models_name_is_the_providers() -> None:
    outgoing = PASS.request({"model": "my-model", "messages": HI}, target(), stream=False)
    assert outgoing.path == "/chat/completions"
    assert outgoing.body == {
        "model": "gpt-6-astra-2026-08-01",
        "messages": HI,
        "max_completion_tokens": 4096,
    }


def test_unknown_fields_go_on() -> None:
    body = {
        "max_tokens": 5,
        "tomorrow": {"deep": [1]},
        "messages": [{"role": "user", "content": [{"type": "hologram", "x": 1}], "mood": 1}],
    }
    assert sent(dict(body)) == {"model": "gpt-4.1", **body}


def test_the_usage_of_a_stream_is_asked_for() -> None:
    assert sent({"stream": True}, stream=True)["stream_options"] == {"include_usage": True}
    options = {"include_usage": False, "include_obfuscation": False}
    assert sent({"stream_options": options}, stream=True)["stream_options"] == {
        "include_usage": True,
        "include_obfuscation": False,
    }


def test_options_that_are_wrong_are_the_providers_to_refuse() -> None:
    assert sent({"stream_options": "x"}, stream=True)["stream_options"] == "x"


def test_a_whole_answer_needs_no_options() -> None:
    assert "stream_options" not in sent({})


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_callers_bound_holds_under_either_name(field: str) -> None:
    written = sent({field: 5})
    assert written[field] == 5
    assert len({"max_tokens", "max_completion_tokens"} & written.keys()) == 1


def test_vendors_have_the_registered_bound_under_the_old_name() -> None:
    written = sent({"max_tokens": None}, passthrough=ChatPassthrough("max_tokens"))
    assert written["max_tokens"] == 4096


@pytest.mark.parametrize(
    ("body", "temperature"),
    [
        ({}, 0.3),
        ({"temperature": None}, 0.3),
        ({"temperature": 0}, 0),
        ({"reasoning_effort": "none"}, 0.3),
        ({"reasoning_effort": "low"}, None),
        ({"reasoning": {"max_tokens": 500}}, None),
        ({"thinking": {"type": "enabled"}}, None),
    ],
)
def test_the_registered_temperature_holds_where_it_may(
    body: dict[str, Any], temperature: float | None
) -> None:
    assert sent(body, temperature=0.3).get("temperature") == temperature


@pytest.mark.parametrize(
    ("body", "temperature"),
    [({}, None), ({"reasoning_effort": "none"}, 0.3), ({"temperature": 0}, 0)],
)
def test_a_model_that_thinks_unasked_gets_no_registered_temperature(
    body: dict[str, Any], temperature: float | None
) -> None:
    assert sent(body, temperature=0.3, upstream_model="gpt-5.5").get("temperature") == temperature


# --- what this service wrote into the history for others


def test_details_that_the_door_wrote_are_taken_out() -> None:
    ours = {"type": "reasoning.text", "text": "hm", "format": "model-service", "index": 0}
    assert assistant_sent(reasoning_content="hm", reasoning_details=[ours]) == {
        "role": "assistant",
        "content": "Four.",
    }


def test_a_vendors_own_details_go_back_to_it() -> None:
    theirs = {"type": "reasoning.text", "text": "hm", "format": "anthropic-claude-v1", "index": 0}
    ours = {"type": "reasoning.text", "text": "so", "format": "model-service", "index": 0}
    message = assistant_sent(
        Provider.CUSTOM, reasoning_content="hm", reasoning_details=[theirs, ours]
    )
    assert message["reasoning_details"] == [theirs]
    assert message["reasoning_content"] == "hm"


def test_a_vendors_bare_thought_goes_back_to_it() -> None:
    assert assistant_sent(Provider.CUSTOM, reasoning_content="hm")["reasoning_content"] == "hm"


@pytest.mark.parametrize(
    ("provider", "signature", "stays"),
    [
        (Provider.OPENAI, "CuMB", False),
        (Provider.OPENAI, "model-service:google:CuMB", False),
        (Provider.CUSTOM, "model-service:openai_responses:CuMB", False),
        (Provider.CUSTOM, "CuMB", True),
    ],
)
def test_a_calls_signature_goes_to_those_that_may_have_made_it(
    provider: Provider, signature: str, stays: bool
) -> None:
    extra = {"google": {"thought_signature": signature}}
    call = {"id": "c", "type": "function", "function": {"name": "f"}, "extra_content": extra}
    message = assistant_sent(provider, tool_calls=[call])
    assert ("extra_content" in message["tool_calls"][0]) is stays


@pytest.mark.parametrize(
    "messages",
    [
        None,
        "x",
        [None, 5, "x"],
        [{"role": "assistant", "reasoning_details": "x", "tool_calls": {}}],
        [{"role": "assistant", "reasoning_details": [None, "x"], "tool_calls": ["x", None]}],
        [{"role": "assistant", "tool_calls": [{"extra_content": "x"}, {"extra_content": {}}]}],
    ],
)
def test_messages_that_are_wrong_are_the_providers_to_refuse(messages: Any) -> None:
    assert sent({"messages": orjson.loads(orjson.dumps(messages))})["messages"] == messages


# --- whole answers


def test_an_answer_has_the_registered_name_and_is_else_as_it_came() -> None:
    unknown = {**TEXT_ANSWER, "tomorrow": {"x": 1}}
    body, usage = PASS.answer(orjson.dumps(unknown), "my-model")
    assert orjson.loads(body) == {**unknown, "model": "my-model"}
    assert usage == Usage(input=40, cached_input=64, cache_write=16, output=60, reasoning=40)


def test_an_answer_without_usage_has_none() -> None:
    assert PASS.answer(b'{"choices": []}', "m")[1] is None


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"choices": {}}', b'{"choices": [], "x": NaN}'],
)
def test_what_is_no_answer_fails_as_such(body: bytes) -> None:
    with pytest.raises(CallFailed) as caught:
        PASS.answer(body, "m")
    assert caught.value.fault.code == "malformed_answer"


def test_an_answer_that_cannot_be_written_again_fails_as_such() -> None:
    body = b'{"choices": [], "x": ' + b"[" * 400 + b"]" * 400 + b"}"
    with pytest.raises(CallFailed) as caught:
        PASS.answer(body, "m")
    assert caught.value.fault.code == "malformed_answer"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Slow down", "code": 429}},
        {"choices": [{"error": {"message": "Slow down", "code": 429}}]},
    ],
)
def test_an_error_in_a_200_is_a_failure(body: Any) -> None:
    with pytest.raises(CallFailed) as caught:
        PASS.answer(orjson.dumps(body), "m")
    assert caught.value.fault.kind is FaultKind.RATE_LIMITED


# --- which stream the caller gets


@pytest.mark.parametrize(
    ("options", "wants"),
    [
        ({"include_usage": True}, True),
        ({"include_usage": False}, False),
        ({"include_usage": "yes"}, False),
        ({}, False),
        (None, False),
        ("x", False),
    ],
)
def test_the_callers_own_wish_for_usage_is_what_counts(options: Any, wants: bool) -> None:
    body = {"stream_options": options}
    relay = PASS.relay(body, "my-model")
    PASS.request(body, target(), stream=True)
    event = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    assert bool(relay.feed(event)) is wants
