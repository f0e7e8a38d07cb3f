"""The OpenAI stand-in, judged by the official client and by the live API's error bodies."""

from collections.abc import AsyncIterator

import httpx
import openai
import pytest
import pytest_asyncio

from model_service.sandbox import Behaviour, Sandbox, serve
from model_service.sandbox.openai import MODELS, OpenAI, OpenAIModel, mask_key


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stand_in() -> AsyncIterator[OpenAI]:
    async with serve() as sandbox:
        yield sandbox.openai


def client_of(stand_in: OpenAI, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=stand_in.base_url, max_retries=0, timeout=5)


async def test_client_lists_the_models(stand_in: OpenAI) -> None:
    async with client_of(stand_in, stand_in.sample_key()) as client:
        listed = [model async for model in client.models.list()]
    assert [model.id for model in listed] == [model.id for model in MODELS]
    assert {model.object for model in listed} == {"model"}
    assert listed[0].created == MODELS[0].created


async def test_client_retrieves_one_model(stand_in: OpenAI) -> None:
    async with client_of(stand_in, stand_in.sample_key()) as client:
        model = await client.models.retrieve("gpt-5")
    assert (model.id, model.owned_by, model.shutdown_date) == ("gpt-5", "system", "2026-12-11")


async def test_client_gets_not_found_for_an_unknown_model(stand_in: OpenAI) -> None:
    async with client_of(stand_in, stand_in.sample_key()) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("gpt-0")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_client_gets_its_authentication_error_with_the_key_masked(stand_in: OpenAI) -> None:
    key = "sk-proj-not-of-the-sandbox-21sA"
    async with client_of(stand_in, key) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.models.list()
    error = caught.value
    assert (error.code, error.type, error.param) == (
        "invalid_api_key",
        "invalid_request_error",
        None,
    )
    assert f"provided: sk-proj-{'*' * 19}21sA. You can find" in str(error)
    assert error.request_id is not None
    assert error.request_id.startswith("req_")


@pytest.mark.parametrize(
    ("behaviour", "expected", "code"),
    [
        (Behaviour.RESTRICTED, openai.PermissionDeniedError, None),
        (Behaviour.LIMITED, openai.RateLimitError, "rate_limit_exceeded"),
        (Behaviour.BROKEN, openai.InternalServerError, None),
    ],
)
async def test_client_gets_the_typed_error_a_key_asks_for(
    stand_in: OpenAI,
    behaviour: Behaviour,
    expected: type[openai.APIStatusError],
    code: str | None,
) -> None:
    async with client_of(stand_in, stand_in.sample_key(behaviour)) as client:
        with pytest.raises(expected) as caught:
            await client.models.list()
    assert caught.value.code == code


async def test_a_limited_key_says_when_to_come_back(stand_in: OpenAI) -> None:
    headers = {"authorization": f"Bearer {stand_in.sample_key(Behaviour.LIMITED)}"}
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.get("models", headers=headers)
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["retry-after-ms"] == "7000"


async def test_a_missing_key_is_answered_as_the_real_one_does(stand_in: OpenAI) -> None:
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.get("models")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="OpenAI API"'
    error = answer.json()["error"]
    assert error["message"].startswith("You didn't provide an API key.")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


async def test_an_unknown_route_is_an_invalid_url(stand_in: OpenAI) -> None:
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.get("nothing")
    assert answer.status_code == 404
    assert answer.json() == {
        "error": {
            "message": "Invalid URL (GET /v1/nothing)",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }


async def test_a_wrong_method_is_named(stand_in: OpenAI) -> None:
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.post("models", json={})
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_supported"
    assert "POST on /v1/models" in answer.json()["error"]["message"]


async def test_answers_carry_the_real_ones_headers(stand_in: OpenAI) -> None:
    headers = {"authorization": f"Bearer {stand_in.sample_key()}"}
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.get("models", headers=headers)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["openai-version"] == "2020-10-01"
    assert len(answer.headers["x-request-id"]) == len("req_") + 32


async def test_the_list_of_models_can_be_given() -> None:
    mine = OpenAI(models=[OpenAIModel("gpt-mine", 1, owned_by="me")])
    async with serve(sandbox=Sandbox(openai=mine)), client_of(mine, mine.sample_key()) as client:
        listed = [model.id async for model in client.models.list()]
    assert listed == ["gpt-mine"]


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("key_8Tjw12345678rtUb", "key_8Tjw********rtUb"),
        ("your_api_key_here", "your_api*****here"),
        ("EMPTY", "EMPTY"),
    ],
)
def test_keys_are_masked_as_in_reported_messages(key: str, shown: str) -> None:
    assert mask_key(key) == shown
