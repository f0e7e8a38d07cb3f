"""`model-service import` as an operator runs it."""

from pathlib import Path

import pytest

from model_service.kernel.audit import Purpose
from model_service.kernel.secret import Secret
from model_service.keys.domain import KeyFilter
from model_service.service import Service
from model_service.settings import Settings
from tests.e2e.commands import production, run, start
from tests.e2e.earlier_service import SECRET, EarlierService, sealed

VALUE = "sk-earlier-0123456789abcdefgh"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(SECRET.reveal() + "\n")
    return file


@pytest.fixture
def environment(settings: Settings, database_url: Secret[str]) -> dict[str, str]:
    return production(settings, database_url)


def arguments(source: str, secret_file: Path) -> tuple[str, ...]:
    return "import", "--from", source, "--secret-file", str(secret_file)


async def test_an_import_reports_what_it_did_and_shows_no_secret(
    earlier: EarlierService,
    service: Service,
    environment: dict[str, str],
    secret_file: Path,
    tmp_path: Path,
) -> None:
    await earlier.add_model("good")
    await earlier.add_key("good", encryptedKey=sealed(VALUE))
    bad = await earlier.add_key("two words", encryptedKey=sealed("sk-secret with-a-space"))
    # A password, Prisma's own parameters and an awkward schema have to be understood.
    source = earlier.url.reveal().replace("postgres@", "postgres:hunter2-secret@")
    source += "&" if "?" in source else "?"
    source += "schema=public&connection_limit=5&sslaccept=strict"
    done = run(*arguments(source, secret_file), directory=tmp_path, environment=environment)
    everything = done.stdout + done.stderr
    assert done.returncode == 3, everything
    assert bad in done.stdout
    assert "apiKey: must be 8 to 512 printable ASCII characters" in done.stdout
    assert "models: 1 of 1" in done.stderr
    assert "api_keys: 2 of 2" in done.stderr
    for secret in (VALUE, "with-a-space", "hunter2", SECRET.reveal(), sealed(VALUE)):
        assert secret not in everything
    (key,) = await service.keys.list(KeyFilter(), None)
    assert (await service.keys.reveal(key.id, Purpose.DECRYPT)).reveal() == VALUE


async def test_an_import_that_was_killed_is_finished_by_the_next(
    earlier: EarlierService,
    service: Service,
    environment: dict[str, str],
    secret_file: Path,
    tmp_path: Path,
) -> None:
    total = 30
    added = [await earlier.add_key(f"key {number}") for number in range(total)]
    command = arguments(earlier.url.reveal(), secret_file)
    first = start(*command, directory=tmp_path, environment=environment)
    while await service.keys.count(KeyFilter()) < 3:
        assert first.poll() is None, first.communicate()
    first.kill()
    first.communicate()
    kept = await service.keys.count(KeyFilter())
    assert 3 <= kept < total
    second = run(*command, directory=tmp_path, environment=environment)
    assert second.returncode == 0, second.stderr
    keys = await service.keys.list(KeyFilter(), None)
    assert sorted(str(key.id) for key in keys) == sorted(added)
    cells = [cell.strip() for cell in second.stdout.replace("┃", "│").split("│")]
    row = cells[cells.index("api_keys") :]
    assert row[1:5] == [str(total - kept), str(kept), "0", "0"]


def test_a_source_that_is_away_is_named_without_its_password(
    environment: dict[str, str], secret_file: Path, tmp_path: Path
) -> None:
    source = "postgresql://ada:hunter2-secret@127.0.0.1:9/old?schema=app"
    done = run(*arguments(source, secret_file), directory=tmp_path, environment=environment)
    assert done.returncode == 1
    assert "cannot use the database at 127.0.0.1:9/old" in done.stderr
    assert "--from is right" in done.stderr
    assert "DATABASE_URL" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
