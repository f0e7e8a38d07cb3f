"""Staging and finalizing a new master secret."""

import asyncio
import os
from dataclasses import replace

import pytest

from model_service.kernel.errors import (
    AuditUnavailable,
    ChangedMeanwhile,
    Conflict,
    KeyringCorrupt,
    SecretMismatch,
    StartupFault,
)
from model_service.kernel.keyring import Beat, KeyringRows, TermRow, TermState
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from model_service.vault import primitives, rotation, wrap
from model_service.vault.keyring import open_keyring
from model_service.vault.rotation import SecretRotation, Witnesses, exposed_terms
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
THIRD_SECRET = Secret("a third secret, long enough by far to be taken")

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


async def rotation_of(
    store: MemoryKeyringStore, witnesses: Witnesses, secret: Secret[str] = SECRET
) -> SecretRotation:
    """As the command has it that runs with this secret."""
    return SecretRotation(await open_keyring(store, secret), store, witnesses)


async def run_instance(store: MemoryKeyringStore, name: str, wrap_id: str) -> None:
    async with store.shared() as session:
        await session.beat(Beat(uuid7(), name, wrap_id, 1, 1, {}))


async def add_term(store: MemoryKeyringStore, secret: Secret[str], term: int) -> None:
    key = await (await open_keyring(store, secret)).fresh_key(term)
    async with store.exclusive() as session:
        await session.add_term(TermRow(term, TermState.DECRYPT_ONLY), (key,))


async def test_staging_adds_a_wrap_that_opens_what_the_first_one_opens(
    witnesses: Witnesses,
) -> None:
    store = MemoryKeyringStore(
        await rows_for(wrapper_of(SECRET.reveal()), {1: bytes(32), 2: os.urandom(32)})
    )
    stored = (await open_keyring(store, SECRET)).seal(AAD, KEY)
    assert await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    through_new = await open_keyring(store, OTHER_SECRET, SECRET)
    through_old = await open_keyring(store, SECRET)
    assert through_old.wrap_id == "wrap-1"
    assert through_new.wrap_id == store.rows.wraps[-1].wrap_id != "wrap-1"
    assert through_new.open(stored, AAD).reveal() == KEY.reveal()
    assert through_old.open(stored, AAD).reveal() == KEY.reveal()


async def test_each_step_is_recorded_and_told_with_who_took_it(
    witnesses: Witnesses, trail: RecordingTrail, announcer: RecordingAnnouncer
) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    added = store.rows.wraps[-1].wrap_id
    await (await rotation_of(store, witnesses, OTHER_SECRET)).finalize()
    assert [(event.type, event.subject, event.reason) for event in trail.events] == [
        ("secret.stage", f"wrap:{added}", "by ada@host"),
        ("secret.finalize", "wrap:wrap-1", "by ada@host"),
    ]
    assert announcer.told == [
        ("secret.staged", {"wrapId": added, "step": "staged"}),
        ("secret.finalized", {"wrapId": added, "step": "finalized"}),
    ]


async def test_taking_a_staged_secret_back_is_told(
    witnesses: Witnesses, announcer: RecordingAnnouncer
) -> None:
    store = await one_term_store()
    rotation = await rotation_of(store, witnesses)
    await rotation.abandon()
    assert announcer.told == [], "there was nothing to take back"
    await rotation.stage(OTHER_SECRET)
    await rotation.abandon()
    assert announcer.told[1:] == [("secret.finalized", {"wrapId": "wrap-1", "step": "abandoned"})]


async def test_a_step_that_cannot_be_recorded_is_not_taken(
    witnesses: Witnesses, trail: RecordingTrail
) -> None:
    store = await one_term_store()
    trail.available = False
    before = store.rows
    with pytest.raises(AuditUnavailable):
        await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    assert store.rows == before
    trail.available = True
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    staged = store.rows
    trail.available = False
    with pytest.raises(AuditUnavailable):
        await (await rotation_of(store, witnesses, OTHER_SECRET)).finalize()
    assert store.rows == staged


async def test_staging_the_same_secret_again_changes_nothing(
    witnesses: Witnesses, trail: RecordingTrail
) -> None:
    store = await one_term_store()
    assert await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    staged = store.rows
    assert not await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    assert store.rows == staged
    assert trail.types == ["secret.stage"]


