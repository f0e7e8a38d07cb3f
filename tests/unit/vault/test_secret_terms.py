"""Adding, activating and destroying terms."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from model_service.kernel.errors import AuditUnavailable, Conflict, IntegrityFailure
from model_service.kernel.keyring import Beat, TermRow, TermState
from model_service.kernel.sealed import SealedRow
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from model_service.vault import primitives, wrap
from model_service.vault.envelope import term_of
from model_service.vault.keyring import Keyring, open_keyring
from model_service.vault.rotation import SecretRotation, Witnesses, exposed_terms
from model_service.vault.terms import SAFETY_PERIOD, TermRotation
from tests.fakes import RecordingAnnouncer, RecordingTrail
from tests.unit.vault.vault_fakes import (
    AAD,
    OTHER_SECRET,
    SECRET,
    CountingScrypt,
    MemoryKeyringStore,
    one_term_store,
    rows_for,
    wrapper_of,
)

KEY = Secret("sk-a-user's-key")

_scrypt = CountingScrypt(primitives.scrypt)


@pytest.fixture(autouse=True)
def scrypt(monkeypatch: pytest.MonkeyPatch) -> CountingScrypt:
    """Scrypt at its full cost, computed once for each secret and salt in this module."""
    monkeypatch.setattr(wrap, "scrypt", _scrypt)
    return _scrypt


@pytest.fixture
def trail() -> RecordingTrail:
    return RecordingTrail()


@pytest.fixture
def announcer() -> RecordingAnnouncer:
    return RecordingAnnouncer()


@pytest.fixture
def witnesses(trail: RecordingTrail, announcer: RecordingAnnouncer) -> Witnesses:
    return Witnesses(trail, announcer, "ada@host")


class Records:
    """A table that holds records of some terms."""

    name = "records"
    kind = "record"

    def __init__(self, *terms: int) -> None:
        self.terms = terms

    async def count(self, term: int) -> int:
        return self.terms.count(term)

    async def holds(self, term: int) -> bool:
        return term in self.terms

    async def batch(self, term: int, after: UUID | None, limit: int) -> Sequence[SealedRow]:
        raise NotImplementedError

    async def replace(self, rows: Sequence[SealedRow]) -> Collection[UUID]:
        raise NotImplementedError


async def opened(
    store: MemoryKeyringStore, witnesses: Witnesses, secret: Secret[str] = SECRET
) -> tuple[Keyring, TermRotation]:
    keyring = await open_keyring(store, secret)
    return keyring, TermRotation(keyring, store, witnesses)


async def changed(store: MemoryKeyringStore, witnesses: Witnesses) -> tuple[Keyring, TermRotation]:
    """A keyring whose term 1 has given way to term 2."""
    keyring, terms = await opened(store, witnesses)
    await terms.activate(await terms.add())
    return keyring, terms


def age(store: MemoryKeyringStore, seconds: float) -> None:
    """Let the former terms have ceased to be active so long ago."""
    terms = tuple(
        row if row.retired_for is None else replace(row, retired_for=seconds)
        for row in store.rows.terms
    )
    store.rows = replace(store.rows, terms=terms)


async def run_instance(store: MemoryKeyringStore, name: str, *, active: int, newest: int) -> UUID:
    instance_id = uuid7()
    async with store.shared() as session:
        await session.beat(Beat(instance_id, name, "wrap-1", active, newest, {}))
    return instance_id


async def test_an_added_term_opens_and_does_not_seal(witnesses: Witnesses) -> None:
    store = await one_term_store()
    keyring, terms = await opened(store, witnesses)
    assert await terms.add() == 2
    assert keyring.states == {1: TermState.ACTIVE, 2: TermState.DECRYPT_ONLY}
    assert (keyring.active_term, keyring.newest_term) == (1, 2)
    assert term_of(keyring.seal(AAD, KEY)) == 1


async def test_an_activated_term_seals_and_the_former_still_opens(witnesses: Witnesses) -> None:
    store = await one_term_store()
    keyring, terms = await opened(store, witnesses)
    before = keyring.seal(AAD, KEY)
    await terms.activate(await terms.add())
    assert keyring.states == {1: TermState.DECRYPT_ONLY, 2: TermState.ACTIVE}
    assert term_of(keyring.seal(AAD, KEY)) == 2
    assert keyring.open(before, AAD).reveal() == KEY.reveal()
    assert (await open_keyring(store, SECRET)).states == keyring.states


async def test_adding_again_after_a_crash_goes_on_with_the_same_term(
    witnesses: Witnesses, trail: RecordingTrail
) -> None:
    store = await one_term_store()
    _, terms = await opened(store, witnesses)
    assert await terms.add() == 2
    _, terms = await opened(store, witnesses)
    assert await terms.add() == 2
    await terms.activate(2)
    await terms.activate(2)
    said = [(event.type, event.subject, event.term) for event in trail.events]
    assert said == [("keyring.term", "term:2", 2)] * 2


async def test_a_term_is_not_activated_while_a_running_instance_does_not_know_it(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    _, terms = await opened(store, witnesses)
    term = await terms.add()
    await run_instance(store, "knows:1", active=1, newest=2)
    stranger = await run_instance(store, "stranger:1", active=1, newest=1)
    assert await terms.strangers(term) == ["stranger:1"]
    with pytest.raises(Conflict, match="do not know term 2 yet: stranger:1"):
        await terms.activate(term)
    store.running[stranger] = replace(store.running[stranger], is_live=False)
    assert await terms.strangers(term) == []
    await terms.activate(term)
    assert await terms.laggards() == ["knows:1"]


@pytest.mark.parametrize("term", [1, 3, 99])
async def test_only_a_newer_term_that_exists_can_be_activated(
    witnesses: Witnesses, term: int
) -> None:
    store = await one_term_store()
    _, terms = await changed(store, witnesses)
    before = store.rows
    with pytest.raises(Conflict, match=f"Term {term} cannot"):
        await terms.activate(term)
    assert store.rows == before


async def leaked(store: MemoryKeyringStore, witnesses: Witnesses) -> tuple[Keyring, TermRotation]:
    """As opened with the secret that was put in the place of one that leaked."""
    keyring = await open_keyring(store, SECRET)
    await SecretRotation(keyring, store, witnesses).stage(OTHER_SECRET, compromised=True)
    keyring, terms = await opened(store, witnesses, OTHER_SECRET)
    await SecretRotation(keyring, store, witnesses).finalize()
    return keyring, terms


async def test_a_term_left_over_from_before_a_leak_is_passed_over_and_destroyed(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    _, before = await opened(store, witnesses)
    assert await before.add() == 2
    keyring, terms = await leaked(store, witnesses)
    assert exposed_terms(store.rows) == [1, 2]
    with pytest.raises(Conflict, match="Term 2 cannot be made the active one"):
        await terms.activate(2)
    assert await terms.add() == 3
    assert await terms.add() == 3
    await terms.activate(3)
    assert keyring.active_term == 3
    assert [await terms.destroy(term, [Records(3)], after=0) for term in (1, 2)] == [True, True]
    assert exposed_terms(store.rows) == []


async def test_each_step_of_a_term_is_told(
    witnesses: Witnesses, announcer: RecordingAnnouncer
) -> None:
    store = await one_term_store()
    _, terms = await changed(store, witnesses)
    await terms.add()
    assert await terms.destroy(1, [], after=0)
    assert announcer.told == [
        ("secret.staged", {"wrapId": "wrap-1", "step": "term_added", "term": 2}),
        ("secret.finalized", {"wrapId": "wrap-1", "step": "term_activated", "term": 2}),
        ("secret.staged", {"wrapId": "wrap-1", "step": "term_added", "term": 3}),
        ("secret.finalized", {"wrapId": "wrap-1", "step": "term_destroyed", "term": 1}),
    ]


async def test_the_end_of_what_follows_a_leak_is_told_once(
    witnesses: Witnesses, announcer: RecordingAnnouncer
) -> None:
    store = await one_term_store()
    await changed(store, witnesses)
    keyring, terms = await leaked(store, witnesses)
    await terms.activate(await terms.add())
    announcer.told.clear()
    assert await terms.destroy(2, [], after=0)
    assert announcer.types == ["secret.finalized"]
    assert await terms.destroy(1, [], after=0)
    assert announcer.told[2:] == [
        ("secret.compromised", {"wrapId": keyring.wrap_id, "step": "dealt_with"})
    ]


async def test_no_term_is_added_under_a_secret_that_leaked(witnesses: Witnesses) -> None:
    store = await one_term_store()
    keyring, terms = await opened(store, witnesses)
    secrets = SecretRotation(keyring, store, witnesses)
    await secrets.stage(OTHER_SECRET, compromised=True)
    await secrets.abandon()
    with pytest.raises(Conflict, match="--compromised"):
        await terms.add()
    assert len(store.rows.terms) == 1


async def test_no_term_is_added_while_the_secret_is_being_rotated(witnesses: Witnesses) -> None:
    store = await one_term_store()
    keyring, terms = await opened(store, witnesses)
    await SecretRotation(keyring, store, witnesses).stage(OTHER_SECRET)
    with pytest.raises(Conflict, match="being rotated"):
        await terms.add()
    _, through_new = await opened(store, witnesses, OTHER_SECRET)
    with pytest.raises(Conflict, match="being rotated"):
        await through_new.add()


async def test_processes_that_add_terms_at_once_add_one(witnesses: Witnesses) -> None:
    store = await one_term_store()
    several = [(await opened(store, witnesses))[1] for _ in range(3)]
    assert await asyncio.gather(*(terms.add() for terms in several)) == [2, 2, 2]
    assert len(store.rows.terms) == 2


async def test_a_term_another_process_added_is_taken_in_without_a_scrypt(
    witnesses: Witnesses, scrypt: CountingScrypt
) -> None:
    store = await one_term_store()
    ours = await open_keyring(store, SECRET)
    theirs, _ = await changed(store, witnesses)
    stored = theirs.seal(AAD, KEY)
    with pytest.raises(IntegrityFailure, match="unknown term"):
        ours.open(stored, AAD)
    scrypt.calls.clear()
    await ours.reload(store)
    assert ours.open(stored, AAD).reveal() == KEY.reveal()
    assert scrypt.calls == []


async def test_no_term_is_added_past_the_last_number(witnesses: Witnesses) -> None:
    store = MemoryKeyringStore(await rows_for(wrapper_of(SECRET.reveal()), {2**32 - 1: bytes(32)}))
    keyring, terms = await opened(store, witnesses)
    with pytest.raises(Conflict, match="no term numbers left"):
        await terms.add()
    assert keyring.states == {2**32 - 1: TermState.ACTIVE}
    assert store.rows.terms == (TermRow(2**32 - 1, TermState.ACTIVE),)


async def test_a_term_without_records_is_destroyed_and_its_number_not_used_again(
    witnesses: Witnesses, trail: RecordingTrail
) -> None:
    store = await one_term_store()
    keyring, terms = await opened(store, witnesses)
    stored = keyring.seal(AAD, KEY)
    stale = await open_keyring(store, SECRET)
    await terms.activate(await terms.add())
    age(store, SAFETY_PERIOD)
    assert await terms.destroy(1, [Records(2)])
    assert {row.term for row in store.rows.term_keys} == {2}
    with pytest.raises(IntegrityFailure, match="destroyed term"):
        keyring.open(stored, AAD)
    await stale.reload(store)
    with pytest.raises(IntegrityFailure, match="destroyed term"):
        stale.open(stored, AAD)
    assert trail.events[-1].subject == "term:1"
    assert not await terms.destroy(1, [])
    assert await terms.add() == 3


async def test_a_term_with_a_record_in_any_table_is_not_destroyed(witnesses: Witnesses) -> None:
    store = await one_term_store()
    _, terms = await changed(store, witnesses)
    age(store, SAFETY_PERIOD)
    assert not await terms.destroy(1, [Records(2), Records(1)])
    assert {row.term for row in store.rows.term_keys} == {1, 2}


async def test_a_term_stays_for_the_safety_period(witnesses: Witnesses) -> None:
    store = await one_term_store()
    _, terms = await changed(store, witnesses)
    age(store, SAFETY_PERIOD - 1)
    assert not await terms.destroy(1, [Records()])
    assert await terms.destroy(1, [Records()], after=0)


async def test_a_term_that_a_running_instance_seals_under_is_not_destroyed(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    _, terms = await changed(store, witnesses)
    laggard = await run_instance(store, "slow:1", active=1, newest=2)
    assert not await terms.destroy(1, [Records()], after=0)
    store.running[laggard] = replace(store.running[laggard], active_term=2)
    assert await terms.destroy(1, [Records()], after=0)


async def test_a_term_is_not_destroyed_while_a_record_is_being_stored(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    _, terms = await changed(store, witnesses)
    store.storing = True
    assert not await terms.destroy(1, [Records()], after=0)


@pytest.mark.parametrize("term", [2, 3, 99])
async def test_the_active_term_and_one_that_is_not_active_yet_are_never_destroyed(
    witnesses: Witnesses, term: int
) -> None:
    store = await one_term_store()
    _, terms = await changed(store, witnesses)
    await terms.add()
    assert not await terms.destroy(term, [Records()], after=0)
    assert {row.term for row in store.rows.term_keys} == {1, 2, 3}


async def test_a_term_whose_end_cannot_be_recorded_is_kept(
    witnesses: Witnesses, trail: RecordingTrail
) -> None:
    store = await one_term_store()
    _, terms = await changed(store, witnesses)
    trail.available = False
    with pytest.raises(AuditUnavailable):
        await terms.destroy(1, [Records()], after=0)
    assert {row.term for row in store.rows.term_keys} == {1, 2}
