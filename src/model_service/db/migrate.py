"""Bringing the schema up to date, one process at a time."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from model_service.db.engine import create_engine, display_host, is_passing
from model_service.db.locks import NAMESPACE, Lock
from model_service.db.tables import SCHEMA_REVISION
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable, StartupFault
from model_service.kernel.secret import Secret

if TYPE_CHECKING:
    from alembic.config import Config


async def schema_state(url: Secret[str]) -> str:
    """`current`, `behind`, `empty` or `ahead` (made by a newer release).

    Raises:
        StartupFault: the database cannot be reached.
    """
    database = Database(create_engine(url, pool_size=1))
    try:
        revision = await database.revision()
    except (DatabaseUnavailable, SQLAlchemyError, OSError) as error:
        raise StartupFault(unreachable(url, error)) from error
    finally:
        await database.close()
    if revision is None:
        return "empty"
    if revision == SCHEMA_REVISION:
        return "current"
    return "ahead" if revision > SCHEMA_REVISION else "behind"


async def migrate(url: Secret[str]) -> bool:
    """Bring the database to this release's schema; True when something was to do.

    Raises:
        StartupFault: the database cannot be reached, belongs to a newer release, or
            holds tables of somebody else.
    """
    state = await schema_state(url)
    if state == "current":
        return False
    if state == "ahead":
        raise StartupFault(
            "the database was migrated by a newer release; run that release, or restore a backup"
        )
    engine = create_engine(url, pool_size=1, command_timeout=None)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade)
            await connection.commit()
    except (SQLAlchemyError, OSError) as error:
        if is_passing(error):
            raise StartupFault(unreachable(url, error)) from error
        raise
    finally:
        await engine.dispose()
    return True


def alembic_config(connection: Connection) -> "Config":
    """Alembic's configuration for running on one connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def unreachable(url: Secret[str], error: BaseException) -> str:
    """What to tell an operator whose database does not answer: where, why and what to do."""
    origin = error
    while origin.__cause__ is not None and origin.__cause__ is not origin:
        origin = origin.__cause__
    state = getattr(origin, "sqlstate", None)
    reasons = {
        "28P01": "the password was refused",
        "28000": "the user was refused",
        "3D000": "there is no such database; create it first",
        "57P03": "it is starting up or shutting down",
        "53300": "it has no connection left to give",
    }
    if isinstance(state, str):
        reason = reasons.get(state, f"it answered SQLSTATE {state}")
    elif isinstance(origin, TimeoutError):
        reason = "it did not answer in time"
    elif isinstance(origin, OSError):
        reason = "no connection could be made"
    else:
        reason = type(origin).__name__
    return (
        f"cannot use the database at {display_host(url)}: {reason}. "
        "Check that PostgreSQL runs there and that DATABASE_URL is right"
    )


def _upgrade(connection: Connection) -> None:
    from alembic import command

    connection.execute(
        text("SELECT pg_advisory_xact_lock(:a, :b)"),
        {"a": NAMESPACE, "b": Lock.MIGRATION.value},
    )
    _refuse_foreign_tables(connection)
    command.upgrade(alembic_config(connection), "head")


def _refuse_foreign_tables(connection: Connection) -> None:
    """The earlier service's tables have our names; never mix both in one database."""
    earlier = connection.scalar(
        text(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND table_name IN ('models', 'api_keys')"
            " AND column_name IN ('modelId', 'encryptedKey')"
        )
    )
    if earlier:
        raise StartupFault(
            "this database holds the earlier service's tables; point DATABASE_URL at a new, empty"
            " database and run `model-service import --from <this database>`"
        )
