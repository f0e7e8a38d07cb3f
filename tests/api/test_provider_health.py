"""The routes of how providers are doing."""

import asyncio
import secrets
import time
from typing import Any

import httpx
import pytest

from model_service.gateway.circuit import STREAK, Circuit
from model_service.kernel.types import Provider
from model_service.providers.condition import State
from model_service.providers.faults import FaultKind
from model_service.service import Service
from tests.gateway_world import GatewayWorld

URL = "/api/providers/health"


def a_circuit(service: Service, *names: str, provider: Provider = Provider.OPENAI) -> Circuit:
    """The circuit of a place that no other test has."""
    upstream = f"model-{secrets.token_hex(6)}"
    for name in names:
        service.traffic.circuits.of(provider, "https://api.example.com", upstream, name)
    return service.traffic.circuits.of(provider, "https://api.example.com", upstream)


def fail(circuit: Circuit, why: str = "it broke") -> None:
    now = asyncio.get_running_loop().time()
    ticket = circuit.allow(now)
    for _ in range(STREAK):
        circuit.failed(ticket, FaultKind.UPSTREAM, now, why)


def recover(circuit: Circuit) -> None:
    soon = asyncio.get_running_loop().time() + 60
    circuit.succeeded(circuit.allow(soon), 0.1)


async def views(client: httpx.AsyncClient, circuit: Circuit) -> list[dict[str, Any]]:
    answer = await client.get(URL)
    assert answer.status_code == 200, answer.text
    return [one for one in answer.json()["data"] if one["upstreamModel"] == circuit.place.model]


async def test_a_place_that_is_well_shows_its_latencies(
    client: httpx.AsyncClient, service: Service
) -> None:
    circuit = a_circuit(service, "well")
    for _ in range(20):
        circuit.succeeded(circuit.allow(0.0), 0.2, 0.05)
    (view,) = await views(client, circuit)
    assert view == {
        "provider": "OPENAI",
        "model": "well",
        "upstreamModel": circuit.place.model,
        "endpoint": "https://api.example.com",
        "state": "closed",
        "calls": 20,
        "errorRate": 0.0,
        "p50Ms": pytest.approx(200, rel=0.05),
        "p95Ms": pytest.approx(200, rel=0.05),
        "firstTokenP50Ms": pytest.approx(50, rel=0.05),
        "firstTokenP95Ms": pytest.approx(50, rel=0.05),
        "lastError": None,
        "lastErrorAt": None,
        "why": None,
        "since": view["since"],
        "retryAt": None,
    }


async def test_a_place_that_fails_is_open_and_says_why(
    client: httpx.AsyncClient, service: Service
) -> None:
    circuit = a_circuit(service, "down")
    fail(circuit, "The provider answered 503")
    (view,) = await views(client, circuit)
    assert (view["state"], view["errorRate"], view["p50Ms"]) == ("open", 1.0, None)
    assert (view["lastError"], view["why"]) == ("upstream_error", "The provider answered 503")
    assert view["lastErrorAt"] is not None


async def test_a_place_whose_turn_has_come_is_half_open(
    client: httpx.AsyncClient, service: Service
) -> None:
    circuit = a_circuit(service)
    fail(circuit)
    assert circuit.allow(asyncio.get_running_loop().time() + 60)
    (view,) = await views(client, circuit)
    assert view["state"] == "half_open"


async def test_each_registered_model_of_a_place_has_its_line(
    client: httpx.AsyncClient, service: Service
) -> None:
    circuit = a_circuit(service, "one", "two")
    assert [view["model"] for view in await views(client, circuit)] == ["one", "two"]


async def test_changes_are_in_the_history_newest_first(
    client: httpx.AsyncClient, service: Service
) -> None:
    circuit = a_circuit(service, f"name-{secrets.token_hex(4)}")
    fail(circuit)
    recover(circuit)
    await service.traffic.health.sharing.tell_changes()
    for model in (circuit.place.model, circuit.names[0]):
        answer = await client.get(f"{URL}/history", params={"model": model})
        up, down = answer.json()["data"]
        assert (up["state"], down["state"], down["why"]) == ("closed", "open", "it broke")
        assert down["models"] == list(circuit.names)
        assert up["at"] > down["at"]
        assert answer.json()["nextCursor"] is None


async def test_the_history_comes_in_pages_and_by_provider_and_time(
    client: httpx.AsyncClient, service: Service
) -> None:
    circuit = a_circuit(service, provider=Provider.GOOGLE)
    for _ in range(2):
        fail(circuit)
        recover(circuit)
    await service.traffic.health.sharing.tell_changes()
    asked: dict[str, Any] = {"provider": "GOOGLE", "model": circuit.place.model}
    whole = (await client.get(f"{URL}/history", params=asked)).json()["data"]
    assert len(whole) == 4
    first = (await client.get(f"{URL}/history", params=asked | {"limit": 3})).json()
    rest = await client.get(
        f"{URL}/history", params=asked | {"limit": 3, "cursor": first["nextCursor"]}
    )
    assert first["data"] + rest.json()["data"] == whole
    between = asked | {"from": whole[2]["at"], "to": whole[0]["at"]}
    assert (await client.get(f"{URL}/history", params=between)).json()["data"] == whole[1:3]
    other = asked | {"provider": "OPENAI"}
    assert (await client.get(f"{URL}/history", params=other)).json()["data"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("provider=NOBODY", "provider"),
        ("from=yesterday", "from"),
        ("to=2026-01-01", "to"),
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("state=open", "state"),
    ],
)
async def test_a_wrong_question_is_refused_by_field(
    client: httpx.AsyncClient, query: str, field: str
) -> None:
    answer = await client.get(f"{URL}/history?{query}")
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


async def test_nobody_sees_it_without_a_credential(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get(URL)).status_code == 401
    assert (await anonymous.get(f"{URL}/history")).status_code == 401


async def test_a_user_does_not_see_where_others_calls_go(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    made = await client.post("/api/tokens", json={"role": "user", "userId": "u"})
    headers = {"authorization": f"Bearer {made.json()['token']}"}
    assert (await anonymous.get(URL, headers=headers)).status_code == 403


async def test_a_running_service_asks_a_place_that_nobody_calls_and_closes_it(
    world: GatewayWorld,
) -> None:
    origin = world.sandbox.openai.origin
    upstream = f"model-{secrets.token_hex(6)}"
    circuit = world.service.traffic.circuits.of(Provider.OPENAI, origin, upstream, "uncalled")
    fail(circuit)
    assert circuit.blocks(time.monotonic())
    async with asyncio.timeout(20):
        # By this process or another one of the same database: whoever asks first tells the rest.
        while circuit.state is not State.CLOSED:  # noqa: ASYNC110 - it changes by itself
            await asyncio.sleep(0.05)
    assert circuit.last_error_why == "it broke"
