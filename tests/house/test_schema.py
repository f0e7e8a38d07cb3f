"""The tables in code, the migrations and the named revision agree."""

import re

from alembic.autogenerate import compare_metadata
from alembic.command import downgrade
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from model_service.db.engine import create_engine
from model_service.db.migrate import alembic_config, migrate, schema_state
from model_service.db.tables import SCHEMA_REVISION, metadata
from model_service.kernel.secret import Secret


async def test_the_migrations_make_the_tables_that_the_code_knows(
    database_url: Secret[str],
) -> None:
    def is_compared(name: str | None, kind: str, _: object) -> bool:
        # The months of events, which the service makes as they are needed.
        return kind != "table" or not re.fullmatch(r"usage_events_\d+_\d\d", name or "")

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"include_name": is_compared})
        return list(compare_metadata(context, metadata))

    engine = create_engine(database_url)
    async with engine.connect() as connection:
        differences = await connection.run_sync(compare)
    await engine.dispose()
    assert differences == []


async def test_the_named_revision_is_the_newest_one(database_url: Secret[str]) -> None:
    def head(connection: Connection) -> str | None:
        return ScriptDirectory.from_config(alembic_config(connection)).get_current_head()

    engine = create_engine(database_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(head) == SCHEMA_REVISION
    await engine.dispose()


async def test_migrations_go_down_and_up_again(empty_database_url: Secret[str]) -> None:
    def down(connection: Connection) -> None:
        downgrade(alembic_config(connection), "base")

    assert await schema_state(empty_database_url) == "empty"
    assert await migrate(empty_database_url) is True
    engine = create_engine(empty_database_url)
    async with engine.connect() as connection:
        await connection.run_sync(down)
        await connection.commit()
        tables = await connection.execute(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        )
        assert set(tables.scalars()) == {"alembic_version"}
    await engine.dispose()
    assert await migrate(empty_database_url) is True
    assert await migrate(empty_database_url) is False
    assert await schema_state(empty_database_url) == "current"
