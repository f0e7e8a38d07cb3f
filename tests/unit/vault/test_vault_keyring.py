import asyncio
from dataclasses import replace
from typing import NoReturn

import pytest

from model_service.kernel.errors import (
    IntegrityFailure,
    InvalidInput,
    KeyringCorrupt,
    KeyringMissing,
    SecretMismatch,
    StartupFault,
    WrappingUnavailable,
)
from model_service.kernel.keyring import KeyringRows, TermKeyRow, TermRow, TermState, WrapRow
from model_service.kernel.secret import Secret
from model_service.vault import primitives, wrap
from model_service.vault.envelope import term_of
from model_service.vault.keyring import MAX_WRAPS, Keyring, TermKeys, open_keyring
from tests.unit.vault.vault_fakes import (
    AAD,
    EMPTY,
    OTHER_SECRET,
    SECRET,
    CountingScrypt,
    MemoryKeyringStore,
    keyring_of,
    one_term_store,
    rows_for,
    wrapper_of,
    wrapper_with,
)

KEY = Secret("sk-a-user's-key")
THIRD_SECRET = Secret("a third secret, long enough by far to be taken")

_scrypt = CountingScrypt(primitives.scrypt)


@pytest.fixture(autouse=True)
def scrypt(monkeypatch: pytest.MonkeyPatch) -> CountingScrypt:
    """Scrypt at its full cost, computed once for each secret and salt in this module."""
    monkeypatch.setattr(wrap, "scrypt", _scrypt)
    wrapper_of(SECRET.reveal())  # what the stores are made with is not a call to count
    _scrypt.calls.clear()
    return _scrypt


# Sealing and opening


def test_a_record_is_sealed_under_the_active_term() -> None:
    keyring = keyring_of({1: bytes(32), 7: b"\1" * 32})
    assert keyring.active_term == 7
    assert term_of(keyring.seal(AAD, KEY)) == 7


def test_a_record_of_an_older_term_still_opens() -> None:
    stored = keyring_of({1: bytes(32)}).seal(AAD, KEY)
    opened = keyring_of({1: bytes(32), 2: b"\1" * 32}).open(stored, AAD)
    assert opened.reveal() == KEY.reveal()


def test_a_record_of_another_keyring_does_not_open() -> None:
    stored = keyring_of({1: bytes(32)}).seal(AAD, KEY)
    with pytest.raises(IntegrityFailure):
        keyring_of({1: b"\1" * 32}).open(stored, AAD)


def test_the_key_is_never_found_by_trial() -> None:
    stored = keyring_of({1: bytes(32)}).seal(AAD, KEY)
    with pytest.raises(IntegrityFailure):
        keyring_of({1: b"\1" * 32, 2: bytes(32)}).open(stored, AAD)


def test_a_record_of_an_unknown_term_is_named_as_such() -> None:
    stored = keyring_of({2: bytes(32)}).seal(AAD, KEY)
    with pytest.raises(IntegrityFailure, match="unknown term"):
        keyring_of({1: bytes(32)}).open(stored, AAD)


def test_a_record_of_a_destroyed_term_is_named_as_such() -> None:
    stored = keyring_of({1: bytes(32)}).seal(AAD, KEY)
    with pytest.raises(IntegrityFailure, match="destroyed term"):
        keyring_of({2: bytes(32)}, destroyed=(1,)).open(stored, AAD)


def test_a_text_that_is_not_unicode_is_not_sealed() -> None:
    with pytest.raises(InvalidInput):
        keyring_of({1: bytes(32)}).seal(AAD, Secret("sk-\ud800"))


def test_a_keyring_prints_its_wrap_and_term_and_no_key() -> None:
    keyring = keyring_of({1: b"\xab" * 32})
    assert repr(keyring) == "<Keyring wrap=wrap-1 active=1>"
    assert "xab" not in repr(vars(keyring))


def test_the_states_given_out_are_a_copy() -> None:
    keyring = keyring_of({1: bytes(32)})
    keyring.states.clear()
    assert keyring.states == {1: TermState.ACTIVE}


# Opening the stored keyring


