"""Presets over HTTP: CUSTOM models and keys that name a known vendor.

The OpenAI stand-in plays all vendors.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select, update

from model_service.app import build
from model_service.db.tables import api_keys
from model_service.db.uow import Database
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.providers.vendors import VENDORS
from model_service.sandbox.server import Sandbox
from model_service.service import Service
from model_service.settings import Settings
from tests.conftest import ADMIN_TOKEN, INTERNAL_SECRET

GOOD = "sk-sandbox-0123456789abcdef"
WRONG = "wrong-key-0123456789abcdef"
NAMES = ", ".join(sorted(VENDORS))
INTERNAL = {"x-internal-secret": INTERNAL_SECRET}


@pytest_asyncio.fixture(scope="module")
async def shared_vendors(
    settings: Settings, database_url: Secret[str], shared_sandbox: Sandbox
) -> AsyncIterator[Service]:
    """The service in production, with all vendors where the OpenAI stand-in is."""
    base_url = shared_sandbox.openai.base_url
    allowed = f"{settings.upstream_allowed_hosts} {urlsplit(base_url).netloc}"
    service = await build(
        settings.model_copy(update={"upstream_allowed_hosts": allowed}),
        database_url,
        Redactor(),
        {
            preset: replace(vendor, base_url=base_url, validation="/models", asked_at_origin=False)
            for preset, vendor in VENDORS.items()
        },
    )
    yield service
    await service.close()


@pytest_asyncio.fixture
async def vendors(
    shared_vendors: Service, database: Database, sandbox: Sandbox
) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator's client of it."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(shared_vendors.app),
        base_url="http://service",
        headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
    ) as client:
        yield client


async def new_key(client: httpx.AsyncClient, query: str = "", **changes: Any) -> httpx.Response:
    body = {
        "userId": "u1",
        "provider": "CUSTOM",
        "keyName": "main",
        "apiKey": GOOD,
        "metadata": {"preset": "mistral"},
    }
    return await client.post(f"/api/api-keys{query}", json=body | changes)


async def new_model(client: httpx.AsyncClient, settings: object, **more: Any) -> httpx.Response:
    body = {"name": "m", "provider": "CUSTOM", "modelId": "large", "providerSettings": settings}
    return await client.post("/api/models", json=body | more)


def fault(answer: httpx.Response) -> Mapping[str, str]:
    assert answer.status_code == 400, answer.text
    (only,) = answer.json()["errors"]
    found: Mapping[str, str] = only
    return found


@pytest.mark.parametrize("preset", VENDORS)
async def test_a_key_is_checked_with_its_vendor_and_bound_to_it(
    vendors: httpx.AsyncClient, sandbox: Sandbox, preset: str
) -> None:
    answer = await new_key(vendors, metadata={"preset": preset, "team": "a"})
    assert answer.status_code == 201, answer.text
    key = answer.json()
    assert key["metadata"] == {
        "preset": preset,
        "team": "a",
        "endpoint": sandbox.openai.base_url,
    }
    assert key["isValid"] is True
    assert key["validatedAt"] == key["createdAt"]
    assert [request.path for request in sandbox.openai.requests] == ["/v1/models"]


async def test_a_key_the_vendor_refuses_is_not_stored(
    vendors: httpx.AsyncClient, database: Database
) -> None:
    answer = await new_key(vendors, apiKey=WRONG)
    assert answer.status_code == 400
    assert answer.json()["message"] == "Invalid API key for provider 'CUSTOM'"
    async with database.single() as connection:
        assert list(await connection.execute(select(api_keys))) == []


@pytest.mark.parametrize("behaviour", ["limited", "broken", "html"])
async def test_a_vendor_that_could_not_be_asked_decides_nothing(
    vendors: httpx.AsyncClient, behaviour: str
) -> None:
    answer = await new_key(vendors, apiKey=f"sk-sandbox-{behaviour}-0123456789")
    assert answer.status_code == 503
    assert answer.json()["code"] == "provider_unreachable"


async def test_a_star_is_no_key_of_a_vendors(vendors: httpx.AsyncClient) -> None:
    assert fault(await new_key(vendors, apiKey="*"))["field"] == "apiKey"


async def test_an_administrator_may_store_a_vendors_key_unvalidated(
    vendors: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    answer = await new_key(vendors, "?validate=false", apiKey=WRONG)
    assert answer.status_code == 201
    assert (answer.json()["isValid"], answer.json()["validatedAt"]) == (False, None)
    assert not sandbox.openai.requests


async def test_a_vendors_key_is_asked_about_again(
    vendors: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    stored = (await new_key(vendors, "?validate=false", apiKey=WRONG)).json()
    answer = await vendors.post(f"/api/api-keys/{stored['id']}/validate")
    assert answer.status_code == 200
    assert answer.json()["isValid"] is False
    assert len(sandbox.openai.requests) == 1


async def test_a_vendors_key_is_rotated_to_what_the_vendor_takes(
    vendors: httpx.AsyncClient,
) -> None:
    stored = (await new_key(vendors)).json()
    path = f"/api/api-keys/{stored['id']}/rotate"
    refused = await vendors.post(path, json={"apiKey": WRONG})
    assert refused.status_code == 400, refused.text
    other = "sk-sandbox-fedcba9876543210"
    answer = await vendors.post(path, json={"apiKey": other})
    assert answer.status_code == 200, answer.text
    assert answer.json()["validatedAt"] > stored["validatedAt"]
    value = await vendors.get(f"/api/api-keys/{stored['id']}/decrypt", headers=INTERNAL)
    assert value.json() == {"key": other}


async def test_an_unknown_preset_is_refused_and_the_known_are_listed(
    vendors: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    answer = await new_key(vendors, metadata={"preset": "openai"})
    assert fault(answer) == {"field": "metadata.preset", "message": f"must be one of {NAMES}"}
    assert not sandbox.openai.requests


async def test_a_preset_beside_another_endpoint_is_refused(vendors: httpx.AsyncClient) -> None:
    metadata = {"preset": "groq", "endpoint": "https://api.example.com/v1"}
    assert fault(await new_key(vendors, metadata=metadata))["field"] == "metadata.endpoint"


async def test_a_vendors_key_moved_to_another_endpoint_does_not_open(
    vendors: httpx.AsyncClient, database: Database
) -> None:
    stored = (await new_key(vendors)).json()
    moved = {"preset": "mistral", "endpoint": "https://evil.example/v1"}
    async with database.transaction() as connection:
        await connection.execute(
            update(api_keys).where(api_keys.c.id == stored["id"]).values(metadata=moved)
        )
    answer = await vendors.get(f"/api/api-keys/{stored['id']}/decrypt", headers=INTERNAL)
    assert answer.status_code == 500
    assert GOOD not in answer.text


async def test_metadata_that_was_read_may_be_sent_back(vendors: httpx.AsyncClient) -> None:
    stored = (await new_key(vendors)).json()
    path, metadata = f"/api/api-keys/{stored['id']}", stored["metadata"] | {"team": "b"}
    answer = await vendors.put(path, json={"metadata": metadata})
    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"] == metadata
    answer = await vendors.put(path, json={"metadata": {"preset": "mistral"}})
    assert answer.json()["metadata"] == stored["metadata"]


async def test_a_vendors_key_cannot_be_led_elsewhere(vendors: httpx.AsyncClient) -> None:
    stored = (await new_key(vendors)).json()
    for metadata in ({"endpoint": "https://evil.example/v1"}, {"team": "b"}, None):
        answer = await vendors.put(f"/api/api-keys/{stored['id']}", json={"metadata": metadata})
        assert fault(answer)["field"] == "metadata.endpoint"


async def test_what_a_vendor_offers_is_listed_live(
    vendors: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    await new_key(vendors)
    sandbox.clear()
    answer = await vendors.get(
        "/api/models/providers/CUSTOM/available-models", params={"userId": "u1"}
    )
    assert answer.status_code == 200, answer.text
    assert {model["id"] for model in answer.json()} == {model.id for model in sandbox.openai.models}
    assert [request.path for request in sandbox.openai.requests] == ["/v1/models"]


async def test_a_custom_key_without_a_preset_is_still_not_checked(
    vendors: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    for name, metadata in (("one", None), ("two", {"endpoint": sandbox.openai.base_url})):
        answer = await new_key(vendors, keyName=name, apiKey="*", metadata=metadata)
        assert answer.status_code == 201, answer.text
        assert (answer.json()["isValid"], answer.json()["validatedAt"]) == (True, None)
        again = await vendors.post(f"/api/api-keys/{answer.json()['id']}/validate")
        assert again.json()["isValid"] is True
    assert not sandbox.openai.requests


async def test_a_model_may_name_its_vendor(vendors: httpx.AsyncClient) -> None:
    answer = await new_model(vendors, {"preset": "mistral", "note": 1})
    assert answer.status_code == 201, answer.text
    assert answer.json()["providerSettings"] == {"preset": "mistral", "note": 1}


async def test_the_price_book_knows_a_vendors_models(client: httpx.AsyncClient) -> None:
    answer = await new_model(client, {"preset": "groq"}, modelId="deepseek-r1-distill-llama-70b")
    assert answer.json()["contextWindow"] == 131_072


async def test_another_vendor_makes_it_another_model(client: httpx.AsyncClient) -> None:
    made = await new_model(client, {"preset": "groq"}, modelId="deepseek-r1-distill-llama-70b")
    path = f"/api/models/{made.json()['id']}"
    assert made.json()["contextWindow"] == 131_072
    answer = await client.put(path, json={"providerSettings": {"preset": "nobody"}})
    assert fault(answer)["field"] == "providerSettings.preset"
    answer = await client.put(path, json={"providerSettings": {"baseUrl": "https://a.example"}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["contextWindow"] is None


@pytest.mark.parametrize("preset", ["openai", "Mistral", "", 7, None])
async def test_a_model_of_an_unknown_vendor_is_refused(
    vendors: httpx.AsyncClient, preset: object
) -> None:
    assert fault(await new_model(vendors, {"preset": preset})) == {
        "field": "providerSettings.preset",
        "message": f"must be one of {NAMES}",
    }


async def test_a_model_has_a_vendor_or_a_base_url(vendors: httpx.AsyncClient) -> None:
    settings = {"preset": "mistral", "baseUrl": "https://api.mistral.ai/v1"}
    assert fault(await new_model(vendors, settings))["field"] == "providerSettings.preset"
