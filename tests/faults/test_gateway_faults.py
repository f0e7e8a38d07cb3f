"""Whatever a provider does, every door says it in its own words, and goes on afterwards."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from itertools import product

import httpx
import pytest
import pytest_asyncio

from model_service.gateway import outbound
from model_service.kernel.types import Provider
from model_service.providers.messages import Limits
from model_service.sandbox.faults import Fault, Pace
from tests.faults.gateway_doors import DOORS, Answer, Door, refusal
from tests.gateway_world import GatewayWorld

PROVIDERS = (
    Provider.OPENAI,
    Provider.ANTHROPIC,
    Provider.GOOGLE,
    Provider.AZURE,
    Provider.OLLAMA,
)
ALL_OF_IT = " ".join(map(str, range(1, 13)))
#: Seconds after which a provider is silent, in tests that wait for that.
BRIEFLY = 0.15

#: The statuses that are right for a provider's refusal before its answer has begun. A provider
#: may have an own status for a kind (Anthropic's 529, its 400 for spent credit).
BEFORE = {
    Fault.LIMITED: {429},
    Fault.BROKEN: {500},
    Fault.UNAVAILABLE: {503},
    Fault.OVERLOADED: {503, 529},
    Fault.UNAUTHENTICATED: {401},
    Fault.NO_CREDIT: {400, 402, 429},
    Fault.NOT_FOUND: {404},
    Fault.TOO_LARGE: {400, 413},
    Fault.CONTEXT: {400},
    Fault.FILTER: {200, 400},
    Fault.REFUSED_PARAM: {400, 500},
    Fault.ECHO: {400, 401},
    Fault.ERROR_200: {502, 503, 529},
    Fault.HTML: {502},
    Fault.RESET: {502},
    Fault.SILENT: {504},
}
#: Faults that only make an answer late.
HARMLESS = (Fault.SLOW, Fault.DRIP, Fault.NO_DONE)
#: What a whole answer that is spoiled on its way becomes; all these spoil a stream too.
SPOILED = {
    Fault.CUT: {502},
    Fault.END: {502},
    Fault.STALL: {504},
    Fault.GARBAGE: {502},
    Fault.ERROR_EVENT: {502, 503, 529},
    Fault.FLOOD: {502},
    Fault.HUGE_EVENT: {502},
}
#: The doors' own words for an answer that is late, cut or not what it should be.
_OWN_WORDS = {
    "openai": {502: "server_error", 504: "server_error"},
    "anthropic": {502: "api_error", 504: "timeout_error"},
    "google": {502: "INTERNAL", 504: "DEADLINE_EXCEEDED"},
}


def test_every_fault_has_its_right_answer_here() -> None:
    assert {*BEFORE, *HARMLESS, *SPOILED, Fault.MALFORMED} == set(Fault)


@pytest.fixture(autouse=True)
def _bounded(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "LIMITS", Limits(body_bytes=1024 * 1024))
    for stand_in in world.sandbox.everything:
        stand_in.pace = Pace(slow=0.02, drip=0.0, huge=1024 * 1024)


@pytest_asyncio.fixture(scope="module")
async def caller(shared_world: GatewayWorld) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a user who has a key for every provider."""
    user = secrets.token_hex(6)
    for provider in PROVIDERS:
        if provider is not Provider.OLLAMA:
            await shared_world.key(provider, "sk-sandbox-" + secrets.token_hex(8), user=user)
    async with shared_world.client(await shared_world.token(user)) as client:
        yield client


async def modelled(world: GatewayWorld, provider: Provider, fault: Fault) -> str:
    """A new model that misbehaves so, and is not asked twice."""
    name = secrets.token_hex(6)
    policy: dict[str, float] = {"retries": 0}
    if fault in (Fault.SILENT, Fault.STALL):
        policy |= {"firstByteTimeout": BRIEFLY, "idleTimeout": BRIEFLY}
    await world.model(
        name,
        provider,
        modelId=f"fault-{fault.value}.{name}",
        maxTokens=4000,
        providerSettings={"policy": policy},
    )
    return name


async def asked(
    world: GatewayWorld, caller: httpx.AsyncClient, provider: Provider, fault: Fault
) -> list[tuple[Door, bool, Answer]]:
    """What every door answers, whole and in a stream, all asked at the same time."""
    ways = list(product(DOORS, (False, True)))
    # One for each: the circuit of one that fails time and again would open.
    models = [await modelled(world, provider, fault) for _ in ways]
    answers = await asyncio.gather(
        *(
            door.ask(caller, model, stream=stream)
            for (door, stream), model in zip(ways, models, strict=True)
        )
    )
    return [(door, stream, answer) for (door, stream), answer in zip(ways, answers, strict=True)]