async def test_the_first_start_makes_one_wrap_and_one_active_term(scrypt: CountingScrypt) -> None:
    store = MemoryKeyringStore()
    keyring = await open_keyring(store, SECRET)
    assert [row.kind for row in store.rows.wraps] == ["scrypt"]
    assert store.rows.terms == (TermRow(1, TermState.ACTIVE),)
    assert [(row.term, row.wrap_id) for row in store.rows.term_keys] == [(1, keyring.wrap_id)]
    assert len(scrypt.calls) == 1


async def test_the_second_start_opens_what_the_first_sealed() -> None:
    store = MemoryKeyringStore()
    stored = (await open_keyring(store, SECRET)).seal(AAD, KEY)
    reopened = await open_keyring(store, SECRET)
    assert reopened.open(stored, AAD).reveal() == KEY.reveal()


async def test_eight_first_starts_at_once_make_one_keyring() -> None:
    store = MemoryKeyringStore()
    keyrings = await asyncio.gather(*(open_keyring(store, SECRET) for _ in range(8)))
    assert len(store.rows.wraps) == len(store.rows.terms) == len(store.rows.term_keys) == 1
    stored = keyrings[0].seal(AAD, KEY)
    assert {keyring.open(stored, AAD).reveal() for keyring in keyrings} == {KEY.reveal()}


async def test_a_first_start_that_fails_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_memory(*_: object, **__: object) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr(wrap, "scrypt", no_memory)
    store = MemoryKeyringStore()
    with pytest.raises(MemoryError):
        await open_keyring(store, SECRET)
    assert store.rows == EMPTY


async def test_a_start_with_one_wrap_costs_one_scrypt_of_full_cost(scrypt: CountingScrypt) -> None:
    keyring = await open_keyring(await one_term_store(), SECRET)
    assert keyring.wrap_id == "wrap-1"
    assert [(call["n"], call["r"], call["p"]) for call in scrypt.calls] == [(2**17, 8, 1)]


async def test_an_existing_wrap_is_stretched_outside_the_store_s_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = await one_term_store()

    def while_unlocked(password: bytes, **parameters: int) -> bytes:
        assert not store._turn.locked()
        return _scrypt(password, **parameters)

    monkeypatch.setattr(wrap, "scrypt", while_unlocked)
    assert (await open_keyring(store, SECRET)).active_term == 1


async def test_records_without_a_keyring_are_never_given_a_new_one() -> None:
    store = MemoryKeyringStore(records=True)
    with pytest.raises(KeyringMissing):
        await open_keyring(store, SECRET)
    assert store.rows == EMPTY


async def test_a_wrong_secret_is_told_from_a_corrupt_keyring() -> None:
    with pytest.raises(SecretMismatch, match=r"^ENCRYPTION_SECRET does not match"):
        await open_keyring(await one_term_store(), OTHER_SECRET)


async def test_two_wrong_secrets_do_not_match_either() -> None:
    with pytest.raises(SecretMismatch):
        await open_keyring(await one_term_store(), OTHER_SECRET, THIRD_SECRET)


async def test_the_previous_secret_opens_the_keyring_while_the_new_one_has_no_wrap() -> None:
    keyring = await open_keyring(await one_term_store(), OTHER_SECRET, SECRET)
    assert keyring.wrap_id == "wrap-1"


@pytest.mark.parametrize("name", ["ENCRYPTION_SECRET", "ENCRYPTION_SECRET_PREVIOUS"])
async def test_a_short_secret_is_refused_before_the_store_is_asked(
    name: str, scrypt: CountingScrypt
) -> None:
    store = MemoryKeyringStore()
    secret, previous = (
        (Secret("short"), None) if name == "ENCRYPTION_SECRET" else (SECRET, Secret("short"))
    )
    with pytest.raises(StartupFault, match=f"^{name} must be at least 32 characters long$"):
        await open_keyring(store, secret, previous)
    assert store.rows == EMPTY
    assert scrypt.calls == []


async def test_no_failure_names_the_secret() -> None:
    with pytest.raises(SecretMismatch) as refusal:
        await open_keyring(await one_term_store(), OTHER_SECRET)
    assert OTHER_SECRET.reveal() not in repr(refusal.value)


# A corrupt keyring


async def corrupt(rows: KeyringRows, because: str) -> None:
    with pytest.raises(KeyringCorrupt, match=f"^keyring corrupt: .*{because}"):
        await open_keyring(MemoryKeyringStore(rows, records=True), SECRET)


