"""The Anthropic stand-in, judged by the official client and by the live API's refusals."""

from collections.abc import AsyncIterator, Mapping

import anthropic
import httpx
import pytest
import pytest_asyncio
from anthropic.types import TextBlock

from model_service.sandbox import Behaviour, serve
from model_service.sandbox.anthropic import Anthropic
from model_service.sandbox.anthropic_models import MODELS

IDS = [model.id for model in MODELS]
USER = {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be brief."}
GOOD: dict[str, object] = {"model": "claude-opus-5-5", "max_tokens": 1, "messages": [USER]}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stand_in() -> AsyncIterator[Anthropic]:
    async with serve() as sandbox:
        yield sandbox.anthropic


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http(stand_in: Anthropic) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-api-key": stand_in.sample_key(), "anthropic-version": "2023-06-01"}
    async with httpx.AsyncClient(base_url=stand_in.base_url, headers=headers) as client:
        yield client


def client_of(stand_in: Anthropic, key: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        api_key=key, base_url=stand_in.base_url, max_retries=0, timeout=5
    )


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    body = answer.json()
    assert body["type"] == "error"
    assert body["request_id"] == answer.headers["request-id"]
    return answer.status_code, body["error"]["type"], body["error"]["message"]


async def test_client_creates_a_one_token_message(stand_in: Anthropic) -> None:
    async with client_of(stand_in, stand_in.sample_key()) as client:
        message = await client.messages.create(
            model="claude-haiku-5-5", max_tokens=1, messages=[{"role": "user", "content": "Hi"}]
        )
    assert isinstance(message.content[0], TextBlock)
    assert (message.role, message.model) == ("assistant", "claude-haiku-5-5")
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 1)
    assert message.id.startswith("msg_01")


async def test_a_message_with_room_ends_by_itself(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/messages", json={**GOOD, "max_tokens": 100})
    assert answer.status_code == 200
    assert answer.json()["stop_reason"] == "end_turn"
    assert answer.json()["content"] == [{"type": "text", "text": "You said: Hi"}]


async def test_an_alias_is_answered_by_the_model_it_means(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/messages", json={**GOOD, "model": "claude-haiku-4-5"})
    assert answer.json()["model"] == "claude-haiku-4-5-20251001"


async def test_client_reads_the_listing_page_by_page(stand_in: Anthropic) -> None:
    stand_in.clear()
    async with client_of(stand_in, stand_in.sample_key()) as client:
        listed = [model async for model in client.models.list(limit=4)]
    assert [model.id for model in listed] == IDS
    assert [dict(request.query) for request in stand_in.requests] == [
        {"limit": "4"},
        {"limit": "4", "after_id": IDS[3]},
        {"limit": "4", "after_id": IDS[7]},
    ]


async def test_client_reads_a_models_limits_and_capabilities(stand_in: Anthropic) -> None:
    async with client_of(stand_in, stand_in.sample_key()) as client:
        model = await client.models.retrieve("claude-opus-5")
    assert (model.max_input_tokens, model.max_tokens) == (1_000_000, 128_000)
    assert (model.line, model.lifecycle, model.created_at.year) == ("opus", "active", 2026)
    assert model.capabilities is not None
    assert model.capabilities.thinking.types.adaptive.supported
    assert not model.capabilities.thinking.types.enabled.supported


async def test_the_page_before_a_model_ends_just_before_it(http: httpx.AsyncClient) -> None:
    page = (await http.get(f"/v1/models?limit=2&before_id={IDS[4]}")).json()
    assert [model["id"] for model in page["data"]] == IDS[2:4]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (IDS[2], IDS[3], True)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=many", "after_id=claude-0", "limit=" + "9" * 5000]
)
async def test_a_page_that_cannot_be_is_refused(http: httpx.AsyncClient, query: str) -> None:
    status, kind, _ = error_of(await http.get(f"/v1/models?{query}"))
    assert (status, kind) == (400, "invalid_request_error")


async def test_client_gets_its_authentication_error(stand_in: Anthropic) -> None:
    async with client_of(stand_in, "sk-ant-api03-unknown") as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.models.list()
    assert caught.value.request_id == caught.value.response.headers["request-id"]
    assert "Invalid bearer token" in str(caught.value)


@pytest.mark.parametrize(
    ("behaviour", "expected", "status", "kind"),
    [
        (Behaviour.RESTRICTED, anthropic.PermissionDeniedError, 403, "permission_error"),
        (Behaviour.LIMITED, anthropic.RateLimitError, 429, "rate_limit_error"),
        (Behaviour.BROKEN, anthropic.InternalServerError, 529, "overloaded_error"),
    ],
)
async def test_client_gets_the_typed_error_a_key_asks_for(
    stand_in: Anthropic,
    behaviour: Behaviour,
    expected: type[anthropic.APIStatusError],
    status: int,
    kind: str,
) -> None:
    async with client_of(stand_in, stand_in.sample_key(behaviour)) as client:
        with pytest.raises(expected) as caught:
            await client.models.list()
    assert caught.value.status_code == status
    assert error_of_client(caught.value) == kind


def error_of_client(error: anthropic.APIStatusError) -> str:
    assert isinstance(error.body, dict)
    return str(error.body["error"]["type"])


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "x-api-key header is required"),
        ({"x-api-key": "sk-other"}, "invalid x-api-key"),
        ({"authorization": "Bearer sk-other"}, "Invalid bearer token"),
    ],
)
async def test_requests_without_a_good_key_are_unauthenticated(
    stand_in: Anthropic, headers: Mapping[str, str], message: str
) -> None:
    version = {"anthropic-version": "2023-06-01"}
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.post("/v1/messages", json=GOOD, headers={**version, **headers})
    assert error_of(answer) == (401, "authentication_error", message)


