"""What the doctor looks at in the database. Reads only."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ARRAY, Text, bindparam, text

from model_service.cli.findings import Finding, fail, ok, warn
from model_service.custody import open_vault
from model_service.db import tables
from model_service.db.engine import create_engine, display_host
from model_service.db.keyring import SqlKeyringStore
from model_service.db.tables import SCHEMA_REVISION
from model_service.db.uow import Database
from model_service.kernel.errors import ServiceError
from model_service.kernel.secret import Secret
from model_service.settings import Settings

#: The oldest PostgreSQL that is supported, as `server_version_num` writes it.
OLDEST_VERSION: Final = 140000
#: How far this machine's clock and the database's may be apart.
CLOCK_TOLERANCE: Final = timedelta(seconds=2)
#: How many names one finding lists.
_NAMED: Final = 5

_PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_MISSING_PRIVILEGES = text(
    """
    SELECT t.name || ' (' || string_agg(p.name, ', ') || ')'
      FROM unnest(:tables) AS t(name) CROSS JOIN unnest(:privileges) AS p(name)
     WHERE NOT has_table_privilege(to_regclass(quote_ident(t.name)), p.name)
     GROUP BY t.name ORDER BY t.name
    """
).bindparams(bindparam("tables", type_=ARRAY(Text)), bindparam("privileges", type_=ARRAY(Text)))
_DANGLING = text(
    """
    SELECT m.name || ' -> ' || f.name
      FROM models m
      CROSS JOIN LATERAL jsonb_array_elements_text(
          CASE jsonb_typeof(m.fallbacks) WHEN 'array' THEN m.fallbacks ELSE '[]' END) AS f(name)
     WHERE NOT EXISTS (SELECT FROM models t WHERE t.name = f.name)
     ORDER BY 1
    """
)


@asynccontextmanager
async def opened(url: Secret[str]) -> AsyncIterator[Database]:
    """The database while the context is open."""
    database = Database(create_engine(url, pool_size=2))
    try:
        yield database
    finally:
        await database.close()


async def version(database: Database, url: Secret[str]) -> Finding:
    """Whether it is a PostgreSQL that this release supports."""
    async with database.single() as connection:
        number = int(await connection.scalar(text("SHOW server_version_num")) or 0)
    return version_finding(number, display_host(url))


def version_finding(number: int, where: str) -> Finding:
    """What such a `server_version_num` means."""
    message = f"PostgreSQL {number // 10_000}.{number % 10_000} at {where}"
    if number < OLDEST_VERSION:
        oldest = OLDEST_VERSION // 10_000
        return fail("database", message, f"use PostgreSQL {oldest} or newer")
    return ok("database", message)


async def privileges(database: Database) -> Finding:
    """Whether the user may do what the service does."""
    async with database.single() as connection:
        row = (
            await connection.execute(
                text(
                    "SELECT current_user AS account, current_schema() AS schema,"
                    " has_schema_privilege(current_schema(), 'CREATE') AS creates,"
                    " current_setting('transaction_read_only')::bool AS read_only"
                )
            )
        ).one()
        names = [table.name for table in tables.metadata.sorted_tables]
        known = {"tables": names, "privileges": list(_PRIVILEGES)}
        missing = (await connection.execute(_MISSING_PRIVILEGES, known)).scalars().all()
    if row.read_only:
        return fail("privileges", "the database is read-only", "point DATABASE_URL at the primary")
    if row.schema is None:
        return fail(
            "privileges", "none of the schemas in the search_path exists", "create the schema"
        )
    if missing:
        message = f"the user {row.account} lacks privileges on {_some(missing)}"
        return fail("privileges", message, f"GRANT them to {row.account}")
    revision = await database.revision()
    if not row.creates and revision != SCHEMA_REVISION:
        message = f"the user {row.account} may not create tables in the schema {row.schema}"
        return fail("privileges", message, f"GRANT CREATE ON SCHEMA {row.schema} TO {row.account}")
    return ok("privileges", f"the user {row.account} has those that are needed")


async def clock(database: Database) -> Finding:
    """Whether this machine and the database agree on the time."""
    async with database.single() as connection:
        before = datetime.now(UTC)
        theirs = await connection.scalar(text("SELECT clock_timestamp()"))
        after = datetime.now(UTC)
    # They looked at their clock somewhere in between; the middle is the best guess.
    return clock_finding((before + (after - before) / 2) - theirs)


def clock_finding(ahead: timedelta) -> Finding:
    """What it means that this machine's clock is so far ahead of the database's."""
    message = f"{abs(ahead).total_seconds():.1f} s between this machine and the database"
    if abs(ahead) > CLOCK_TOLERANCE:
        return warn(
            "clock", message, "run a time service (NTP) on both: expiry is decided by the clock"
        )
    return ok("clock", message)


async def migrations(database: Database) -> Finding:
    """Whether the schema is this release's."""
    revision = await database.revision()
    if revision is None:
        async with database.single() as connection:
            earlier = await connection.scalar(text(_EARLIER_TABLES))
        return empty_finding(holds_earlier_tables=bool(earlier))
    if revision == SCHEMA_REVISION:
        return ok("migrations", f"at {revision}, as this release needs")
    message = f"at {revision}; this release needs {SCHEMA_REVISION}"
    if revision > SCHEMA_REVISION:
        return fail("migrations", message, "run the newer release, or restore a backup")
    return warn("migrations", message, "`model-service migrate`; `model-service serve` does it too")


