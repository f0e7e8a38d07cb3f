"""What tests of stored things share."""

import hashlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from model_service.db.migrate import migrate
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.vault import wrap
from tests.conftest import _drop_database, _new_database
from tests.keyrings import Process, closed, emptied, engines


def _cheap_scrypt(password: bytes, *, salt: bytes, length: int, **cost: int) -> bytes:
    """In place of scrypt, whose cost is no matter of what is stored."""
    del cost
    return hashlib.blake2b(password, key=salt, digest_size=length).digest()


@pytest_asyncio.fixture(scope="module")
async def keyring_url(server_url: Secret[str]) -> AsyncIterator[Secret[str]]:
    """A database whose keyring tests may change as they like."""
    name, url = await _new_database(server_url)
    await migrate(url)
    yield url
    await _drop_database(server_url, name)


@pytest_asyncio.fixture
async def databases(keyring_url: Secret[str]) -> AsyncIterator[list[Database]]:
    """Two processes' connections to a database without a keyring."""
    databases = list(engines(keyring_url, 2))
    await emptied(databases[0])
    yield databases
    await closed(databases)


@pytest_asyncio.fixture
async def process(databases: list[Database], monkeypatch: pytest.MonkeyPatch) -> Process:
    """A process that made the keyring, whose term is 1."""
    monkeypatch.setattr(wrap, "scrypt", _cheap_scrypt)
    return await Process.start(databases[0])