async def test_an_altered_data_key_is_a_corrupt_keyring() -> None:
    rows = (await one_term_store()).rows
    wrapped = bytearray(rows.term_keys[0].wrapped)
    wrapped[-1] ^= 1
    key = replace(rows.term_keys[0], wrapped=bytes(wrapped))
    await corrupt(replace(rows, term_keys=(key,)), "data key of term 1 does not open")


async def test_data_keys_swapped_between_terms_are_a_corrupt_keyring() -> None:
    rows = await rows_for(wrapper_of(SECRET.reveal()), {1: bytes(32), 2: b"\1" * 32})
    first, second = rows.term_keys
    swapped = (replace(first, term=2), replace(second, term=1))
    await corrupt(replace(rows, term_keys=swapped), "does not open")


async def test_a_data_key_moved_from_another_wrap_is_a_corrupt_keyring() -> None:
    other = await rows_for(wrapper_of(SECRET.reveal(), "wrap-2"), {1: bytes(32)})
    rows = (await one_term_store()).rows
    moved = replace(other.term_keys[0], wrap_id="wrap-1")
    await corrupt(replace(rows, term_keys=(moved,)), "does not open")


async def test_a_data_key_of_another_length_is_a_corrupt_keyring() -> None:
    await corrupt(await rows_for(wrapper_of(SECRET.reveal()), {1: bytes(31)}), "data key of term 1")


async def test_a_missing_data_key_is_a_corrupt_keyring() -> None:
    rows = (await one_term_store()).rows
    await corrupt(replace(rows, term_keys=()), "data key of term 1 is missing")


async def test_a_wrapper_that_gives_a_key_of_another_length_makes_a_corrupt_keyring() -> None:
    class ShortKeys:
        """A wrapper of another kind, such as one that asks a server."""

        wrap_id = "wrap-1"

        async def wrap(self, dek: Secret[bytes], aad: bytes) -> bytes:
            return dek.reveal()

        async def unwrap(self, wrapped: bytes, aad: bytes) -> Secret[bytes]:
            return Secret(wrapped[:31])

    keys = TermKeys(1, {1: TermState.ACTIVE}, {1: Secret(bytes(32))})
    keyring = Keyring(ShortKeys(), keys)
    with pytest.raises(KeyringCorrupt, match="wrong length"):
        await keyring.verify((await one_term_store()).rows)


async def test_a_data_key_that_is_held_is_not_unwrapped_again() -> None:
    class Unreachable:
        """A wrapper whose server is away."""

        wrap_id = "wrap-1"

        async def wrap(self, dek: Secret[bytes], aad: bytes) -> bytes:
            raise WrappingUnavailable

        async def unwrap(self, wrapped: bytes, aad: bytes) -> Secret[bytes]:
            raise WrappingUnavailable

    store = await one_term_store()
    keys = TermKeys(1, {1: TermState.ACTIVE}, {1: Secret(bytes(32))})
    keyring = Keyring(Unreachable(), keys)
    await keyring.reload(store)
    assert keyring.active_term == 1
    with pytest.raises(WrappingUnavailable):
        await keyring.verify(store.rows)


@pytest.mark.parametrize(
    "states",
    [
        pytest.param((), id="no term"),
        pytest.param((TermState.DECRYPT_ONLY, TermState.DECRYPT_ONLY), id="none active"),
        pytest.param((TermState.ACTIVE, TermState.ACTIVE), id="two active"),
        pytest.param((TermState.DESTROYED,), id="all destroyed"),
    ],
)
async def test_a_keyring_without_exactly_one_active_term_is_corrupt(
    states: tuple[TermState, ...],
) -> None:
    rows = await rows_for(wrapper_of(SECRET.reveal()), {1: bytes(32), 2: bytes(32)})
    terms = tuple(TermRow(number, state) for number, state in enumerate(states, 1))
    await corrupt(replace(rows, terms=terms), "active instead of one")


@pytest.mark.parametrize("term", [0, -1, 2**32])
async def test_a_term_with_an_impossible_number_is_a_corrupt_keyring(term: int) -> None:
    rows = (await one_term_store()).rows
    await corrupt(
        replace(rows, terms=(*rows.terms, TermRow(term, TermState.DECRYPT_ONLY))),
        "impossible number",
    )


