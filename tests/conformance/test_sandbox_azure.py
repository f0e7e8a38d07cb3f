"""The Azure stand-in, judged by the official client and by Azure's error bodies."""

from collections.abc import AsyncIterator

import httpx
import openai
import pytest
import pytest_asyncio

from model_service.sandbox import Behaviour, serve
from model_service.sandbox.azure import MODELS, Azure

LISTING = "/openai/v1/models"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stand_in() -> AsyncIterator[Azure]:
    async with serve() as sandbox:
        yield sandbox.azure


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http(stand_in: Azure) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"api-key": stand_in.sample_key()}
    async with httpx.AsyncClient(base_url=stand_in.base_url, headers=headers) as client:
        yield client


def client_of(stand_in: Azure, key: str) -> openai.AsyncOpenAI:
    base_url = f"{stand_in.base_url}/openai/v1"
    return openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=5)


async def test_client_lists_the_base_models(stand_in: Azure) -> None:
    async with client_of(stand_in, stand_in.sample_key()) as client:
        listed = [model async for model in client.models.list()]
    assert [model.id for model in listed] == [model.id for model in MODELS]
    assert listed[0].created == MODELS[0].created


async def test_the_listing_tells_what_a_model_can_do(http: httpx.AsyncClient) -> None:
    listing = (await http.get(LISTING)).json()
    first, last = listing["data"][0], listing["data"][-1]
    assert first["capabilities"]["chat_completion"]
    assert last["capabilities"] == {
        "fine_tune": False,
        "inference": True,
        "completion": False,
        "chat_completion": False,
        "embeddings": True,
    }
    assert first["lifecycle_status"] == "generally-available"


async def test_client_gets_its_authentication_error(stand_in: Azure) -> None:
    async with client_of(stand_in, "0123456789abcdef0123456789abcdef") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.models.list()
    assert caught.value.code == "401"
    assert "Access denied due to invalid subscription key" in str(caught.value)


@pytest.mark.parametrize(
    ("behaviour", "expected", "code"),
    [
        (Behaviour.RESTRICTED, openai.PermissionDeniedError, "403"),
        (Behaviour.LIMITED, openai.RateLimitError, "429"),
        (Behaviour.BROKEN, openai.InternalServerError, "InternalServerError"),
    ],
)
async def test_client_gets_the_typed_error_a_key_asks_for(
    stand_in: Azure, behaviour: Behaviour, expected: type[openai.APIStatusError], code: str
) -> None:
    async with client_of(stand_in, stand_in.sample_key(behaviour)) as client:
        with pytest.raises(expected) as caught:
            await client.models.list()
    assert caught.value.code == code


async def test_an_unknown_key_is_refused_in_azures_shape(stand_in: Azure) -> None:
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.get(LISTING, headers={"api-key": "0123456789abcdef0123456789abcdef"})
    assert answer.status_code == 401
    assert set(answer.json()["error"]) == {"code", "message"}
    assert answer.headers["apim-request-id"] != answer.headers["x-request-id"]


async def test_a_missing_key_has_a_shape_of_its_own(stand_in: Azure) -> None:
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.get(LISTING)
    assert (answer.status_code, answer.json()["statusCode"]) == (401, 401)
    assert answer.json()["message"].startswith("Unauthorized. Access token is missing")


async def test_the_key_is_read_from_its_own_header(
    stand_in: Azure, http: httpx.AsyncClient
) -> None:
    stand_in.clear()
    assert (await http.get(LISTING)).status_code == 200
    credential = stand_in.requests[0].credential
    assert credential is not None
    assert credential.value == stand_in.sample_key()


async def test_one_model_is_served_by_name(http: httpx.AsyncClient) -> None:
    assert (await http.get(f"{LISTING}/{MODELS[0].id}")).json()["id"] == MODELS[0].id


@pytest.mark.parametrize(
    ("method", "path"), [("GET", f"{LISTING}/gpt-0"), ("GET", "/nothing"), ("POST", LISTING)]
)
async def test_what_is_not_there_is_a_resource_not_found(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await http.request(method, path)
    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": "404", "message": "Resource not found"}}
