"""A process's part in rotation, against a store in memory: when it looks, and what it takes in."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from model_service.kernel.errors import DatabaseUnavailable, KeyringCorrupt, SecretMismatch
from model_service.kernel.keyring import TermState
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from model_service.vault import primitives, watch, wrap
from model_service.vault.keyring import SEALS_PER_TERM_LIMIT, Keyring, open_keyring
from model_service.vault.rotation import SecretRotation, Witnesses
from model_service.vault.terms import TermRotation
from model_service.vault.watch import INTERVAL, RELOAD_EVERY, SEALS_ALARM, Identity, KeyringWatch
from tests.access_tokens import SetClock
from tests.fakes import RecordingAnnouncer, RecordingTrail
from tests.pauses import Pauses, stopped
from tests.unit.vault.vault_fakes import (
    AAD,
    OTHER_SECRET,
    SECRET,
    CountingScrypt,
    MemoryKeyringStore,
    one_term_store,
)

KEY = Secret("sk-a-user's-key")
WITNESSES = Witnesses(RecordingTrail(), RecordingAnnouncer(), "ada@host")

_scrypt = CountingScrypt(primitives.scrypt)


@pytest.fixture(autouse=True)
def scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrypt at its full cost, computed once for each secret and salt in this module."""
    monkeypatch.setattr(wrap, "scrypt", _scrypt)


class Watched:
    """A process with a keyring and its watch; another one changes the keyring beside it."""

    def __init__(self, store: MemoryKeyringStore, ours: Keyring, theirs: Keyring) -> None:
        self.store = store
        self.keyring = ours
        self.other = theirs
        self.terms = TermRotation(theirs, store, WITNESSES)
        self.clock = SetClock()
        self.identity = Identity(uuid7(), "ours:1")
        self.heard: list[Mapping[int, int]] = []
        self.reloads = 0
        reload = ours.reload

        async def counted(store: Any) -> None:
            self.reloads += 1
            await reload(store)

        ours.reload = counted  # type: ignore[method-assign]
        self.watch = KeyringWatch(ours, store, self.identity, self.clock, self.heard.append)

    async def change_term(self) -> int:
        """The other process adds a term, which ours does not hear of, and activates it."""
        running, self.store.running = self.store.running, {}
        term = await self.terms.add()
        await self.terms.activate(term)
        self.store.running = running
        return term


@pytest.fixture
async def watched() -> Watched:
    store = await one_term_store()
    return Watched(store, *[await open_keyring(store, SECRET) for _ in range(2)])


# --- beats -----------------------------------------------------------------------------------