async def test_the_secret_in_use_cannot_be_staged(witnesses: Witnesses) -> None:
    store = await one_term_store()
    with pytest.raises(Conflict, match="the one in use"):
        await (await rotation_of(store, witnesses)).stage(SECRET)


async def test_neither_the_old_secret_nor_a_third_can_be_staged_beside_a_new_one(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    staged = store.rows
    running_new = await rotation_of(store, witnesses, OTHER_SECRET)
    with pytest.raises(Conflict, match="is the old one"):
        await running_new.stage(SECRET)
    with pytest.raises(Conflict, match=r"--finalize.*--abandon"):
        await running_new.stage(THIRD_SECRET)
    assert store.rows == staged


async def test_a_short_secret_is_refused_before_anything_is_stretched(
    witnesses: Witnesses, scrypt: CountingScrypt
) -> None:
    store = await one_term_store()
    rotation = await rotation_of(store, witnesses)
    scrypt.calls.clear()
    with pytest.raises(StartupFault, match="at least 32 characters"):
        await rotation.stage(Secret("short"))
    assert scrypt.calls == []


async def test_no_secret_is_stretched_under_the_keyring_s_lock(
    witnesses: Witnesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await one_term_store()
    rotation = await rotation_of(store, witnesses)

    def while_unlocked(password: bytes, **parameters: int) -> bytes:
        assert not store._turn.locked()
        return _scrypt(password, **parameters)

    monkeypatch.setattr(wrap, "scrypt", while_unlocked)
    assert await rotation.stage(OTHER_SECRET)


async def test_of_two_that_stage_different_secrets_at_once_one_is_told_to_look(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    rotations = [await rotation_of(store, witnesses) for _ in range(2)]
    results = await asyncio.gather(
        rotations[0].stage(OTHER_SECRET), rotations[1].stage(THIRD_SECRET), return_exceptions=True
    )
    assert [type(result) for result in results if result is not True] == [ChangedMeanwhile]
    assert len(store.rows.wraps) == 2


async def test_a_term_another_process_added_is_wrapped_too(witnesses: Witnesses) -> None:
    store = await one_term_store()
    rotation = await rotation_of(store, witnesses)
    await add_term(store, SECRET, 2)
    await rotation.stage(OTHER_SECRET)
    assert set((await open_keyring(store, OTHER_SECRET)).states) == {1, 2}


async def test_finalizing_deletes_the_old_wrap_and_its_keys(witnesses: Witnesses) -> None:
    store = await one_term_store()
    old = await open_keyring(store, SECRET)
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    new = await rotation_of(store, witnesses, OTHER_SECRET)
    assert await new.finalize() == ("wrap-1",)
    assert "wrap-1" not in {row.wrap_id for row in store.rows.wraps}
    assert "wrap-1" not in {row.wrap_id for row in store.rows.term_keys}
    with pytest.raises(SecretMismatch):
        await open_keyring(store, SECRET)
    with pytest.raises(SecretMismatch, match="the wrap of this process was deleted"):
        await old.reload(store)
    assert await new.finalize() == (), "a second time there is nothing to do"


async def test_finalizing_before_staging_does_nothing(
    witnesses: Witnesses, trail: RecordingTrail
) -> None:
    store = await one_term_store()
    before = store.rows
    assert await (await rotation_of(store, witnesses)).finalize() == ()
    assert (store.rows, trail.events) == (before, [])


async def test_finalizing_with_the_old_secret_is_refused(witnesses: Witnesses) -> None:
    store = await one_term_store()
    rotation = await rotation_of(store, witnesses)
    await rotation.stage(OTHER_SECRET)
    with pytest.raises(Conflict, match="runs with the old secret"):
        await rotation.finalize()
    assert len(store.rows.wraps) == 2


async def test_finalizing_is_refused_unless_every_data_key_opens_with_the_new_secret(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    new = await rotation_of(store, witnesses, OTHER_SECRET)
    damaged = tuple(
        row if row.wrap_id == "wrap-1" else replace(row, wrapped=bytes(60))
        for row in store.rows.term_keys
    )
    store.rows = replace(store.rows, term_keys=damaged)
    with pytest.raises(KeyringCorrupt, match="data key of term 1 does not open"):
        await new.finalize()
    assert len(store.rows.wraps) == 2


async def test_finalizing_names_the_running_instances_that_use_the_old_secret(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    await run_instance(store, "new-1:7", store.rows.wraps[-1].wrap_id)
    for number in range(12):
        await run_instance(store, f"old-{number}:7", "wrap-1")
    new = await rotation_of(store, witnesses, OTHER_SECRET)
    with pytest.raises(Conflict) as refusal:
        await new.finalize()
    assert "12 running instances still use the old secret: old-0:7, " in refusal.value.message
    assert "and 2 more" in refusal.value.message
    assert "new-1" not in refusal.value.message
    assert len(store.rows.wraps) == 2


@pytest.mark.parametrize(("count", "said"), [(1, "old-0:7. Restart"), (10, "old-9:7. Restart")])
async def test_ten_running_instances_are_named_one_by_one(
    witnesses: Witnesses, count: int, said: str
) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    for number in range(count):
        await run_instance(store, f"old-{number}:7", "wrap-1")
    with pytest.raises(Conflict) as refusal:
        await (await rotation_of(store, witnesses, OTHER_SECRET)).finalize()
    assert refusal.value.message.startswith(f"{count} running instances still use the old secret: ")
    assert said in refusal.value.message


async def test_the_process_that_stages_goes_on_with_what_it_found_stored(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    keyring = await open_keyring(store, SECRET)
    await add_term(store, SECRET, 2)
    await SecretRotation(keyring, store, witnesses).stage(OTHER_SECRET)
    assert set(keyring.states) == {1, 2}


async def test_a_leak_is_recorded_and_told_at_the_secret_that_replaces_the_leaked_one(
    witnesses: Witnesses, trail: RecordingTrail, announcer: RecordingAnnouncer
) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET, compromised=True)
    added = store.rows.wraps[-1].wrap_id
    event = trail.events[-1]
    assert (event.type, event.subject) == ("secret.compromised", f"wrap:{added}")
    assert announcer.told[-1] == ("secret.compromised", {"wrapId": added, "step": "exposed"})


async def test_staging_once_more_after_a_leak_was_dealt_with_tells_of_no_leak(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    await (await rotation_of(store, witnesses, OTHER_SECRET)).finalize()
    assert exposed_terms(store.rows) == []
    with pytest.raises(Conflict, match="the one in use"):
        await (await rotation_of(store, witnesses, OTHER_SECRET)).stage(
            OTHER_SECRET, compromised=True
        )
    assert exposed_terms(store.rows) == []


async def test_an_instance_that_is_dead_does_not_hold_up_finalizing(witnesses: Witnesses) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET)
    await run_instance(store, "old:7", "wrap-1")
    (instance_id, old), *_ = store.running.items()
    store.running[instance_id] = replace(old, is_live=False)
    assert await (await rotation_of(store, witnesses, OTHER_SECRET)).finalize() == ("wrap-1",)


async def test_what_was_staged_can_be_taken_back_with_the_old_secret(
    witnesses: Witnesses, trail: RecordingTrail
) -> None:
    store = await one_term_store()
    before = store.rows
    old = await rotation_of(store, witnesses)
    assert await old.abandon() == ()
    await old.stage(OTHER_SECRET)
    staged = store.rows.wraps[-1].wrap_id
    with pytest.raises(Conflict, match="runs with the staged secret"):
        await (await rotation_of(store, witnesses, OTHER_SECRET)).abandon()
    await run_instance(store, "eager:7", staged)
    with pytest.raises(Conflict, match="eager:7"):
        await old.abandon()
    store.running.clear()
    assert await old.abandon() == (staged,)
    assert store.rows == before
    assert trail.types == ["secret.stage", "secret.abandon"]


async def test_after_a_leak_the_terms_so_far_count_as_exposed_until_they_are_destroyed(
    witnesses: Witnesses, trail: RecordingTrail, announcer: RecordingAnnouncer
) -> None:
    store = MemoryKeyringStore(
        await rows_for(wrapper_of(SECRET.reveal()), {1: bytes(32), 2: os.urandom(32)})
    )
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET, compromised=True)
    assert trail.types == ["secret.stage", "secret.compromised"]
    assert announcer.types == ["secret.staged", "secret.compromised"]
    assert exposed_terms(store.rows) == [1, 2]
    await (await rotation_of(store, witnesses, OTHER_SECRET)).finalize()
    await add_term(store, OTHER_SECRET, 3)
    async with store.exclusive() as session:
        await session.set_term_state(1, TermState.DESTROYED)
    assert exposed_terms(store.rows) == [2]


async def test_a_leak_found_after_staging_is_noted_at_what_was_staged(
    witnesses: Witnesses, trail: RecordingTrail
) -> None:
    store = await one_term_store()
    rotation = await rotation_of(store, witnesses)
    await rotation.stage(OTHER_SECRET)
    assert exposed_terms(store.rows) == []
    assert not await rotation.stage(OTHER_SECRET, compromised=True)
    assert not await rotation.stage(OTHER_SECRET, compromised=True)
    assert exposed_terms(store.rows) == [1]
    assert trail.types == ["secret.stage", "secret.compromised"]


def test_an_empty_keyring_exposes_nothing() -> None:
    assert rotation.exposed_terms(KeyringRows((), (), ())) == []


async def test_a_routine_rotation_does_not_forget_which_terms_are_exposed(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET, compromised=True)
    other = await rotation_of(store, witnesses, OTHER_SECRET)
    await other.finalize()
    await add_term(store, OTHER_SECRET, 2)
    await other.stage(THIRD_SECRET)
    await (await rotation_of(store, witnesses, THIRD_SECRET)).finalize()
    assert [wrap.exposed_through for wrap in store.rows.wraps] == [1]
    assert exposed_terms(store.rows) == [1]


async def test_a_leak_that_was_dealt_with_is_not_noted_at_the_next_secret(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET, compromised=True)
    other = await rotation_of(store, witnesses, OTHER_SECRET)
    await other.finalize()
    await add_term(store, OTHER_SECRET, 2)
    async with store.exclusive() as session:
        await session.set_term_state(2, TermState.ACTIVE)
        await session.set_term_state(1, TermState.DESTROYED)
    await other.stage(THIRD_SECRET)
    assert store.rows.wraps[-1].exposed_through is None


async def test_while_one_exposed_term_is_left_all_that_were_are_noted(
    witnesses: Witnesses,
) -> None:
    store = MemoryKeyringStore(
        await rows_for(wrapper_of(SECRET.reveal()), {1: bytes(32), 2: os.urandom(32)})
    )
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET, compromised=True)
    other = await rotation_of(store, witnesses, OTHER_SECRET)
    await other.finalize()
    await add_term(store, OTHER_SECRET, 3)
    async with store.exclusive() as session:
        await session.set_term_state(3, TermState.ACTIVE)
        await session.set_term_state(2, TermState.DESTROYED)
    await other.stage(THIRD_SECRET)
    assert store.rows.wraps[-1].exposed_through == 2, "its keys are to be replaced too"


async def test_taking_a_new_secret_back_does_not_make_the_old_one_secret_again(
    witnesses: Witnesses,
) -> None:
    store = await one_term_store()
    rotation = await rotation_of(store, witnesses)
    await rotation.stage(OTHER_SECRET, compromised=True)
    await rotation.abandon()
    await add_term(store, SECRET, 2)
    assert exposed_terms(store.rows) == [1, 2], "the new one too: the leaked secret opens it"
    await rotation.stage(THIRD_SECRET)
    await (await rotation_of(store, witnesses, THIRD_SECRET)).finalize()
    await add_term(store, THIRD_SECRET, 3)
    assert exposed_terms(store.rows) == [1, 2]


async def test_a_second_leak_is_recorded_as_the_first_one_was(
    witnesses: Witnesses, trail: RecordingTrail
) -> None:
    store = await one_term_store()
    await (await rotation_of(store, witnesses)).stage(OTHER_SECRET, compromised=True)
    other = await rotation_of(store, witnesses, OTHER_SECRET)
    await other.finalize()
    await other.stage(THIRD_SECRET)
    trail.events.clear()
    await other.stage(THIRD_SECRET, compromised=True)
    assert trail.types == ["secret.compromised"]
