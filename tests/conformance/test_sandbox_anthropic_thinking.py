"""Thinking of the Anthropic stand-in: who may ask for it how, and what it wants back."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.sandbox import serve
from model_service.sandbox.anthropic import Anthropic

Body = dict[str, Any]  # Any: JSON
SUMMARIZED = {"type": "adaptive", "display": "summarized"}
TOOL = {"name": "now", "input_schema": {"type": "object"}}
MODIFIED = "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be"
BOUND = "Invalid `signature` in `thinking` block. The block is bound to a different conversation."


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with serve() as sandbox:
        stand_in: Anthropic = sandbox.anthropic
        headers = {"x-api-key": stand_in.sample_key(), "anthropic-version": "2023-06-01"}
        async with httpx.AsyncClient(base_url=stand_in.base_url, headers=headers) as client:
            yield client


def asking(text: str, **more: object) -> Body:
    messages = [{"role": "user", "content": text}]
    return {"model": "claude-opus-5-5", "max_tokens": 4000, "messages": messages, **more}


async def answered(http: httpx.AsyncClient, body: Mapping[str, object]) -> Body:
    answer = await http.post("/v1/messages", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def refused(http: httpx.AsyncClient, body: Mapping[str, object]) -> str:
    answer = await http.post("/v1/messages", json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    return str(answer.json()["error"]["message"])


def kinds(message: Body) -> list[str]:
    return [block["type"] for block in message["content"]]


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("claude-opus-5-5", SUMMARIZED),
        ("claude-opus-4-8", {"type": "adaptive"}),
        ("claude-haiku-4-5", {"type": "enabled", "budget_tokens": 1024}),
    ],
)
async def test_thinking_that_is_asked_for_comes_first(
    http: httpx.AsyncClient, model: str, thinking: Mapping[str, object]
) -> None:
    message = await answered(http, asking("Hi", model=model, thinking=thinking))
    assert kinds(message) == ["thinking", "text"]
    assert message["usage"]["output_tokens_details"] == {"thinking_tokens": 6}
    assert message["content"][0]["signature"]


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({}, "text"),
        ({"output_config": {"effort": "low"}}, "thinking"),
        ({"model": "claude-opus-4-8"}, "text"),
        ({"model": "claude-opus-5", "thinking": {"type": "disabled"}}, "text"),
        ({"model": "claude-sonnet-5-5", "thinking": {"type": "between_tools"}}, "text"),
    ],
)
async def test_thinking_that_is_not_asked_for_comes_where_the_model_does_it_unasked(
    http: httpx.AsyncClient, change: Mapping[str, object], first: str
) -> None:
    assert kinds(await answered(http, {**asking("Hi"), **change}))[0] == first


async def test_a_text_that_says_think_makes_a_model_think_unasked(http: httpx.AsyncClient) -> None:
    assert kinds(await answered(http, asking("think"))) == ["thinking", "text"]


@pytest.mark.parametrize(
    ("model", "thinking", "shown"),
    [
        ("claude-opus-5-5", {"type": "adaptive"}, ""),
        ("claude-opus-5-5", SUMMARIZED, "The user wants this: Hi"),
        (
            "claude-haiku-4-5",
            {"type": "enabled", "budget_tokens": 1024},
            "The user wants this: Hi",
        ),
        (
            "claude-haiku-4-5",
            {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
            "",
        ),
    ],
)
async def test_the_text_of_thinking_is_shown_as_the_model_or_the_request_has_it(
    http: httpx.AsyncClient, model: str, thinking: Mapping[str, object], shown: str
) -> None:
    message = await answered(http, asking("Hi", model=model, thinking=thinking))
    assert message["content"][0]["thinking"] == shown


async def test_thinking_that_is_not_shown_streams_a_signature_after_no_text(
    http: httpx.AsyncClient,
) -> None:
    body = asking("Hi", thinking={"type": "adaptive"}, stream=True)
    answer = await http.post("/v1/messages", json=body)
    assert '"delta":{"type":"thinking_delta","thinking":""}' in answer.text
    assert answer.text.count("signature_delta") == 1


async def test_what_is_said_before_calls_is_thinking_for_models_that_note(
    http: httpx.AsyncClient,
) -> None:
    body = asking("aloud, redact: use now", tools=[TOOL], thinking=SUMMARIZED)
    message = await answered(http, body)
    assert kinds(message) == ["thinking", "redacted_thinking", "thinking", "tool_use"]
    body["model"] = "claude-opus-5"
    message = await answered(http, body)
    assert kinds(message) == ["thinking", "redacted_thinking", "text", "tool_use"]


async def after_a_call(http: httpx.AsyncClient, model: str = "claude-opus-5-5") -> Body:
    """A conversation that goes on after a call with two blocks of thinking before it."""
    body = asking("redact: use now", model=model, tools=[TOOL], thinking=SUMMARIZED)
    message = await answered(http, body)
    (call,) = [block for block in message["content"] if block["type"] == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "noon"}
    body["messages"] += [
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": [result]},
    ]
    return body


async def test_thinking_that_comes_back_as_it_was_is_taken(http: httpx.AsyncClient) -> None:
    assert (await answered(http, await after_a_call(http)))["stop_reason"] == "end_turn"


async def test_thinking_may_be_left_out_altogether_by_adaptive_models(
    http: httpx.AsyncClient,
) -> None:
    body = await after_a_call(http)
    body["messages"][1]["content"] = body["messages"][1]["content"][2:]
    assert (await answered(http, body))["stop_reason"] == "end_turn"


def altered_text(body: Body) -> None:
    body["messages"][1]["content"][0]["thinking"] += "!"


def no_signature(body: Body) -> None:
    del body["messages"][1]["content"][0]["signature"]


def empty_signature(body: Body) -> None:
    body["messages"][1]["content"][0]["signature"] = ""


def foreign_signature(body: Body) -> None:
    body["messages"][1]["content"][0]["signature"] = "Rm9yZWlnbiBzaWduYXR1cmUsIG9mIHNvbWVib2R5"


def altered_data(body: Body) -> None:
    body["messages"][1]["content"][1]["data"] += "AAAA"


def signature_for_data(body: Body) -> None:
    first, second, *_ = body["messages"][1]["content"]
    second["data"] = first["signature"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (altered_text, f"messages.1.content.0: {MODIFIED}"),
        (no_signature, "messages.1.content.0.thinking.signature: Field required"),
        (empty_signature, "messages.1.content.0: Invalid `signature` in `thinking` block"),
        (foreign_signature, "messages.1.content.0: Invalid `signature` in `thinking` block"),
        (altered_data, "messages.1.content.1: Invalid `data` in `redacted_thinking` block"),
        (signature_for_data, "messages.1.content.1: Invalid `data` in `redacted_thinking` block"),
    ],
)
@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-opus-4-8"])
async def test_thinking_that_comes_back_otherwise_is_refused(
    http: httpx.AsyncClient, model: str, change: Callable[[Body], None], message: str
) -> None:
    body = await after_a_call(http, model)
    change(body)
    text = await refused(http, body)
    assert text.startswith(message)
    assert "bound" not in text


async def test_text_put_into_a_block_that_had_none_is_not_looked_at(
    http: httpx.AsyncClient,
) -> None:
    body = asking("Hi", thinking={"type": "adaptive"})
    content = (await answered(http, body))["content"]
    content[0]["thinking"] = "put in"
    body["messages"] += [
        {"role": "assistant", "content": content},
        {"role": "user", "content": "On"},
    ]
    assert (await answered(http, body))["stop_reason"] == "end_turn"


def changed_system(body: Body) -> None:
    body["system"] = "Be brief."


def changed_tools(body: Body) -> None:
    body["tools"] = [{**TOOL, "description": "The time."}]


def changed_message(body: Body) -> None:
    body["messages"][0]["content"] += "!"


def gap(body: Body) -> None:
    body["messages"][1]["content"].insert(1, body["messages"][1]["content"].pop(0))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (changed_system, "The `system` prompt differs from when the block was created."),
        (changed_tools, "The `tools` list differs from when the block was created."),
        (changed_message, "The messages before the block differ from when it was created."),
        (gap, "An earlier thinking block is missing or out of order."),
    ],
)
async def test_thinking_is_bound_to_its_conversation(
    http: httpx.AsyncClient, change: Callable[[Body], None], why: str
) -> None:
    body = await after_a_call(http)
    change(body)
    text = await refused(http, body)
    assert BOUND in text
    assert text.endswith(why)


def marked(body: Body) -> None:
    body["tools"] = [{**TOOL, "cache_control": {"type": "ephemeral"}}]


def in_a_block(body: Body) -> None:
    text = body["messages"][0]["content"]
    body["messages"][0]["content"] = [{"type": "text", "text": text}]


def other_settings(body: Body) -> None:
    body |= {"max_tokens": 5000, "output_config": {"effort": "low"}}
    body["thinking"] = {"type": "adaptive"}


def without_the_first(body: Body) -> None:
    del body["messages"][1]["content"][0]


@pytest.mark.parametrize("change", [marked, in_a_block, other_settings, without_the_first])
async def test_what_is_no_part_of_the_conversation_may_change(
    http: httpx.AsyncClient, change: Callable[[Body], None]
) -> None:
    body = await after_a_call(http)
    change(body)
    assert (await answered(http, body))["stop_reason"] == "end_turn"


async def test_earlier_models_do_not_bind_thinking(http: httpx.AsyncClient) -> None:
    body = await after_a_call(http, "claude-opus-5")
    changed_system(body)
    assert (await answered(http, body))["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("maker", "reader"),
    [("claude-opus-5", "claude-opus-5-5"), ("claude-opus-5-5", "claude-opus-5")],
)
async def test_another_models_thinking_is_let_through(
    http: httpx.AsyncClient, maker: str, reader: str
) -> None:
    body = {**await after_a_call(http, maker), "model": reader}
    changed_message(body)
    assert (await answered(http, body))["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": "claude-opus-5-5", "thinking": {"type": "disabled"}},
            '"thinking.type.disabled" is not supported for this model. Use "thinking.type.adapt',
        ),
        (
            {"model": "claude-opus-5", "thinking": {"type": "enabled", "budget_tokens": 1024}},
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adapt',
        ),
        (
            {"model": "claude-sonnet-5-5", "thinking": {"type": "disabled"}},
            '"thinking.type.disabled" is not supported for this model. To turn thinking off',
        ),
        (
            {"model": "claude-haiku-4-5", "thinking": {"type": "adaptive"}},
            "adaptive thinking is not supported on this model",
        ),
        (
            {"model": "claude-haiku-4-5", "output_config": {"effort": "low"}},
            "This model does not support the effort parameter.",
        ),
        (
            {
                "model": "claude-opus-5",
                "thinking": {"type": "disabled"},
                "output_config": {"effort": "max"},
            },
            '"thinking.type.disabled" is not supported for this model at effort "max"',
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1023}},
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            {"thinking": {"type": "on"}},
            "thinking: Input tag 'on' found using 'type' does not match any of the expected tags",
        ),
        (
            {"thinking": {"type": "adaptive", "display": "loud"}},
            "thinking.adaptive.display: Input should be 'summarized' or 'omitted'",
        ),
        (
            {"thinking": {"type": "disabled", "display": "omitted"}},
            "thinking.disabled.display: Extra inputs are not permitted",
        ),
        (
            {"output_config": {"effort": "huge"}},
            "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        ),
    ],
)
async def test_thinking_that_a_model_does_not_take_is_refused(
    http: httpx.AsyncClient, change: Mapping[str, object], message: str
) -> None:
    assert (await refused(http, {**asking("Hi"), **change})).startswith(message)


EXTENDED = {"model": "claude-haiku-4-5", "thinking": {"type": "enabled", "budget_tokens": 2000}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": 2000}, "`max_tokens` must be greater than `thinking.budget_tokens`."),
        ({"temperature": 0.5}, "`temperature` may only be set to 1 when thinking is enabled"),
        ({"top_k": 5}, "`top_k` must be unset when thinking is enabled"),
        ({"top_p": 0.5}, "`top_p` must be greater than or equal to 0.95 or unset"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "any"}},
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
    ],
)
async def test_extended_thinking_has_its_conditions(
    http: httpx.AsyncClient, change: Mapping[str, object], message: str
) -> None:
    body = {**asking("Hi", **EXTENDED), **change}
    assert (await refused(http, body)).startswith(message)


async def test_extended_thinking_wants_the_turn_of_a_call_to_begin_with_it(
    http: httpx.AsyncClient,
) -> None:
    body = asking("use now", tools=[TOOL], **EXTENDED)
    content = (await answered(http, body))["content"]
    result = {"type": "tool_result", "tool_use_id": content[1]["id"], "content": "noon"}
    body["messages"] += [
        {"role": "assistant", "content": content[1:]},
        {"role": "user", "content": [result]},
    ]
    assert (await refused(http, body)).startswith(
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
        "`tool_use`."
    )
    body["messages"][1]["content"] = content
    assert (await answered(http, body))["stop_reason"] == "end_turn"


async def test_adaptive_thinking_goes_with_a_forced_call(http: httpx.AsyncClient) -> None:
    choice = {"tools": [TOOL], "tool_choice": {"type": "any"}}
    body = asking("Hi", model="claude-opus-5", thinking=SUMMARIZED, **choice)
    assert kinds(await answered(http, body)) == ["thinking", "tool_use"]