async def test_terms_without_a_wrap_are_a_corrupt_keyring_and_not_a_first_start() -> None:
    store = MemoryKeyringStore(replace((await one_term_store()).rows, wraps=()))
    with pytest.raises(KeyringCorrupt, match="without a wrap"):
        await open_keyring(store, SECRET)


async def test_wraps_of_unknown_kinds_alone_are_a_corrupt_keyring() -> None:
    rows = (await one_term_store()).rows
    unknown = replace(rows.wraps[0], kind="crystal-ball")
    await corrupt(replace(rows, wraps=(unknown,)), "kind known to this release")


async def test_a_wrap_of_an_unknown_kind_beside_a_known_one_is_passed_over() -> None:
    rows = (await one_term_store()).rows
    unknown = WrapRow("wrap-0", "crystal-ball", {}, b"")
    store = MemoryKeyringStore(replace(rows, wraps=(*rows.wraps, unknown)))
    assert (await open_keyring(store, SECRET)).wrap_id == "wrap-1"


async def test_one_wrap_out_of_bounds_is_refused_before_any_is_stretched(
    scrypt: CountingScrypt,
) -> None:
    rows = (await one_term_store()).rows
    weak = replace(rows.wraps[0], wrap_id="weak", params={**rows.wraps[0].params, "n": 2})
    await corrupt(replace(rows, wraps=(weak, *rows.wraps)), "wrap weak are out of bounds")
    assert scrypt.calls == []


async def test_too_many_wraps_are_refused_before_any_is_stretched(scrypt: CountingScrypt) -> None:
    rows = (await one_term_store()).rows
    many = tuple(replace(rows.wraps[0], wrap_id=f"wrap-{n}") for n in range(MAX_WRAPS + 1))
    await corrupt(replace(rows, wraps=many), "more than 8 wraps")
    assert scrypt.calls == []


# Counting


def test_seals_are_counted_by_term_until_they_are_taken() -> None:
    keyring = keyring_of({1: bytes(32), 7: b"\1" * 32})
    for _ in range(3):
        keyring.seal(AAD, KEY)
    assert keyring.take_seals() == {7: 3}
    assert keyring.take_seals() == {}


def test_seals_that_could_not_be_noted_are_counted_again() -> None:
    keyring = keyring_of({7: bytes(32)})
    keyring.seal(AAD, KEY)
    taken = keyring.take_seals()
    keyring.seal(AAD, KEY)
    keyring.give_back(taken)
    assert keyring.take_seals() == {7: 2}


def test_a_value_that_cannot_be_sealed_is_not_counted() -> None:
    keyring = keyring_of({1: bytes(32)})
    with pytest.raises(InvalidInput):
        keyring.seal(AAD, Secret("sk-\ud800"))
    assert keyring.take_seals() == {}


def test_a_keyring_knows_the_terms_it_opens_and_those_that_are_destroyed() -> None:
    keyring = keyring_of({2: bytes(32), 3: bytes(32)}, destroyed=(1,))
    texts = {term: keyring_of({term: bytes(32)}).seal(AAD, KEY) for term in (1, 2, 3, 4, 258)}
    assert keyring.knows_terms_of([])
    assert keyring.knows_terms_of(texts[term] for term in (1, 2, 3))
    assert not keyring.knows_terms_of([texts[2], texts[4]])
    assert not keyring.knows_terms_of([texts[258]])
    assert not keyring.knows_terms_of(["AQEAAA"])


# Several wraps


async def test_the_newest_wrap_is_tried_first(scrypt: CountingScrypt) -> None:
    rows = (await one_term_store()).rows
    older = replace(wrapper_with(bytes(32), "wrap-0").row(), check_value=b"\1" * 16)
    store = MemoryKeyringStore(replace(rows, wraps=(older, *rows.wraps)))
    await open_keyring(store, SECRET)
    assert len(scrypt.calls) == 1


async def test_data_keys_of_other_wraps_are_left_alone() -> None:
    rows = (await one_term_store()).rows
    foreign = TermKeyRow(1, "wrap-of-a-later-release", b"anything")
    store = MemoryKeyringStore(replace(rows, term_keys=(*rows.term_keys, foreign)))
    assert (await open_keyring(store, SECRET)).active_term == 1
