"""The Google stand-in, judged by the official client and by the live API's error bodies."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from google import genai
from google.genai import errors, types

from model_service.sandbox import Behaviour, serve
from model_service.sandbox.google import Google
from model_service.sandbox.google_models import MODELS

NAMES = [f"models/{model.name}" for model in MODELS]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stand_in() -> AsyncIterator[Google]:
    async with serve() as sandbox:
        yield sandbox.google


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http(stand_in: Google) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-goog-api-key": stand_in.sample_key()}
    async with httpx.AsyncClient(base_url=stand_in.base_url, headers=headers) as client:
        yield client


async def listed(
    stand_in: Google, key: str, page_size: int, version: str | None = None
) -> list[types.Model]:
    """All models, as the official client reads them; both halves of the client are closed."""
    options = types.HttpOptions(base_url=stand_in.base_url, api_version=version, timeout=5000)
    with genai.Client(api_key=key, http_options=options) as client:
        async with client.aio as aio:
            pager = await aio.models.list(config={"page_size": page_size})
            return [model async for model in pager]


async def test_client_reads_the_listing_page_by_page(stand_in: Google) -> None:
    stand_in.clear()
    models = await listed(stand_in, stand_in.sample_key(), page_size=4)
    assert [model.name for model in models] == NAMES
    assert len(stand_in.requests) == 2
    assert "pageToken" in stand_in.requests[1].query


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_client_reads_the_listing_of_either_version(stand_in: Google, version: str) -> None:
    stand_in.clear()
    models = await listed(stand_in, stand_in.sample_key(), page_size=50, version=version)
    assert [model.name for model in models] == NAMES
    assert stand_in.requests[0].path == f"/{version}/models"


async def test_client_reads_limits_and_actions(stand_in: Google) -> None:
    argon, *_, embedding = await listed(stand_in, stand_in.sample_key(), page_size=50)
    assert (argon.display_name, argon.version, argon.thinking) == ("Gemini 4 Argon", "001", True)
    assert (argon.input_token_limit, argon.output_token_limit) == (1_048_576, 1_048_576)
    assert "generateContent" in (argon.supported_actions or [])
    assert "embedContent" in (embedding.supported_actions or [])


async def test_client_gets_its_error_for_an_unknown_key(stand_in: Google) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await listed(stand_in, "AIzaNotOfTheSandbox00000000000000000000", page_size=1)
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    reason, localized = caught.value.details["error"]["details"]
    assert reason == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    assert localized["message"] == "API key not valid. Please pass a valid API key."


@pytest.mark.parametrize(
    ("behaviour", "expected", "code", "status"),
    [
        (Behaviour.RESTRICTED, errors.ClientError, 403, "PERMISSION_DENIED"),
        (Behaviour.LIMITED, errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        (Behaviour.BROKEN, errors.ServerError, 503, "UNAVAILABLE"),
    ],
)
async def test_client_gets_the_typed_error_a_key_asks_for(
    stand_in: Google,
    behaviour: Behaviour,
    expected: type[errors.APIError],
    code: int,
    status: str,
) -> None:
    with pytest.raises(expected) as caught:
        await listed(stand_in, stand_in.sample_key(behaviour), page_size=1)
    assert (caught.value.code, caught.value.status) == (code, status)


async def test_a_key_of_the_wrong_length_is_refused(stand_in: Google) -> None:
    headers = {"x-goog-api-key": stand_in.sample_key()[:-1]}
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.get("/v1beta/models", headers=headers)
    assert answer.status_code == 400


async def test_a_missing_key_is_denied(stand_in: Google) -> None:
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.get("/v1beta/models")
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (403, "PERMISSION_DENIED")
    assert error["message"].startswith("Method doesn't allow unregistered callers")


async def test_a_key_in_the_url_is_taken_and_noted(stand_in: Google) -> None:
    stand_in.clear()
    async with httpx.AsyncClient(base_url=stand_in.base_url) as http:
        answer = await http.get("/v1beta/models", params={"key": stand_in.sample_key()})
    assert answer.status_code == 200
    credential = stand_in.requests[0].credential
    assert credential is not None
    assert credential.in_query


async def test_a_key_in_the_header_is_noted_as_such(
    stand_in: Google, http: httpx.AsyncClient
) -> None:
    stand_in.clear()
    await http.get("/v1beta/models")
    credential = stand_in.requests[0].credential
    assert credential is not None
    assert not credential.in_query
    assert credential.value == stand_in.sample_key()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("pageSize=many", "Invalid value at 'page_size' (TYPE_INT32), \"many\""),
        ("pageSize=-1", "page_size must not be negative"),
        ("pageToken=nonsense!", "page token is invalid"),
        ("pageToken=c3RhcnQ6eA==", "page token is invalid"),
        ("size=1", 'Invalid JSON payload received. Unknown name "size": Cannot bind query'),
    ],
)
async def test_a_query_it_cannot_read_is_an_invalid_argument(
    http: httpx.AsyncClient, query: str, message: str
) -> None:
    answer = await http.get(f"/v1beta/models?{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["message"].startswith(message)
    assert error["details"][0]["fieldViolations"][0]["description"] == error["message"]


async def test_a_page_size_beyond_the_largest_is_cut(http: httpx.AsyncClient) -> None:
    page = (await http.get("/v1beta/models?pageSize=100000&alt=json")).json()
    assert len(page["models"]) == len(MODELS)
    assert "nextPageToken" not in page


async def test_one_model_is_served_by_name(http: httpx.AsyncClient) -> None:
    answer = await http.get(f"/v1beta/{NAMES[1]}")
    assert answer.json()["name"] == NAMES[1]
    assert answer.text.startswith('{\n  "name": ')
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"


async def test_an_unknown_model_is_not_found(http: httpx.AsyncClient) -> None:
    error = (await http.get("/v1beta/models/gemini-0")).json()["error"]
    assert (error["code"], error["status"]) == (404, "NOT_FOUND")
    assert error["message"] == "Model is not found: models/gemini-0 for api version v1beta"


@pytest.mark.parametrize(("method", "path"), [("GET", "/v9"), ("POST", "/v1beta/models")])
async def test_an_unknown_route_is_an_html_page(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await http.request(method, path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
