"""The image and the compose file name what there is; the lock holds what running needs."""

import importlib.util
import json
import re
import tomllib
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement

from model_service.settings import Settings

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")

EXAMPLE = """\
greenlet==3.5.4 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
SQLAlchemy[asyncio]==2.1.4 \\
    --hash=sha256:cc
typing_extensions==4.15.0 ; python_version < '3.14' \\
    --hash=sha256:dd
"""


@pytest.fixture(scope="session")
def locked() -> ModuleType:
    spec = importlib.util.spec_from_file_location("locked", ROOT / ".ci" / "locked.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def settings_variables() -> set[str]:
    return {name.upper() for name in Settings.model_fields}


def project_dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def closure(requirements: list[str]) -> set[str]:
    """The packages that these need on this machine, by what is installed."""
    found: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, asked_as = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": asked_as}):
            continue
        for extra in ["", *requirement.extras]:
            if (requirement.name, extra) not in found:
                found.add((requirement.name, extra))
                needed = requires(requirement.name) or []
                waiting += [(Requirement(text), extra) for text in needed]
    return {name for name, _ in found}


def test_entries_are_picked_whole_whatever_the_spelling_of_their_names(
    locked: ModuleType,
) -> None:
    assert locked.select(EXAMPLE, ["sqlalchemy", "Typing.Extensions"]) == "".join(
        EXAMPLE.splitlines(keepends=True)[3:]
    )


def test_a_package_that_is_not_locked_ends_the_picking(locked: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"requirements\.lock lacks uvloop; run \.ci/lock"):
        locked.select(EXAMPLE, ["greenlet", "uvloop"])


def test_as_constraints_the_lock_is_a_list_of_versions(locked: ModuleType) -> None:
    assert locked.constraints_of(EXAMPLE).splitlines() == [
        "greenlet==3.5.4",
        "SQLAlchemy==2.1.4",
        "typing_extensions==4.15.0 ; python_version < '3.14'",
    ]
    lines = locked.constraints_of(LOCK).splitlines()
    assert len(lines) == len(re.findall(r"^\S+==", LOCK, re.MULTILINE))
    assert all(re.match(r"[A-Za-z0-9._-]+==\S+( ;|$)", line) for line in lines)


def test_the_lock_holds_what_running_needs_and_test_tools_are_left_out(
    locked: ModuleType,
) -> None:
    picked = locked.select(LOCK, closure(project_dependencies()))
    names = re.findall(r"^([A-Za-z0-9._-]+)(?:\[\w+\])?==", picked, re.MULTILINE)
    assert {"asyncpg", "cryptography", "fastapi", "greenlet", "uvicorn"} <= set(names)
    assert not {"pytest", "mypy", "ruff", "hypothesis", "openai", "anthropic"} & set(names)
    assert picked.count("--hash=sha256:") >= len(names)


def test_what_the_image_copies_exists_and_is_let_through() -> None:
    ignored, *let_through = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored == "*"
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in let_through, source


def test_the_image_sets_only_known_variables_and_runs_in_production() -> None:
    (line,) = re.findall(r"^ENV (.+)$", DOCKERFILE, re.MULTILINE)
    given = dict(pair.split("=", 1) for pair in line.split())
    assert given["ENVIRONMENT"] == "production"
    assert given.keys() - {"PATH", "PYTHONDONTWRITEBYTECODE"} <= settings_variables()
    assert not re.search(r"SECRET|TOKEN", line)


def test_the_image_checks_its_health_with_a_program_that_compiles() -> None:
    (words,) = re.findall(r"^HEALTHCHECK .*? CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    python, flag, program = json.loads(words)
    assert (python, flag) == ("python", "-c")
    assert "/api/health'" in program
    compile(program, "HEALTHCHECK", "exec")


def test_compose_sets_only_known_variables(compose: Any) -> None:
    assert compose["services"]["service"]["environment"].keys() <= settings_variables()


def test_compose_asks_for_every_secret_and_has_none_of_its_own(compose: Any) -> None:
    environment = compose["services"]["service"]["environment"]
    for name in ("ENCRYPTION_SECRET", "INTERNAL_SECRET", "ADMIN_TOKEN"):
        assert environment[name].startswith(f"${{{name}:?")
    assert "${POSTGRES_PASSWORD:?" in environment["DATABASE_URL"]
    database = compose["services"]["database"]["environment"]
    assert database["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")


def test_compose_takes_rights_away(compose: Any) -> None:
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in compose["services"]["service"]


def test_compose_waits_for_a_healthy_database(compose: Any) -> None:
    service, database = compose["services"]["service"], compose["services"]["database"]
    assert service["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert "pg_isready" in database["healthcheck"]["test"]
