"""Revocation reaches every other instance within a second, whatever is lost on the way."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from model_service.access.directory import TokenDirectory
from model_service.access.domain import TOPIC
from model_service.app import build
from model_service.db.migrate import migrate
from model_service.db.notices import Notices
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.service import Service
from model_service.settings import Settings
from tests.access_tokens import HASHER, MemoryTokens, SetClock, make_token
from tests.conftest import ADMIN_TOKEN, _drop_database, _new_database

#: Seconds in which a revocation reaches everybody (SECURITY.md, "Access").
PROMISE = 1.0
#: Seconds beyond it for which the other instance is asked on.
AFTERWARDS = 0.5
#: Requests under way at once.
HAMMERS = 8
#: Seconds until an instance has heard of everything, on a busy machine.
PATIENCE = 30.0


@pytest_asyncio.fixture(scope="module")
async def own_url(server_url: Secret[str]) -> AsyncIterator[Secret[str]]:
    """A database of these instances' own: what they do by themselves disturbs nobody."""
    name, url = await _new_database(server_url)
    await migrate(url)
    yield url
    await _drop_database(server_url, name)


class Instance:
    """A service with everything going on beside its requests."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(service.app), base_url="http://service"
        )
        self.listens = asyncio.Event()
        (notices,) = (job for job in service.background._jobs if isinstance(job, Notices))
        notices.subscribe(TOPIC, self._heard)

    async def _heard(self, _: str | None) -> None:
        self.listens.set()

    async def status(self, token: str, path: str = "/api/models/stats") -> int:
        return (await self.client.get(path, headers={"x-api-key": token})).status_code

    async def makes(self, **body: Any) -> dict[str, str]:
        headers = {"x-api-key": ADMIN_TOKEN}
        answer = await self.client.post("/api/tokens", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        made: dict[str, str] = answer.json()
        return made

    async def revokes(self, made: dict[str, str]) -> float:
        """Gives the moment at which it was answered."""
        path = f"/api/tokens/{made['id']}"
        answer = await self.client.delete(path, headers={"x-api-key": ADMIN_TOKEN})
        assert answer.status_code == 204, answer.text
        return time.monotonic()


@pytest_asyncio.fixture(scope="module")
async def instances(settings: Settings, own_url: Secret[str]) -> AsyncIterator[list[Instance]]:
    """Two, which the tests share."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(_running(settings, own_url)) for _ in range(2)]


@asynccontextmanager
async def _running(settings: Settings, url: Secret[str]) -> AsyncIterator[Instance]:
    instance = Instance(await build(settings, url, Redactor()))
    instance.service.start()
    try:
        await asyncio.wait_for(instance.listens.wait(), PATIENCE)
        yield instance
    finally:
        await instance.client.aclose()
        await instance.service.close()


class Hammer:
    """Many requests at once with one token, each with the moment it was started at."""

    def __init__(self, instance: Instance, token: str) -> None:
        self._instance = instance
        self._token = token
        self._until: float | None = None
        self.answers: list[tuple[float, int]] = []
        self.has_begun = asyncio.Event()

    async def _ask(self) -> None:
        while self._until is None or time.monotonic() < self._until:
            started = time.monotonic()
            self.answers.append((started, await self._instance.status(self._token)))
            if len(self.answers) >= 2 * HAMMERS:
                self.has_begun.set()

    async def until_revoked_by(self, other: Instance, made: dict[str, str]) -> float:
        """Have the token revoked in the midst of it; gives the moment that was answered."""
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for _ in range(HAMMERS):
                tasks.create_task(self._ask())
            await self.has_begun.wait()
            answered = await other.revokes(made)
            self._until = answered + PROMISE + AFTERWARDS
        return answered


def check(hammer: Hammer, answered: float) -> None:
    """Nothing that was started a second after the answer succeeded, nor anything refused before."""
    assert {status for _, status in hammer.answers} == {200, 401}
    late = [status for started, status in hammer.answers if started > answered + PROMISE]
    assert late
    assert set(late) == {401}
    last_success = max(started for started, status in hammer.answers if status == 200)
    first_refusal = min(started for started, status in hammer.answers if status == 401)
    assert first_refusal > last_success - PROMISE


