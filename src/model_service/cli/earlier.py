"""The earlier service's database: read only, in batches, never written to.

Its tables were made by Prisma: camelCase columns, a schema named by the URL's `schema`
parameter, providers in an enum type, times in UTC without a zone.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from model_service.cli.earlier_rows import EarlierRow, RawRow
from model_service.db.engine import CONNECT_TIMEOUT, display_host, normalise_url
from model_service.db.migrate import unreachable
from model_service.kernel.errors import StartupFault
from model_service.kernel.secret import Secret

#: Rows held in memory at a time; a stored key takes a few hundred bytes.
BATCH: Final = 500
#: Seconds one batch, or counting a table, may take.
_READ_TIMEOUT: Final = 120.0
#: Prisma's, when the URL names no schema.
_DEFAULT_SCHEMA: Final = "public"
# Prisma's own parameters, beyond those that `normalise_url` takes out.
_PRISMA_PARAMETERS: Final = frozenset(
    {"sslidentity", "sslpassword", "sslaccept", "statement_cache_size", "options"}
)
# How values look as text: the same whatever the server's or the user's settings are. Set in the
# transaction, because connection poolers refuse such settings when a connection starts.
_TEXT_FORM: Final = (
    "SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true),"
    " set_config('intervalstyle', 'iso_8601', true), set_config('extra_float_digits', '3', true)"
)


class Shape(NamedTuple):
    """A table as it was found."""

    name: str  # quoted, with its schema
    columns: tuple[str, ...]  # those that are there of those that are wanted
    id_type: str


class EarlierDatabase:
    """The tables of one earlier service, over one connection."""

    def __init__(self, connection: Any, url: Secret[str], schema: str) -> None:  # noqa: ANN401 - asyncpg carries no types
        self._connection = connection
        self._url = url
        self._schema = schema

    async def shape(self, row: type[EarlierRow]) -> Shape | None:
        """What the table of such rows looks like; None when there is none.

        Raises:
            StartupFault: it lacks a column that nothing can stand in for.
        """
        name = f"{_quoted(self._schema)}.{_quoted(row.table)}"
        async with self._reading():
            found = await self._connection.fetch(
                "SELECT attname::text, format_type(atttypid, -1) AS type FROM pg_attribute"
                " WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
                name,
            )
        types = {record["attname"]: record["type"] for record in found}
        if not types:
            return None
        lacking = [
            column for column, needed in row.columns().items() if needed and column not in types
        ]
        if lacking:
            raise StartupFault(
                f"the table {row.table} at {display_host(self._url)} has no column"
                f" {', '.join(lacking)}: it is not the earlier service's"
            )
        columns = tuple(column for column in row.columns() if column in types)
        return Shape(name, columns, types["id"])

    async def count(self, shape: Shape) -> int:
        """How many rows there are now."""
        async with self._reading():
            return int(await self._connection.fetchval(f"SELECT count(*) FROM {shape.name}"))  # noqa: S608 - quoted

    async def batches(self, shape: Shape) -> AsyncGenerator[list[RawRow], None]:
        """All rows in the order of their ids, each column as text.

        Each batch is a transaction of its own that starts after the last id read: neither
        side's memory grows with the table, and no snapshot is held for hours.
        """
        columns = ", ".join(f"t.{_quoted(name)}::text" for name in shape.columns)
        select = f"SELECT {columns} FROM {shape.name} t"  # noqa: S608 - quoted
        end = f"ORDER BY t.id LIMIT {BATCH}"
        following = f"{select} WHERE t.id > $1::text::{shape.id_type} {end}"
        last: str | None = None
        while True:
            async with self._reading():
                records = await (
                    self._connection.fetch(f"{select} {end}")
                    if last is None
                    else self._connection.fetch(following, last)
                )
            if not records:
                return
            last = records[-1]["id"]
            yield [dict(record) for record in records]

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        with _faults(self._url):
            async with self._connection.transaction(readonly=True):
                await self._connection.execute(_TEXT_FORM)
                yield


@asynccontextmanager
async def earlier_database(url: Secret[str]) -> AsyncIterator[EarlierDatabase]:
    """The database at `url` while the context is open.

    Raises:
        StartupFault: it cannot be reached or read; names the host, never the password.
    """
    target, schema = _located(url)
    with _faults(target):
        connection = await asyncpg.connect(
            target.reveal(),
            timeout=CONNECT_TIMEOUT,
            command_timeout=_READ_TIMEOUT,
            # Poolers that hand each transaction to another server lose prepared statements.
            statement_cache_size=0,
        )
    try:
        yield EarlierDatabase(connection, target, schema)
    finally:
        connection.terminate()


def _located(url: Secret[str]) -> tuple[Secret[str], str]:
    """The URL for the driver, and the schema that it names."""
    try:
        normalised = normalise_url(url)
        schemas = [
            value for name, value in parse_qsl(urlsplit(url.reveal()).query) if name == "schema"
        ]
    except StartupFault as fault:
        raise _about_source(fault) from None
    parts = urlsplit(normalised.reveal())
    query = [pair for pair in parse_qsl(parts.query) if pair[0] not in _PRISMA_PARAMETERS]
    cleaned = Secret(parts._replace(query=urlencode(query)).geturl())
    return cleaned, schemas[-1] if schemas else _DEFAULT_SCHEMA


@contextmanager
def _faults(url: Secret[str]) -> Iterator[None]:
    """Failures of the source as faults to show; the driver's messages may quote rows."""
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise StartupFault(
            f"the user of --from may not read the tables at {display_host(url)}; grant SELECT"
        ) from error
    except asyncpg.InternalClientError as error:
        # What asyncpg raises when the server took leave while nothing was being asked.
        raise _about_source(StartupFault(unreachable(url, ConnectionError()))) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise _about_source(StartupFault(unreachable(url, error))) from error


def _about_source(fault: StartupFault) -> StartupFault:
    # The same sentences as for our own database, about the option instead of the variable.
    return StartupFault(*(re.sub(r"\bDATABASE_URL\b", "--from", text) for text in fault.faults))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