async def none_left(world: GatewayWorld) -> None:
    """Fails if a call is still under way, or holds a connection to a provider."""
    async with asyncio.timeout(3):
        while True:
            if not _busy(world):
                return
            await asyncio.sleep(0)


def _busy(world: GatewayWorld) -> int:
    pools = world.service.transport._pools.values()
    taken = sum(pool.size - len(pool._free) for pool in pools)
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    serving = [one for one in coroutines if "Pipeline._go_on" in str(one)]
    return taken + len(serving)


async def is_well(world: GatewayWorld, caller: httpx.AsyncClient, provider: Provider) -> None:
    """Fails unless the next calls are answered as ever."""
    model = f"well-{provider.value.lower()}"
    if world.service.calling.registered.current().find(model) is None:
        await world.model(model, provider, maxTokens=4000)
    for stream in (False, True):
        answer = await DOORS[0].ask(caller, model, stream=stream)
        assert answer.status == 200, answer.text
        assert DOORS[0].text(answer) == ALL_OF_IT


@pytest.mark.parametrize("fault", BEFORE, ids=lambda fault: fault.value)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_refusal_before_the_first_byte_is_the_doors_own_error(
    world: GatewayWorld, caller: httpx.AsyncClient, provider: Provider, fault: Fault
) -> None:
    for door, stream, answer in await asked(world, caller, provider, fault):
        assert answer.status in BEFORE[fault], (door.name, stream, answer.text)
        if answer.status == 200:  # the provider refuses in its answer
            assert not stream or door.is_complete(answer)
            continue
        kind, message = refusal(door, answer)
        assert message
        if answer.status in (502, 504):
            assert kind in {
                _OWN_WORDS[door.family][answer.status],
                # an error that came with a 200 keeps its own kind
                *(["overloaded_error"] if fault is Fault.ERROR_200 else []),
            }
        if answer.status in (429, 503):
            assert 1 <= int(answer.headers["retry-after"]) <= 10
        if answer.status == 401:
            assert message.startswith("The provider refused the stored key")
            assert "www-authenticate" not in answer.headers
    await none_left(world)
    await is_well(world, caller, provider)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_providers_own_retry_after_is_passed_on(
    world: GatewayWorld, caller: httpx.AsyncClient, provider: Provider
) -> None:
    for _, _, answer in await asked(world, caller, provider, Fault.LIMITED):
        assert answer.headers["retry-after"] == "2"


@pytest.mark.parametrize("fault", HARMLESS, ids=lambda fault: fault.value)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_is_only_late_or_lacks_its_closing_mark_is_answered_whole(
    world: GatewayWorld, caller: httpx.AsyncClient, provider: Provider, fault: Fault
) -> None:
    for door, stream, answer in await asked(world, caller, provider, fault):
        assert answer.status == 200, answer.text
        assert not answer.is_broken
        assert door.text(answer) == ALL_OF_IT
        assert not door.errors(answer)
        assert not stream or door.is_complete(answer)
    await none_left(world)


@pytest.mark.parametrize("fault", SPOILED, ids=lambda fault: fault.value)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_answer_spoiled_on_its_way_is_an_error_and_never_a_clean_end(
    world: GatewayWorld, caller: httpx.AsyncClient, provider: Provider, fault: Fault
) -> None:
    for door, stream, answer in await asked(world, caller, provider, fault):
        if not stream:
            assert answer.status in SPOILED[fault], (door.name, answer.text)
            assert refusal(door, answer)[1]
            continue
        assert answer.status == 200, (door.name, answer.text)
        assert not answer.is_broken
        assert door.errors(answer), answer.text[-500:]
        assert door.error(answer.events[-1]) is not None, "the error is the last event"
        assert not door.is_complete(answer), answer.text[-500:]
        assert door.text(answer).startswith("1 2 "), "what came before it arrived"
    await none_left(world)
    await is_well(world, caller, provider)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_one_malformed_event_is_survived_and_a_malformed_answer_is_not(
    world: GatewayWorld, caller: httpx.AsyncClient, provider: Provider
) -> None:
    for door, stream, answer in await asked(world, caller, provider, Fault.MALFORMED):
        if stream:
            assert door.text(answer) == ALL_OF_IT
            assert not door.errors(answer)
            assert door.is_complete(answer)
        else:
            assert answer.status == 502
            assert refusal(door, answer)[1]
    await none_left(world)
