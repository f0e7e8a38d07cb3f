"""Transactions: joined, rolled back, and which failures mean "not right now"."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from model_service.db.engine import create_engine, display_host, normalise_url
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable, StartupFault
from model_service.kernel.secret import Secret


async def test_an_inner_transaction_is_part_of_the_outer_one(database: Database) -> None:
    async def fail_after_an_inner_one() -> None:
        async with database.transaction():
            async with database.transaction() as connection:
                await connection.execute(text("CREATE TABLE gone (a int)"))
            async with database.single() as connection:
                assert await connection.scalar(text("SELECT count(*) FROM gone")) == 0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_after_an_inner_one()
    async with database.single() as connection:
        assert await connection.scalar(text("SELECT to_regclass('gone')::text")) is None


async def test_a_faulty_statement_is_not_taken_for_an_absent_database(database: Database) -> None:
    for opened in (database.transaction, database.single):
        with pytest.raises(ProgrammingError) as caught:
            async with opened() as connection:
                await connection.execute(text("SELECT nonsense"))
        assert caught.value.__cause__ is not caught.value


async def test_an_absent_database_is_unavailable() -> None:
    absent = Database(create_engine(Secret("postgresql://u:p@127.0.0.1:9/x")))
    for opened in (absent.transaction, absent.single):
        with pytest.raises(DatabaseUnavailable):
            async with opened():
                pass
    await absent.close()


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("postgres://u:p@h/db", "postgresql://u:p@h/db"),
        ("postgresql+asyncpg://h/db", "postgresql://h/db"),
        ("postgresql://h/db?schema=public&sslmode=require", "postgresql://h/db?sslmode=require"),
        (" postgresql://h:5433/db ", "postgresql://h:5433/db"),
    ],
)
def test_urls_of_other_clients_are_understood(given: str, normal: str) -> None:
    assert normalise_url(Secret(given)).reveal() == normal


@pytest.mark.parametrize(
    "given", ["", "mysql://u:pw@h/db", "postgresql://h:port/db", "postgresql://h:0/db", "h/db"]
)
def test_other_urls_are_refused_without_being_repeated(given: str) -> None:
    with pytest.raises(StartupFault) as caught:
        normalise_url(Secret(given))
    assert "DATABASE_URL" in caught.value.message
    assert "pw" not in caught.value.message


def test_where_a_database_is_can_be_shown_without_its_password() -> None:
    assert display_host(Secret("postgresql://u:pw@h:5433/db?x=1")) == "h:5433/db"
