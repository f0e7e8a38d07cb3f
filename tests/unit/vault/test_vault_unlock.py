"""What opens the keyring: the master secret, or a key that another service keeps."""

import os
from collections.abc import Mapping

import pytest

from model_service.kernel.errors import IntegrityFailure, SecretMismatch, StartupFault
from model_service.kernel.secret import Secret
from model_service.vault.keyring import open_keyring, unlock_keyring
from model_service.vault.transit import TRANSIT_KIND
from model_service.vault.unlock import RemoteUnlocker, ScryptUnlocker
from tests.unit.vault.vault_fakes import MemoryKeyringStore, one_term_store


class KeyKeptElsewhere:
    """A `RemoteKey` in memory: gives back what it was given, and only in the same context."""

    kind = TRANSIT_KIND

    def __init__(self, name: str = "the key of the tests") -> None:
        self.name = name
        self._kept: dict[bytes, tuple[bytes, Mapping[str, str]]] = {}

    def params(self) -> Mapping[str, int | str]:
        return {"key": self.name}

    async def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        ciphertext = os.urandom(16)
        self._kept[ciphertext] = plaintext, context
        return ciphertext

    async def decrypt(self, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        plaintext, bound = self._kept.get(ciphertext, (b"", None))
        if bound != context:
            raise IntegrityFailure("not this key's")
        return plaintext


async def test_a_first_start_with_a_key_kept_elsewhere_makes_a_wrap_of_its_kind() -> None:
    store = MemoryKeyringStore()
    await unlock_keyring(store, [RemoteUnlocker(KeyKeptElsewhere())])
    (row,) = store.rows.wraps
    assert (row.kind, dict(row.params)) == (TRANSIT_KIND, {"key": "the key of the tests"})


async def test_a_key_kept_elsewhere_opens_the_keyring_again() -> None:
    key, store = KeyKeptElsewhere(), MemoryKeyringStore()
    first = await unlock_keyring(store, [RemoteUnlocker(key)])
    second = await unlock_keyring(store, [RemoteUnlocker(key)])
    assert second.wrap_id == first.wrap_id


async def test_the_wrap_of_another_key_is_not_opened() -> None:
    created = await RemoteUnlocker(KeyKeptElsewhere()).create()
    assert await RemoteUnlocker(KeyKeptElsewhere()).open(created.row()) is None


async def test_the_wrap_of_another_secret_is_not_opened() -> None:
    (row,) = (await one_term_store()).rows.wraps
    assert await ScryptUnlocker(Secret("y" * 40)).open(row) is None


async def test_a_key_that_does_not_match_the_keyring_is_named() -> None:
    store = MemoryKeyringStore()
    await unlock_keyring(store, [RemoteUnlocker(KeyKeptElsewhere())])
    with pytest.raises(SecretMismatch, match="not wrapped by another key: configure"):
        await unlock_keyring(store, [RemoteUnlocker(KeyKeptElsewhere("another key"))])


async def test_a_secret_that_does_not_match_the_keyring_is_named_by_its_setting() -> None:
    with pytest.raises(SecretMismatch, match=r"^ENCRYPTION_SECRET does not match"):
        await open_keyring(await one_term_store(), Secret("x" * 40))


async def test_a_keyring_wrapped_by_a_secret_is_a_mismatch_for_a_key_kept_elsewhere() -> None:
    store = await one_term_store()
    with pytest.raises(SecretMismatch, match="not wrapped by the key of the tests"):
        await unlock_keyring(store, [RemoteUnlocker(KeyKeptElsewhere())])


def test_a_secret_that_is_too_short_is_named_by_its_setting() -> None:
    with pytest.raises(StartupFault, match=r"^ENCRYPTION_SECRET must be at least 32"):
        ScryptUnlocker(Secret("x" * 31)).require_usable()
    with pytest.raises(StartupFault, match=r"^ENCRYPTION_SECRET_PREVIOUS must be at least 32"):
        ScryptUnlocker(Secret("x" * 31), "ENCRYPTION_SECRET_PREVIOUS").require_usable()
    ScryptUnlocker(Secret("x" * 32)).require_usable()
