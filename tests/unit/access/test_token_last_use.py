"""The job that notes when tokens were last used: now and then, and once more at the end."""

import asyncio
from datetime import timedelta

import pytest

from model_service.access import last_use as module
from model_service.access.directory import TokenDirectory
from model_service.access.last_use import INTERVAL, LastUse
from tests.access_tokens import HASHER, NOW, MemoryTokens, SetClock, make_token
from tests.pauses import Pauses, stopped


class Known:
    """A directory that knows some tokens, with the job beside it."""

    def __init__(self, count: int, *, lifetime: timedelta | None = None) -> None:
        expires_at = None if lifetime is None else NOW + lifetime
        made = [make_token(expires_at=expires_at) for _ in range(count)]
        self.tokens = [token for token, _ in made]
        self.texts = [text for _, text in made]
        self.clock = SetClock()
        self.store = MemoryTokens(*self.tokens)
        self.directory = TokenDirectory(self.store, HASHER, self.clock, lambda: 0.0)
        self.job = LastUse(self.directory, self.store)

    async def used(self) -> None:
        if not len(self.directory):
            await self.directory.load()
        for text in self.texts:
            assert self.directory.find(text) is not None


async def test_uses_are_noted_after_each_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = Pauses(monkeypatch, module)
    known = Known(1)
    await known.used()
    job = asyncio.create_task(known.job.run())
    await pauses.begun()
    assert known.store.noted == []
    await pauses.over()
    assert known.store.noted == [{known.tokens[0].id: NOW}]
    known.clock.advance(3)
    await known.used()
    await pauses.over()
    assert known.store.noted[1:] == [{known.tokens[0].id: NOW + timedelta(seconds=3)}]
    assert pauses.taken == [INTERVAL] * 3
    await stopped(job)


async def test_the_last_uses_are_noted_when_the_service_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses = Pauses(monkeypatch, module)
    known = Known(1)
    job = asyncio.create_task(known.job.run())
    await pauses.begun()
    await known.used()
    await stopped(job)
    assert known.store.noted == [{known.tokens[0].id: NOW}]


async def test_many_uses_are_noted_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    known = Known(5)
    await known.used()
    await known.job.step()
    assert [len(noted) for noted in known.store.noted] == [2, 2, 1]
    assert set().union(*known.store.noted) == {token.id for token in known.tokens}


async def test_of_many_uses_only_those_that_were_not_noted_are_noted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    known = Known(5)
    await known.used()
    note = known.store.note_uses

    async def fails_the_second_time(uses: dict[object, object]) -> None:
        known.store.available = not known.store.noted
        await note(uses)  # type: ignore[arg-type]

    monkeypatch.setattr(known.store, "note_uses", fails_the_second_time)
    await known.job.step()
    assert [len(noted) for noted in known.store.noted] == [2]
    monkeypatch.setattr(known.store, "note_uses", note)
    known.store.available = True
    await known.job.step()
    assert [len(noted) for noted in known.store.noted] == [2, 2, 1]
    assert set().union(*known.store.noted) == {token.id for token in known.tokens}


async def test_expired_tokens_are_let_go_of() -> None:
    known = Known(3, lifetime=timedelta(seconds=60))
    await known.used()
    known.clock.advance(60)
    await known.job.step()
    assert len(known.directory) == 0