async def test_the_version_header_is_required(stand_in: Anthropic) -> None:
    key = {"x-api-key": stand_in.sample_key()}
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.post("/v1/messages", json=GOOD, headers=key)
    assert error_of(answer) == (
        400,
        "invalid_request_error",
        "anthropic-version: header is required",
    )


async def test_an_unknown_version_is_refused(http: httpx.AsyncClient) -> None:
    headers = {"anthropic-version": "2023-10-01"}
    _, _, message = error_of(await http.post("/v1/messages", json=GOOD, headers=headers))
    assert message == 'anthropic-version: "2023-10-01" is not a valid version'


async def test_the_newest_version_has_no_sampling_parameters(http: httpx.AsyncClient) -> None:
    body = {**GOOD, "model": "claude-haiku-4-5", "temperature": 0.5}
    newest = {"anthropic-version": "2026-10-21"}
    assert (await http.post("/v1/messages", json=body)).status_code == 200
    _, _, message = error_of(await http.post("/v1/messages", json=body, headers=newest))
    assert message == "temperature: Extra inputs are not permitted"


async def test_a_body_that_is_not_declared_json_is_refused(http: httpx.AsyncClient) -> None:
    headers = {"content-type": "text/plain"}
    answer = await http.post("/v1/messages", content="{}", headers=headers)
    assert error_of(answer)[:2] == (400, "invalid_request_error")


async def test_a_body_that_is_not_json_is_refused(http: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    answer = await http.post("/v1/messages", content='{"model": ', headers=headers)
    status, _, message = error_of(answer)
    assert status == 400
    assert message.startswith("The request body is not valid JSON: ")


FOLLOWS = "role 'system' must follow a 'user' message"
PRECEDES = "role 'system' must precede an 'assistant' message or end the array"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: Input should be a valid string"),
        ({"max_tokens": "1"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000, which is the maximum"),
        ({"stop": ["x"]}, "stop: Extra inputs are not permitted"),
        ({"messages": "Hi"}, "messages: Input should be a valid list"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": ["Hi"]}, "messages.0: Input should be a valid dictionary"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"content": "Hi"}]}, "messages.0.role: Field required"),
        ({"messages": [{**USER, "name": "x"}]}, "messages.0.name: Extra inputs are not permitted"),
        ({"messages": [{**USER, "role": "tool"}]}, 'messages: Unexpected role "tool".'),
        ({"messages": [{**USER, "content": 1}]}, "messages.0.content: Input should be"),
        (
            {"messages": [{**USER, "content": [{"type": "text", "text": ""}]}]},
            "messages: text content blocks must be non-empty",
        ),
        ({"messages": [USER, {**SYSTEM, "content": ""}]}, "messages.1: system content must"),
        ({"messages": [SYSTEM, USER]}, "messages.0: use the top-level 'system' parameter"),
        ({"messages": [USER, ASSISTANT, SYSTEM, USER]}, f"messages.2: {FOLLOWS}"),
        ({"messages": [USER, ASSISTANT, SYSTEM, ASSISTANT, USER]}, f"messages.2: {FOLLOWS}"),
        ({"messages": [USER, SYSTEM, SYSTEM, USER]}, f"messages.1: {PRECEDES}"),
        ({"messages": [USER, ASSISTANT]}, "This model does not support assistant message prefill."),
        (
            {"model": "claude-sonnet-4-5", "messages": [USER, SYSTEM]},
            "messages.1: role 'system' is not supported on this model",
        ),
    ],
)
async def test_a_request_with_a_fault_is_refused_in_the_real_ones_words(
    http: httpx.AsyncClient, change: Mapping[str, object], message: str
) -> None:
    status, kind, text = error_of(await http.post("/v1/messages", json={**GOOD, **change}))
    assert (status, kind) == (400, "invalid_request_error")
    assert text.startswith(message)


@pytest.mark.parametrize("field", ["model", "max_tokens", "messages"])
async def test_a_missing_field_is_named(http: httpx.AsyncClient, field: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != field}
    answer = await http.post("/v1/messages", json=body)
    assert error_of(answer) == (400, "invalid_request_error", f"{field}: Field required")


@pytest.mark.parametrize(
    "messages",
    [
        [USER, USER],
        [ASSISTANT, USER],
        [USER, SYSTEM],
        [USER, SYSTEM, SYSTEM, ASSISTANT, USER, SYSTEM],
    ],
)
async def test_orders_of_roles_the_real_one_takes_are_taken(
    http: httpx.AsyncClient, messages: list[Mapping[str, str]]
) -> None:
    answer = await http.post("/v1/messages", json={**GOOD, "messages": messages})
    assert answer.status_code == 200


async def test_a_model_that_takes_a_prefill_is_given_one(http: httpx.AsyncClient) -> None:
    body = {**GOOD, "model": "claude-haiku-4-5", "messages": [USER, ASSISTANT]}
    assert (await http.post("/v1/messages", json=body)).status_code == 200


async def test_an_unknown_model_is_not_found(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/messages", json={**GOOD, "model": "claude-0"})
    assert error_of(answer) == (404, "not_found_error", "model: claude-0")
    answer = await http.get("/v1/models/claude-0")
    assert error_of(answer) == (404, "not_found_error", "model: claude-0")


async def test_unknown_routes_and_methods_are_errors_too(http: httpx.AsyncClient) -> None:
    assert error_of(await http.get("/v2")) == (404, "not_found_error", "Not Found")
    refused = (405, "invalid_request_error", "Method Not Allowed")
    assert error_of(await http.get("/v1/messages")) == refused
