"""docs/gateway.md says what is so: routes, settings, headers, limits, codes, metrics."""

import re
from pathlib import Path

import pytest

from model_service.gateway import call as calls
from model_service.gateway import leases, pipeline, policy, snapshot, wire
from model_service.gateway.routes import find
from model_service.http.metrics import Metrics
from model_service.providers.messages import Limits

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "gateway.md").read_text()
SOURCE = "\n".join(path.read_text() for path in (ROOT / "src" / "model_service").rglob("*.py"))


def section(title: str) -> str:
    """What stands below the first heading that says this."""
    return re.split(r"^#+ ", DOCUMENT.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[
        0
    ]


def first_cells(text: str) -> list[str]:
    rows = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([\w-]+)`", row)]


def routes() -> list[str]:
    told = re.findall(r"`(?:GET |POST )?(/\S+|:\w+)`", section("Routes").partition("\n\n`GET")[0])
    google = "/v1beta/models/{name}"
    paths = [google + path if path.startswith(":") else path for path in told]
    return [path for path in paths if path not in ("/openai/v1", "/v1")]


@pytest.mark.parametrize("path", routes())
def test_every_route_that_is_named_exists(path: str) -> None:
    assert find(path.replace("{name}", "x").encode(), ()) is not None


def test_many_routes_are_named() -> None:
    assert len(routes()) > 15


@pytest.mark.parametrize("title", ["Models\n\nA registered", "What an answer carries"])
def test_every_setting_and_header_that_is_named_is_in_the_code(title: str) -> None:
    names = first_cells(DOCUMENT.partition(title)[2].partition("\n# ")[0].partition("\n## ")[0])
    assert len(names) > 5
    assert [name for name in names if name not in SOURCE] == []


def test_every_code_that_is_named_is_in_the_code() -> None:
    codes = first_cells(section("Errors"))
    assert len(codes) > 10
    assert [code for code in codes if f'"{code}"' not in SOURCE] == []


def test_the_limits_are_those_of_the_code() -> None:
    told = section("Limits")
    timeouts = policy.timeouts(policy.Policy(), stream=True, guarded=False)
    assert f"{calls.MAX_BODY >> 20} MiB; {calls.MAX_UNKNOWN_BODY >> 20} MiB with" in told
    assert f"{wire.BODY_SECONDS:.0f} s |" in told
    assert f"{calls.STALL_SECONDS:.0f} s, then" in told
    assert f"{timeouts.connect:.0f} s, {timeouts.first_byte:.0f} s, {timeouts.idle:.0f} s" in told
    assert timeouts.total == 3600
    assert f"{Limits().body_bytes >> 20} MiB |" in told
    assert f"{pipeline.MOST_CALLS:,} in one process" in told


def test_the_bounds_of_leases_and_snapshot_are_those_of_the_code() -> None:
    assert (leases.LEASE_SECONDS, leases.RENEWAL_SECONDS) == (300, 60)
    assert f"after {snapshot.STALENESS_BOUND:.0f} seconds" in DOCUMENT


def test_every_metric_that_is_named_exists() -> None:
    exposed = Metrics(version="1").expose().decode()
    names = [name for name in first_cells(section("Metrics")) if "_" in name]
    assert len(names) > 3
    assert [name for name in names if f"# HELP {name} " not in exposed] == []