async def test_a_process_beats_after_every_pause_until_it_is_stopped(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(monkeypatch, watch)
    job = asyncio.create_task(watched.watch.run())
    await pauses.begun()
    assert watched.store.running == {}
    watched.keyring.seal(AAD, KEY)
    await pauses.over()
    assert list(watched.store.running) == [watched.identity.instance_id]
    assert watched.heard == [{1: 1}]
    await pauses.over()
    assert watched.heard == [{1: 1}] * 2
    assert pauses.taken == [INTERVAL] * 3
    await stopped(job)


async def test_a_beat_that_fails_is_told_and_the_next_one_counts_what_it_should_have(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(monkeypatch, watch)
    job = asyncio.create_task(watched.watch.run())
    await pauses.begun()
    watched.keyring.seal(AAD, KEY)
    watched.store.away = True
    with capture_logs() as logs:
        await pauses.over()
    assert [entry["log_level"] for entry in logs] == ["warning"]
    watched.store.away = False
    await pauses.over()
    assert watched.heard == [{1: 1}]
    await stopped(job)


async def test_a_beat_that_is_broken_off_counts_again_what_it_should_have(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.keyring.seal(AAD, KEY)
    async with watched.store.exclusive():
        step = asyncio.create_task(watched.watch.step())
        await asyncio.sleep(0)
        step.cancel()
        await asyncio.wait([step])
    assert step.cancelled()
    await watched.watch.step()
    assert watched.heard == [{1: 1}]


async def test_a_beat_says_which_wrap_and_terms_are_used(watched: Watched) -> None:
    await watched.watch.enter()
    await watched.change_term()
    await watched.watch.step()
    await watched.watch.step()
    (row,) = watched.store.running.values()
    assert (row.name, row.wrap_id) == ("ours:1", watched.keyring.wrap_id)
    assert (row.active_term, row.newest_term) == (2, 2)


async def test_who_is_present_beats_meanwhile_and_leaves(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(monkeypatch, watch)
    async with watched.watch.present():
        assert list(watched.store.running) == [watched.identity.instance_id]
        await pauses.begun()
        await pauses.over()
        watched.keyring.seal(AAD, KEY)
    assert watched.store.running == {}
    assert watched.heard[-1] == {1: 1}, "what was sealed last is counted"
    tasks = [task for task in asyncio.all_tasks() if "KeyringWatch.run" in repr(task)]
    assert tasks == [], "it beats no more"


async def test_nobody_leaves_twice_nor_without_having_entered(watched: Watched) -> None:
    await watched.watch.leave()
    assert watched.heard == []
    await watched.watch.enter()
    await watched.watch.leave()
    count = len(watched.heard)
    await watched.watch.leave()
    assert len(watched.heard) == count


async def test_an_end_that_cannot_be_noted_is_told_and_noted_the_next_time(
    watched: Watched,
) -> None:
    await watched.watch.enter()
    watched.store.away = True
    with capture_logs() as logs:
        await watched.watch.leave()
    assert [entry["event"] for entry in logs] == ["the end of this process could not be noted"]
    watched.store.away = False
    await watched.watch.leave()
    assert watched.store.running == {}


# --- what changed ----------------------------------------------------------------------------


async def test_entering_takes_in_what_changed_since_the_keyring_was_opened(
    watched: Watched,
) -> None:
    term = await watched.change_term()
    await watched.watch.enter()
    assert watched.keyring.active_term == term


async def test_a_notice_is_heeded_by_a_process_that_runs_and_by_no_other(
    watched: Watched,
) -> None:
    await watched.change_term()
    await watched.watch.hear("keyring")
    assert (watched.keyring.active_term, watched.heard) == (1, [])
    await watched.watch.enter()
    term = await watched.change_term()
    await watched.watch.hear(None)
    assert watched.keyring.active_term == term


async def test_without_a_change_nothing_is_read_again(watched: Watched) -> None:
    await watched.watch.enter()
    await watched.watch.step()
    assert watched.reloads == 0
    await watched.change_term()
    await watched.watch.step()
    await watched.watch.step()
    assert watched.reloads == 1


async def test_a_change_of_the_active_term_is_told(watched: Watched) -> None:
    await watched.watch.enter()
    await watched.change_term()
    with capture_logs() as logs:
        await watched.watch.step()
        await watched.watch.step()
    told = [(entry["event"], entry["term"]) for entry in logs]
    assert told == [("the active term changed", 2)]


async def test_a_stored_keyring_that_does_not_open_leaves_the_one_at_hand(
    watched: Watched,
) -> None:
    await watched.watch.enter()
    await watched.change_term()
    good = watched.store.rows
    keys = tuple(
        key if key.term == 1 else replace(key, wrapped=bytes(len(key.wrapped)))
        for key in good.term_keys
    )
    watched.store.rows = replace(good, term_keys=keys)
    with capture_logs() as logs, pytest.raises(KeyringCorrupt):
        await watched.watch.step()
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert watched.keyring.active_term == 1
    watched.store.rows = good
    await watched.watch.step()
    assert watched.keyring.active_term == 2


async def test_a_process_without_its_wrap_reads_the_keyring_no_more_and_says_so(
    watched: Watched,
) -> None:
    await watched.watch.enter()
    assert watched.watch.check() is None
    secrets = SecretRotation(watched.other, watched.store, WITNESSES)
    await secrets.stage(OTHER_SECRET)
    through_new = await open_keyring(watched.store, OTHER_SECRET)
    running, watched.store.running = watched.store.running, {}
    await SecretRotation(through_new, watched.store, WITNESSES).finalize()
    watched.store.running = running
    with capture_logs() as logs:
        await watched.watch.step()
        assert [entry["log_level"] for entry in logs] == ["error"], "at once"
        terms = TermRotation(through_new, watched.store, WITNESSES)
        watched.store.running = {}
        await terms.activate(await terms.add())
        await watched.watch.step()
    assert len(logs) == 1
    assert watched.reloads == 0
    unknown = through_new.seal(AAD, KEY)
    assert await watched.watch.prepare([unknown]) is False
    assert watched.reloads == 0
    for _ in range(2):
        with pytest.raises(SecretMismatch, match="restart it with the new ENCRYPTION_SECRET"):
            watched.watch.check()


async def test_that_the_wrap_is_gone_is_noticed_when_the_keyring_is_read_for_a_record_too(
    watched: Watched,
) -> None:
    await watched.watch.enter()
    await SecretRotation(watched.other, watched.store, WITNESSES).stage(OTHER_SECRET)
    through_new = await open_keyring(watched.store, OTHER_SECRET)
    watched.store.running = {}
    await SecretRotation(through_new, watched.store, WITNESSES).finalize()
    terms = TermRotation(through_new, watched.store, WITNESSES)
    await terms.activate(await terms.add())
    await watched.watch.prepare([through_new.seal(AAD, KEY)])
    assert watched.reloads == 1
    with pytest.raises(SecretMismatch):
        watched.watch.check()


# --- records of unknown terms ----------------------------------------------------------------


async def test_a_record_of_a_term_not_heard_of_is_learned_of(watched: Watched) -> None:
    await watched.change_term()
    stored = watched.other.seal(AAD, KEY)
    assert await watched.watch.prepare(iter([stored])) is False
    assert watched.keyring.open(stored, AAD).reveal() == KEY.reveal()
    assert await watched.watch.prepare([stored]) is False
    assert watched.reloads == 1


async def test_forged_records_cost_one_look_a_second(watched: Watched) -> None:
    await watched.change_term()
    await watched.change_term()
    forged = watched.other.seal(AAD, KEY)
    reload = watched.keyring.reload
    looks = []

    async def blind(store: Any) -> None:
        looks.append(watched.clock.seconds)

    watched.keyring.reload = blind  # type: ignore[method-assign]
    for pause in (0.0, 0.0, RELOAD_EVERY - 0.001, 0.001, 0.0):
        watched.clock.advance(pause)
        await watched.watch.prepare([forged])
    assert len(looks) == 2
    watched.clock.advance(-100)
    await watched.watch.prepare([forged])
    assert len(looks) == 3, "a clock that was set back stops nobody"
    watched.keyring.reload = reload  # type: ignore[method-assign]


async def test_many_who_ask_for_the_same_term_at_once_have_it_read_once(watched: Watched) -> None:
    await watched.change_term()
    stored = watched.other.seal(AAD, KEY)
    await asyncio.gather(*(watched.watch.prepare([stored]) for _ in range(10)))
    assert watched.reloads == 1


async def test_a_record_of_a_destroyed_term_is_to_be_read_again(watched: Watched) -> None:
    stored = watched.keyring.seal(AAD, KEY)
    await watched.change_term()
    watched.store.running = {}
    assert await watched.terms.destroy(1, [], after=0)
    await watched.watch.step()
    assert watched.keyring.states[1] is TermState.DESTROYED
    assert await watched.watch.prepare([stored]) is True


async def test_while_the_database_is_away_nothing_can_be_learned(watched: Watched) -> None:
    await watched.change_term()
    stored = watched.other.seal(AAD, KEY)
    watched.store.away = True
    with pytest.raises(DatabaseUnavailable):
        await watched.watch.prepare([stored])


# --- worn terms ------------------------------------------------------------------------------


def test_operators_are_told_at_a_sixteenth_of_what_a_term_may_seal() -> None:
    assert SEALS_ALARM * 16 == SEALS_PER_TERM_LIMIT == 4_294_967_296


async def test_terms_are_worn_one_by_one_and_destroyed_ones_no_more(watched: Watched) -> None:
    await watched.watch.enter()

    def wear(seals: dict[int, int]) -> None:
        rows = watched.store.rows
        terms = tuple(replace(row, seals=seals.get(row.term, row.seals)) for row in rows.terms)
        watched.store.rows = replace(rows, terms=terms)

    wear({1: SEALS_ALARM})
    with capture_logs() as logs:
        await watched.watch.step()
        await watched.watch.step()
        assert watched.watch.check() == "rotate_term"
        await watched.change_term()
        await watched.watch.step()
        assert watched.watch.check() is None
        wear({2: SEALS_ALARM})
        await watched.watch.step()
        assert watched.watch.check() == "rotate_term"
    told = [entry["term"] for entry in logs if entry["log_level"] == "error"]
    assert told == [1, 2]
    assert watched.heard[-1] == {1: SEALS_ALARM, 2: SEALS_ALARM}
    watched.store.running = {}
    assert await watched.terms.destroy(1, [], after=0)
    await watched.watch.step()
    assert watched.heard[-1] == {2: SEALS_ALARM}
