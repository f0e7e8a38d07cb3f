"""What providers offer, over HTTP.

Mostly of a service whose outside is made up, so that it can fail to order; at the end of the
whole service, with the stand-ins for providers.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from model_service.catalog.api import router
from model_service.catalog.domain import ActiveKey
from model_service.catalog.prices import PriceBook
from model_service.catalog.service import ModelService
from model_service.catalog.store import SqlModelStore
from model_service.db.uow import Database
from model_service.http import problem
from model_service.http.abuse import Refusals
from model_service.http.auth import Authenticator, Credentials
from model_service.http.metrics import Metrics
from model_service.http.middleware import Edge
from model_service.kernel.audit import Purpose
from model_service.kernel.errors import KeyRefused, ProviderUnreachable, UpstreamTimeout
from model_service.kernel.provider import OfferedModel
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider, SystemClock
from model_service.sandbox.server import Sandbox
from tests.fakes import RecordingTrail

TOKEN = "test-administrator-94c1f07d"
SANDBOX_KEY = "sk-sandbox-0123456789abcdef"
OFFERS = (
    OfferedModel("gpt-4o", "gpt-4o", max_tokens=16384),
    OfferedModel("b", "Beta", "the second", supports_streaming=False, context_window=7),
    OfferedModel("a", "Alpha"),
)


@dataclass(frozen=True)
class MadeUpKey:
    id: UUID = field(default_factory=uuid4)
    key_version: int = 1
    is_valid: bool = True
    endpoint: str | None = None
    share_id: UUID | None = None
    models: Collection[str] | None = None


@dataclass
class Outside:
    """Users' keys and providers at once."""

    key: MadeUpKey | None = field(default_factory=MadeUpKey)
    failure: Exception | None = None
    asked: int = 0

    async def find_to_use(self, user_id: str, provider: Provider) -> MadeUpKey | None:
        return self.key if user_id == "u" else None

    async def find_to_reveal(
        self, user_id: str, provider: Provider, model: str
    ) -> MadeUpKey | None:
        return await self.find_to_use(user_id, provider)

    async def reveal(self, held: ActiveKey, purpose: Purpose) -> Secret[str]:
        return Secret("the-value-of-the-key")

    async def refused(self, held: ActiveKey) -> Secret[str] | None:
        return None

    async def fallback(self, held: ActiveKey) -> Secret[str] | None:
        return None

    async def list_models(
        self, provider: Provider, key: Secret[str] | None, endpoint: str | None
    ) -> Sequence[OfferedModel]:
        self.asked += 1
        if self.failure:
            raise self.failure
        return OFFERS


@dataclass
class Asking:
    client: httpx.AsyncClient
    outside: Outside

    async def __call__(self, provider: str = "OPENAI", query: str = "?userId=u") -> httpx.Response:
        return await self.client.get(f"/api/models/providers/{provider}/available-models{query}")


@pytest_asyncio.fixture
async def ask(database: Database) -> AsyncIterator[Asking]:
    outside = Outside()
    models = ModelService(
        database,
        SqlModelStore(database),
        RecordingTrail(),
        outside,
        outside,
        SystemClock(),
        PriceBook(),
    )
    app = FastAPI(openapi_url=None)
    app.state.authenticator = Authenticator(
        Credentials.of(
            admin_token=Secret(TOKEN), internal_secrets=[], loopback_is_administrator=False
        )
    )
    problem.install(app)
    app.add_middleware(Edge, metrics=Metrics(version="0"), guard=None)
    app.include_router(router(models, Refusals(RecordingTrail())))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://service",
        headers={"authorization": f"Bearer {TOKEN}"},
    ) as client:
        yield Asking(client, outside)
    await models.close()


async def test_offers_come_by_name_and_unknown_facts_as_null(ask: Asking) -> None:
    answer = await ask()
    assert answer.status_code == 200
    alpha, beta, known = answer.json()
    assert alpha == {
        "id": "a",
        "name": "Alpha",
        "description": None,
        "maxTokens": None,
        "supportsStreaming": None,
        "contextWindow": None,
        "capabilities": None,
    }
    assert (beta["description"], beta["supportsStreaming"]) == ("the second", False)
    assert beta["contextWindow"] == 7
    assert (known["id"], known["maxTokens"], known["contextWindow"]) == ("gpt-4o", 16384, 128000)
    assert (known["supportsStreaming"], known["capabilities"]["tools"]) == (True, True)


async def test_the_answer_is_remembered(ask: Asking) -> None:
    assert (await ask()).json() == (await ask()).json()
    assert ask.outside.asked == 1


async def test_the_user_is_required_save_for_ollama(ask: Asking) -> None:
    answer = await ask(query="")
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["errors"]] == ["userId"]
    assert (await ask(query="?userId=")).status_code == 400
    assert (await ask("OLLAMA", "")).status_code == 200


async def test_a_user_without_a_key_that_is_active_and_valid_gets_404(ask: Asking) -> None:
    assert (await ask(query="?userId=other")).status_code == 404
    ask.outside.key = MadeUpKey(is_valid=False)
    answer = await ask()
    assert answer.status_code == 404
    assert "'OPENAI'" in answer.json()["message"]


async def test_a_key_without_an_endpoint_where_one_is_needed_is_a_conflict(ask: Asking) -> None:
    answer = await ask("AZURE")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_a_provider_that_cannot_be_asked_is_an_error_and_not_an_empty_list(
    ask: Asking,
) -> None:
    for failure, word in (
        (UpstreamTimeout("total"), "timeout"),
        (ProviderUnreachable("Provider 'OPENAI' could not be asked (rate_limited)"), "rate_lim"),
    ):
        ask.outside.failure = failure
        answer = await ask()
        assert (answer.status_code, answer.json()["code"]) == (503, "provider_unreachable")
        assert int(answer.headers["retry-after"]) > 0
        assert "'OPENAI'" in answer.json()["message"]
        assert word in answer.json()["message"]
    ask.outside.failure = None
    assert (await ask()).status_code == 200


async def test_a_refused_key_is_a_conflict_that_does_not_show_the_key(ask: Asking) -> None:
    ask.outside.failure = KeyRefused("Provider 'OPENAI' refused the stored key (invalid)")
    answer = await ask()
    assert (answer.status_code, answer.json()["code"]) == (409, "key_refused")
    assert "the-value-of-the-key" not in answer.text


@pytest.mark.parametrize("provider", ["OPENAI", "ANTHROPIC", "GOOGLE"])
async def test_the_whole_service_asks_the_provider_with_the_users_key_once(
    client: httpx.AsyncClient, sandbox: Sandbox, provider: str
) -> None:
    key = {"userId": "u", "provider": provider, "keyName": "k", "apiKey": SANDBOX_KEY}
    stored = await client.post("/api/api-keys", json=key)
    assert stored.status_code == 201, stored.text
    sandbox.clear()
    path = f"/api/models/providers/{provider}/available-models?userId=u"
    first, second = await client.get(path), await client.get(path)
    assert first.status_code == 200, first.text
    names = [model["name"] for model in first.json()]
    assert names
    assert names == sorted(names)
    assert second.json() == first.json()
    stand_in = getattr(sandbox, provider.lower())
    assert [request.path.rsplit("/", 1)[-1] for request in stand_in.requests] == ["models"]
    used = (await client.get(f"/api/api-keys/{stored.json()['id']}")).json()
    assert used["usageCount"] == 1


async def test_the_whole_service_lists_what_ollama_has_without_a_key(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/api/models/providers/OLLAMA/available-models")
    assert answer.status_code == 200, answer.text
    assert answer.json()
