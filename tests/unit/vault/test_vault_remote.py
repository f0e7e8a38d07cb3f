"""Wrapping under a key kept elsewhere: what that service is told, and what is believed of it."""

from collections.abc import Mapping
from hashlib import sha256

import pytest

from model_service.kernel.errors import IntegrityFailure, SecretMismatch, WrappingUnavailable
from model_service.kernel.keyring import WrapRow
from model_service.kernel.secret import Secret
from model_service.vault.remote import RemoteWrapper
from model_service.vault.wrap import wrap_aad

DEK = Secret(bytes(range(32)))


class Kept:
    """A `RemoteKey` in memory that remembers what it was asked; `opens` overrides an answer."""

    kind = "transit"
    name = "the key of the tests"

    def __init__(self) -> None:
        self.encrypted: list[tuple[bytes, Mapping[str, str]]] = []
        self.decrypted: list[tuple[bytes, Mapping[str, str]]] = []
        self.opens: bytes | None = None
        self.away = False

    def params(self) -> Mapping[str, int | str]:
        return {"key": "tests"}

    async def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        if self.away:
            raise WrappingUnavailable
        self.encrypted.append((plaintext, context))
        return b"sealed:" + plaintext

    async def decrypt(self, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        if self.away:
            raise WrappingUnavailable
        self.decrypted.append((ciphertext, context))
        return ciphertext.removeprefix(b"sealed:") if self.opens is None else self.opens


@pytest.fixture
def key() -> Kept:
    return Kept()


def context_of(wrap_id: str, term: int) -> Mapping[str, str]:
    """As every stored wrap was made, so that it may not change."""
    return {
        "purpose": "model-service keyring",
        "wrap": wrap_id,
        "place": wrap_aad(wrap_id, term).hex(),
    }


async def test_a_wrap_is_recognised_by_a_word_bound_to_the_place_of_term_0(key: Kept) -> None:
    made = await RemoteWrapper.create(key)
    plaintext = sha256(wrap_aad(made.wrap_id, 0)).digest() + b"check"
    assert key.encrypted == [(plaintext, context_of(made.wrap_id, 0))]
    expected = WrapRow(made.wrap_id, "transit", {"key": "tests"}, b"sealed:" + plaintext)
    assert made.row() == expected
    opened = await RemoteWrapper.open(key, made.row())
    assert opened.row() == expected
    assert key.decrypted == [(b"sealed:" + plaintext, context_of(made.wrap_id, 0))]


async def test_two_wraps_have_ids_of_their_own(key: Kept) -> None:
    made = [await RemoteWrapper.create(key) for _ in range(2)]
    assert made[0].wrap_id != made[1].wrap_id


async def test_a_data_key_is_bound_to_its_place_in_what_is_sealed_too(key: Kept) -> None:
    made = await RemoteWrapper.create(key)
    aad = wrap_aad(made.wrap_id, 7)
    wrapped = await made.wrap(DEK, aad)
    assert key.encrypted[-1] == (
        sha256(aad).digest() + DEK.reveal(),
        context_of(made.wrap_id, 7),
    )
    assert wrapped == b"sealed:" + key.encrypted[-1][0]


async def test_nobody_is_asked_for_what_was_wrapped_or_unwrapped_before(key: Kept) -> None:
    made = await RemoteWrapper.create(key)
    aad = wrap_aad(made.wrap_id, 1)
    wrapped = await made.wrap(DEK, aad)
    other = await RemoteWrapper.open(key, made.row())
    asked = len(key.decrypted)
    for wrapper in (made, other, other):
        assert (await wrapper.unwrap(wrapped, aad)).reveal() == DEK.reveal()
    assert len(key.decrypted) == asked + 1
    key.away = True
    assert (await other.unwrap(wrapped, aad)).reveal() == DEK.reveal()
    with pytest.raises(WrappingUnavailable):
        await other.unwrap(wrapped, wrap_aad(made.wrap_id, 2))


@pytest.mark.parametrize("size", [0, 31, 33])
async def test_a_data_key_of_another_length_is_none_and_is_not_remembered(
    key: Kept, size: int
) -> None:
    made = await RemoteWrapper.create(key)
    aad = wrap_aad(made.wrap_id, 1)
    key.opens = sha256(aad).digest() + bytes(size)
    for _ in range(2):
        with pytest.raises(IntegrityFailure, match="wrong length"):
            await made.unwrap(b"x", aad)
    assert len(key.decrypted) == 2


@pytest.mark.parametrize(("size", "is_asked"), [(0, False), (1, True), (8192, True), (8193, False)])
async def test_what_is_no_ciphertext_by_its_length_is_sent_to_nobody(
    key: Kept, size: int, is_asked: bool
) -> None:
    made = await RemoteWrapper.create(key)
    aad = wrap_aad(made.wrap_id, 1)
    key.opens = sha256(aad).digest() + DEK.reveal()
    if is_asked:
        assert (await made.unwrap(bytes(size), aad)).reveal() == DEK.reveal()
    else:
        with pytest.raises(IntegrityFailure, match="wrong length"):
            await made.unwrap(bytes(size), aad)
    assert len(key.decrypted) == is_asked


@pytest.mark.parametrize("opened", [b"", bytes(32) + bytes(32), DEK.reveal()])
async def test_what_was_sealed_for_another_place_is_not_believed(key: Kept, opened: bytes) -> None:
    made = await RemoteWrapper.create(key)
    key.opens = opened
    with pytest.raises(IntegrityFailure, match="another place"):
        await made.unwrap(b"x", wrap_aad(made.wrap_id, 1))


@pytest.mark.parametrize("word", [b"", b"chec", b"check!", b"xheck"])
async def test_a_wrap_with_another_word_is_another_key_s(key: Kept, word: bytes) -> None:
    made = await RemoteWrapper.create(key)
    key.opens = sha256(wrap_aad(made.wrap_id, 0)).digest() + word
    with pytest.raises(SecretMismatch):
        await RemoteWrapper.open(key, made.row())


async def test_a_wrap_that_does_not_open_is_another_key_s(key: Kept) -> None:
    made = await RemoteWrapper.create(key)
    key.opens = b""
    with pytest.raises(SecretMismatch) as refused:
        await RemoteWrapper.open(key, made.row())
    assert isinstance(refused.value.__cause__, IntegrityFailure)


async def test_a_service_that_cannot_be_asked_is_told_from_another_key(key: Kept) -> None:
    made = await RemoteWrapper.create(key)
    key.away = True
    with pytest.raises(WrappingUnavailable):
        await RemoteWrapper.open(key, made.row())
    with pytest.raises(WrappingUnavailable):
        await RemoteWrapper.create(key)
