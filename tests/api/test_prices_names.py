"""How keys and models of a provider's export are known again here."""

import httpx

from model_service.cli.usage_money import names_of
from model_service.kernel.types import Provider, uuid7
from model_service.service import Service


async def key(client: httpx.AsyncClient, name: str, user: str, **metadata: str) -> str:
    body = {
        "userId": user,
        "provider": "OPENAI",
        "keyName": name,
        "apiKey": f"sk-test-{uuid7().hex}",
        "metadata": metadata,
    }
    answer = await client.post("/api/api-keys", params={"validate": "false"}, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_a_key_is_known_by_the_id_in_its_metadata(
    client: httpx.AsyncClient, service: Service
) -> None:
    ours = await key(client, "a", "ada", providerKeyId="key_abc")
    names = await names_of(service, Provider.OPENAI, {})
    assert str(names.keys["key_abc"]) == ours


async def test_a_key_is_known_by_a_name_that_it_has_alone(
    client: httpx.AsyncClient, service: Service
) -> None:
    ours = await key(client, "mine", "ada")
    await key(client, "shared name", "ada")
    await key(client, "shared name", "bob")
    names = await names_of(service, Provider.OPENAI, {})
    assert {name: str(found) for name, found in names.keys.items()} == {"mine": ours}


async def test_what_is_given_goes_before_what_is_found(
    client: httpx.AsyncClient, service: Service
) -> None:
    await key(client, "a", "ada", providerKeyId="key_abc")
    given = {"key_abc": uuid7()}
    assert (await names_of(service, Provider.OPENAI, given)).keys["key_abc"] == given["key_abc"]


async def test_models_are_known_by_their_providers_ids(
    client: httpx.AsyncClient, service: Service
) -> None:
    body = {"name": "chat", "provider": "OPENAI", "modelId": "gpt-4o"}
    assert (await client.post("/api/models", json=body)).status_code == 201
    assert (await names_of(service, Provider.OPENAI, {})).models == {"chat": "gpt-4o"}
