"""Connecting to PostgreSQL: URLs, the pool, and which failures mean "not right now"."""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
import orjson
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from model_service.kernel.errors import StartupFault
from model_service.kernel.secret import Secret

#: Seconds to wait for a connection to be made; a reachable server answers in milliseconds.
CONNECT_TIMEOUT = 3.0
#: Seconds a statement of the service may take before the caller is told to come back later.
COMMAND_TIMEOUT = 8.0
#: Seconds to wait for a free pooled connection.
POOL_TIMEOUT = 5.0

# What other clients' URLs carry (Prisma's, pgbouncer setups) and PostgreSQL does not know.
_FOREIGN_PARAMETERS = frozenset(
    {"schema", "connection_limit", "pool_timeout", "pgbouncer", "connect_timeout", "socket_timeout"}
)
_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})

# SQLSTATE classes and codes (PostgreSQL manual, appendix A) that say nothing about the
# statement and everything about the server: 08 connection, 53 out of resources, 57P0x shut
# down or starting, 58 system error, 25006 a standby, 40 rolled back by contention, 55P03
# and 57014 a lock or statement that took too long.
_PASSING_CLASSES = ("08", "53", "57P", "58", "40")
_PASSING_CODES = frozenset({"25006", "55P03", "57014"})


def normalise_url(url: Secret[str]) -> Secret[str]:
    """The URL as the driver understands it.

    Raises:
        StartupFault: it is not a PostgreSQL URL. The message never repeats the URL.
    """
    try:
        parts = urlsplit(url.reveal().strip())
        port = parts.port
    except ValueError:
        raise StartupFault("DATABASE_URL is not a valid URL") from None
    if parts.scheme not in _SCHEMES:
        raise StartupFault("DATABASE_URL must start with postgresql://")
    if port == 0:
        raise StartupFault("DATABASE_URL names port 0")
    query = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in _FOREIGN_PARAMETERS
    ]
    return Secret(urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(query), "")))


def display_host(url: Secret[str]) -> str:
    """Host, port and database of a URL, without user or password, for messages."""
    parts = urlsplit(url.reveal())
    query = dict(parse_qsl(parts.query))
    host = parts.hostname or query.get("host", "the local socket")
    where = f"{host}:{parts.port or 5432}" if parts.hostname else host
    return f"{where}{parts.path}"


def _dump_json(value: Any) -> str:  # noqa: ANN401 - JSON documents have no narrower type
    return orjson.dumps(value).decode()


def create_engine(
    url: Secret[str],
    *,
    pool_size: int = 10,
    command_timeout: float | None = COMMAND_TIMEOUT,
) -> AsyncEngine:
    """An engine on the database at `url`; connects on first use."""

    async def connect() -> Any:  # noqa: ANN401 - asyncpg carries no types
        return await asyncpg.connect(
            url.reveal(),
            timeout=CONNECT_TIMEOUT,
            command_timeout=command_timeout,
            server_settings={"application_name": "model-service", "timezone": "UTC"},
        )

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        pool_use_lifo=True,
        hide_parameters=True,
        json_serializer=_dump_json,
        json_deserializer=orjson.loads,
    )


def is_passing(error: BaseException) -> bool:
    """Whether a failure may be gone in a moment: the server is away, starting, full or busy."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        origin = error.orig
        return origin is not None and is_passing(origin)
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_PASSING_CLASSES) or state in _PASSING_CODES
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        # One of them says that a value does not fit its column, which no retry mends.
        return not isinstance(error, ValueError)
    return isinstance(error, OSError | TimeoutError | PoolTimeout)
