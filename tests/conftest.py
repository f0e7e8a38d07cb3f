"""What tests share: a real PostgreSQL, and the whole service on it.

The database is the embedded one, or, with `DATABASE_URL` set, a new database on that
server, dropped at the end.
"""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import text

from model_service.db.embedded import running
from model_service.db.engine import create_engine
from model_service.db.migrate import migrate
from model_service.db.tables import (
    access_tokens,
    api_keys,
    issued_keys,
    models,
    provider_admin_credentials,
    webhook_events,
    webhooks,
)
from model_service.db.uow import Database
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.sandbox.server import Sandbox, serve
from model_service.settings import Environment, Settings
from tests.audit_trails import empty_trail
from tests.gateway_world import GatewayWorld, gateway_running

if TYPE_CHECKING:
    from model_service.service import Service

# How long an example takes says how busy the machine is, and nothing of what is tested.
hypothesis_settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("any machine")

ADMIN_TOKEN = "test-administrator-94c1f07d"
INTERNAL_SECRET = "test-internal-2b60d8aa51"
ENCRYPTION_SECRET = "test-master-secret-0c7e4d1f9a3b58e6"


@pytest.fixture(scope="session")
def server_url() -> Iterator[Secret[str]]:
    """A PostgreSQL server on which databases may be created."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield Secret(given)
        return
    # Not below pytest's own directory: another run beside this one closes that to the account
    # the server runs as.
    with (
        TemporaryDirectory(prefix="model-service-tests-") as directory,
        running(Path(directory)) as url,
    ):
        yield url


async def _new_database(server: Secret[str]) -> tuple[str, Secret[str]]:
    name = f"model_service_test_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server.reveal())
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    parts = urlsplit(server.reveal())
    return name, Secret(parts._replace(path=f"/{name}").geturl())


async def _drop_database(server: Secret[str], name: str) -> None:
    connection = await asyncpg.connect(server.reveal())
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


@pytest_asyncio.fixture
async def empty_database_url(server_url: Secret[str]) -> AsyncIterator[Secret[str]]:
    """A database of the test's own, without tables."""
    name, url = await _new_database(server_url)
    yield url
    await _drop_database(server_url, name)


@pytest_asyncio.fixture(scope="session")
async def database_url(server_url: Secret[str]) -> AsyncIterator[Secret[str]]:
    """The database that tests share, migrated. Its tables are emptied before each test."""
    name, url = await _new_database(server_url)
    await migrate(url)
    yield url
    await _drop_database(server_url, name)


@pytest_asyncio.fixture(scope="session")
async def shared_database(database_url: Secret[str]) -> AsyncIterator[Database]:
    database = Database(create_engine(database_url))
    yield database
    await database.close()


@pytest_asyncio.fixture
async def database(shared_database: Database) -> Database:
    """The shared database with empty tables; the keyring stays."""
    await _empty(shared_database)
    return shared_database


async def _empty(database: Database) -> None:
    async with database.transaction() as connection:
        tables = (
            access_tokens,
            models,
            api_keys,
            issued_keys,
            provider_admin_credentials,
            webhooks,
            webhook_events,
        )
        names = ", ".join(table.name for table in tables)
        await connection.execute(text(f"TRUNCATE {names} CASCADE"))


@pytest_asyncio.fixture(scope="session")
async def shared_sandbox() -> AsyncIterator[Sandbox]:
    async with serve() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    """Stand-ins of all providers, up and with empty ledgers."""
    shared_sandbox.clear()
    return shared_sandbox


@pytest.fixture(scope="session")
def settings(shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Production settings, with the stand-ins for providers."""
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        environment=Environment.PRODUCTION,
        data_dir=tmp_path_factory.mktemp("service"),
        encryption_secret=Secret(ENCRYPTION_SECRET),
        internal_secret=Secret(INTERNAL_SECRET),
        admin_token=Secret(ADMIN_TOKEN),
        # All tests come from one address.
        auth_failures_per_minute=100_000,
        validations_per_minute=100_000,
        openai_base_url=shared_sandbox.openai.base_url,
        anthropic_base_url=shared_sandbox.anthropic.base_url,
        google_base_url=shared_sandbox.google.base_url,
        ollama_base_url=shared_sandbox.ollama.base_url,
        upstream_allowed_hosts=shared_sandbox.azure.origin.removeprefix("http://"),
        openai_admin_base_url=shared_sandbox.openai_admin.base_url,
        azure_management_base_url=shared_sandbox.azure_admin.origin,
        azure_login_base_url=shared_sandbox.azure_admin.origin,
    )


@pytest.fixture(scope="session")
def redactor() -> Redactor:
    return Redactor()


@pytest_asyncio.fixture(scope="session")
async def shared_service(
    settings: Settings,
    database_url: Secret[str],
    shared_database: Database,
    redactor: Redactor,
) -> AsyncIterator["Service"]:
    from model_service.app import build

    # What tests without a service left behind was sealed by no keyring, and signed by other keys.
    await _empty(shared_database)
    await empty_trail(shared_database)
    service = await build(settings, database_url, redactor)
    yield service
    await service.close()


@pytest.fixture
def service(shared_service: "Service", database: Database, sandbox: Sandbox) -> "Service":
    """The whole service in production mode on an empty database."""
    return shared_service


@pytest_asyncio.fixture(scope="session")
async def shared_world(
    settings: Settings, server_url: Secret[str], shared_sandbox: Sandbox
) -> AsyncIterator[GatewayWorld]:
    """The service listening, background jobs and all, on a database of its own."""
    name, url = await _new_database(server_url)
    await migrate(url)
    # Tests have upstreams of their own on loopback.
    opened = settings.model_copy(update={"upstream_allowed_hosts": "127.0.0.0/8"})
    async with gateway_running(opened, url, shared_sandbox) as world:
        yield world
    await _drop_database(server_url, name)


@pytest.fixture
def world(shared_world: GatewayWorld, sandbox: Sandbox) -> GatewayWorld:
    """A running gateway. What tests make there stays, so they give their things new names."""
    return shared_world


@pytest.fixture
def internal_headers() -> dict[str, str]:
    return {"x-internal-secret": INTERNAL_SECRET}


@pytest_asyncio.fixture
async def client(service: "Service") -> AsyncIterator[httpx.AsyncClient]:
    """An administrator's client of the service."""
    async with _client(service, {"authorization": f"Bearer {ADMIN_TOKEN}"}) as client:
        yield client


@pytest_asyncio.fixture
async def anonymous(service: "Service") -> AsyncIterator[httpx.AsyncClient]:
    """A client without a credential."""
    async with _client(service, {}) as client:
        yield client


def _client(service: "Service", headers: dict[str, str]) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers)