async def test_a_token_revoked_at_one_instance_is_refused_at_once_there_and_soon_at_the_other(
    instances: list[Instance],
) -> None:
    one, other = instances
    made = await one.makes(role="service")
    assert [await instance.status(made["token"]) for instance in instances] == [200, 200]
    answered = await one.revokes(made)
    assert await one.status(made["token"]) == 401
    while (status := await other.status(made["token"])) == 200:
        assert time.monotonic() < answered + PROMISE
    assert status == 401


async def test_a_token_made_at_one_instance_is_good_at_the_other_at_once(
    instances: list[Instance],
) -> None:
    one, other = instances
    for _ in range(20):
        assert await other.status((await one.makes(role="service"))["token"]) == 200


async def test_no_request_that_begins_a_second_later_succeeds_while_requests_hammer(
    instances: list[Instance],
) -> None:
    one, other = instances
    made = await one.makes(role="user", userId="ada")
    hammer = Hammer(other, made["token"])
    check(hammer, await hammer.until_revoked_by(one, made))


async def test_many_tokens_revoked_at_once_are_all_refused_a_second_later(
    instances: list[Instance],
) -> None:
    one, other = instances
    many = [await one.makes(role="service") for _ in range(30)]
    assert {await other.status(made["token"]) for made in many} == {200}
    answered = max(await asyncio.gather(*map(one.revokes, many)))
    await asyncio.sleep(answered + PROMISE - time.monotonic())  # the promise itself
    assert {await other.status(made["token"]) for made in many} == {401}


async def test_a_lost_notice_is_made_good_by_the_version_within_the_same_second(
    settings: Settings, own_url: Secret[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _running(settings, own_url) as one:
        with monkeypatch.context() as patch:
            patch.setattr(Notices, "_heard", lambda *_: None)
            listening = _running(settings, own_url)
            deaf = await listening.__aenter__()
        try:
            made = await one.makes(role="service")
            hammer = Hammer(deaf, made["token"])
            check(hammer, await hammer.until_revoked_by(one, made))
        finally:
            await listening.__aexit__(None, None, None)


async def test_a_revocation_while_the_notices_connection_is_cut_arrives_all_the_same(
    instances: list[Instance],
) -> None:
    one, other = instances
    made = await one.makes(role="service")
    assert await other.status(made["token"]) == 200
    async with one.service.database.single() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'model-service notices'"
                " AND datname = current_database()"
            )
        )
    hammer = Hammer(other, made["token"])
    check(hammer, await hammer.until_revoked_by(one, made))


async def test_a_user_who_revokes_the_token_it_shows_is_out_everywhere(
    instances: list[Instance],
) -> None:
    one, other = instances
    made = await one.makes(role="user", userId="ada")
    path, headers = f"/api/tokens/{made['id']}", {"x-api-key": made["token"]}
    assert (await other.client.delete(path, headers=headers)).status_code == 204
    answered = time.monotonic()
    assert await other.status(made["token"]) == 401
    while (status := await one.status(made["token"])) == 200:
        assert time.monotonic() < answered + PROMISE
    assert status == 401


async def test_of_two_instances_asked_to_revoke_one_token_one_did(
    instances: list[Instance],
) -> None:
    made = await instances[0].makes(role="service")
    path, headers = f"/api/tokens/{made['id']}", {"x-api-key": ADMIN_TOKEN}
    answers = await asyncio.gather(
        *(instance.client.delete(path, headers=headers) for instance in instances * 3)
    )
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 5


async def test_a_look_up_that_began_before_an_unheard_revocation_brings_nothing_back() -> None:
    token, shown = make_token()
    store, clock = MemoryTokens(token), SetClock()
    directory = TokenDirectory(store, HASHER, clock, lambda: 0.0, clock.monotonic)
    held = store.hold = asyncio.Event()
    looking = asyncio.create_task(directory.look_up(shown))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store.asked == ["find"], "the token has been read"
    store.hold = None
    await store.delete(token.id)
    await directory.on_change(None)  # its notice was lost; the version has all read anew
    held.set()
    assert await looking is None
    assert directory.find(shown) is None
