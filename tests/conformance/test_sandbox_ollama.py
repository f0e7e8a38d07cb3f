"""The Ollama stand-in, judged by the official client."""

from collections.abc import AsyncIterator

import httpx
import ollama
import pytest
import pytest_asyncio

from model_service.sandbox import Behaviour, serve
from model_service.sandbox.ollama import Ollama
from model_service.sandbox.ollama_models import MODELS


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def served() -> AsyncIterator[Ollama]:
    async with serve() as sandbox:
        yield sandbox.ollama


@pytest.fixture
def stand_in(served: Ollama) -> Ollama:
    served.clear()
    return served


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http(served: Ollama) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.base_url) as client:
        yield client


async def test_client_lists_the_pulled_models(stand_in: Ollama) -> None:
    async with ollama.AsyncClient(host=stand_in.base_url, timeout=5) as client:
        listed = (await client.list()).models
    assert [model.model for model in listed] == [model.name for model in MODELS]
    assert (listed[0].size, listed[0].digest) == (MODELS[0].size, MODELS[0].digest)
    assert listed[0].details is not None
    assert listed[0].details.parameter_size == "8.0B"
    assert listed[0].modified_at is not None


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [(Behaviour.RESTRICTED, 403), (Behaviour.LIMITED, 429), (Behaviour.BROKEN, 500)],
)
async def test_client_gets_its_error_when_the_server_misbehaves(
    stand_in: Ollama, behaviour: Behaviour, status: int
) -> None:
    stand_in.always = behaviour
    async with ollama.AsyncClient(host=stand_in.base_url, timeout=5) as client:
        with pytest.raises(ollama.ResponseError) as caught:
            await client.list()
    assert caught.value.status_code == status


async def test_no_key_is_asked_for_or_looked_at(stand_in: Ollama, http: httpx.AsyncClient) -> None:
    headers = {"authorization": "Bearer sk-sandbox-broken"}
    assert (await http.get("/api/tags")).status_code == 200
    assert (await http.get("/api/tags", headers=headers)).status_code == 200
    with_key = stand_in.requests[1].credential
    assert stand_in.requests[0].credential is None
    assert with_key is not None
    assert with_key.value == "sk-sandbox-broken"


async def test_it_says_that_it_is_running(stand_in: Ollama, http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    assert (answer.text, answer.status_code) == ("Ollama is running", 200)
    assert (await http.head("/")).status_code == 200


async def test_it_tells_its_version(stand_in: Ollama, http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/version")
    assert set(answer.json()) == {"version"}
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


async def test_what_it_does_not_serve_is_answered_in_plain_text(
    stand_in: Ollama, http: httpx.AsyncClient
) -> None:
    unknown, wrong = await http.get("/api/none"), await http.delete("/api/tags")
    assert (unknown.status_code, unknown.text) == (404, "404 page not found")
    assert (wrong.status_code, wrong.text) == (405, "405 method not allowed")