# The earlier service's tables have our names.
_EARLIER_TABLES: Final = (
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE (attrelid, attname) IN"
    " ((to_regclass('models'), 'modelId'), (to_regclass('api_keys'), 'encryptedKey')))"
)


def empty_finding(*, holds_earlier_tables: bool) -> Finding:
    """What it means that the database was never migrated."""
    if holds_earlier_tables:
        return fail(
            "migrations",
            "this is the earlier service's database",
            "point DATABASE_URL at a new one, then `model-service import --from <this one>`",
        )
    return warn("migrations", "the database is empty", "the first `model-service serve` fills it")


async def keyring(settings: Settings, database: Database) -> Finding:
    """Whether the keyring opens. None is made."""
    async with SqlKeyringStore(database).exclusive() as session:
        rows = await session.load()
        keys_stored = await session.records_exist()
    backup = "restore the tables keyring_* from the backup that the keys are from"
    if not rows.wraps:
        if keys_stored:
            return fail("keyring", "keys are stored, but the keyring they need is gone", backup)
        return ok("keyring", "none yet; the first `model-service serve` makes it")
    if settings.encryption_secret is None and settings.key_wrapper == "scrypt":
        return fail(
            "keyring",
            "there is one, but not the ENCRYPTION_SECRET that opens it",
            "restore secrets.env in DATA_DIR from a backup, or set ENCRYPTION_SECRET",
        )
    try:
        vault = await open_vault(settings, database)
    except ServiceError as error:
        remedy = f"set the ENCRYPTION_SECRET it was made with, or {backup}"
        return fail("keyring", error.message, remedy)
    message = f"opens with wrap {vault.wrap_id}, term {vault.active_term} active"
    message += f" of {len(vault.states)}"
    if len(rows.wraps) > 1:
        return warn(
            "keyring",
            f"{message}; {len(rows.wraps)} secrets open it",
            "finish the rotation: model-service secret rotate --finalize",
        )
    return ok("keyring", message)


async def fallbacks(database: Database) -> Finding:
    """Whether every fallback names a model that exists."""
    async with database.single() as connection:
        dangling = (await connection.execute(_DANGLING)).scalars().all()
    if dangling:
        message = f"{len(dangling)} name models that do not exist: {_some(dangling)}"
        return warn("fallbacks", message, "create these models, or change the fallbacks")
    return ok("fallbacks", "all of them name models that exist")


async def default_model(database: Database) -> Finding:
    """Whether the default model, if there is one, may be used."""
    query = text("SELECT name, is_active FROM models WHERE is_default")
    async with database.single() as connection:
        row = (await connection.execute(query)).first()
    if row is None:
        return ok("default model", "there is none")
    if not row.is_active:
        message = f"'{row.name}' is the default, but inactive: there is no default until it is"
        return warn("default model", message, "activate it, or make another one the default")
    return ok("default model", f"'{row.name}'")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
