"""What tests of whole commands share."""

import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from model_service.kernel.secret import Secret
from model_service.service import Service
from tests.e2e.earlier_service import EarlierService, Importer


@pytest_asyncio.fixture(scope="session")
async def earlier_url(server_url: Secret[str]) -> AsyncIterator[Secret[str]]:
    """A database that tests share for their earlier services, one after the other."""
    name = f"model_service_earlier_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server_url.reveal())
    await connection.execute(f"CREATE DATABASE {name}")
    yield Secret(urlsplit(server_url.reveal())._replace(path=f"/{name}").geturl())
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest_asyncio.fixture
async def earlier(earlier_url: Secret[str]) -> AsyncIterator[EarlierService]:
    """An earlier service without rows."""
    service = await EarlierService.create(earlier_url)
    yield service
    await service.execute("DROP SCHEMA public CASCADE")
    await service.connection.close()


@pytest.fixture
def importer(service: Service) -> Importer:
    return Importer(service)
