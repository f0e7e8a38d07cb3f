"""What the doctor looks at on this machine: configuration, directories, files, the port."""

import http.client
import json
import os
import shutil
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from model_service.cli.findings import Finding, fail, ok, warn
from model_service.http.server import bind
from model_service.kernel.errors import StartupFault
from model_service.providers.egress import EgressPolicy
from model_service.settings import ENCRYPTION_SECRET_LENGTH, Settings

MEBIBYTE: Final = 2**20
#: Free disk, in bytes: below the first a warning, below the second a failure.
LITTLE_SPACE: Final = 1024 * MEBIBYTE
NO_SPACE: Final = 100 * MEBIBYTE
#: Seconds that whoever holds the port has for answering.
_ASK_TIMEOUT: Final = 2.0
#: Cores from which a single worker leaves most of the machine idle.
_MANY_CORES: Final = 4


def configuration(settings: Settings, faults: Sequence[str]) -> list[Finding]:
    """Whether the settings hold; every fault is a finding of its own."""
    found = list(faults)
    try:
        EgressPolicy.parse(settings.upstream_allowed_hosts, loopback_allowed=False)
    except StartupFault as fault:
        found.extend(fault.faults)
    if found:
        remedy = "change it in the environment or in .env"
        return [fail("configuration", sentence, remedy) for sentence in found]
    return [ok("configuration", f"holds, for {settings.environment.value}")]


def data_directory(directory: Path) -> Finding:
    """Whether DATA_DIR is there and can be written to. It is not made."""
    check = "data directory"
    where = directory.absolute()
    if not where.exists():
        parent = _nearest(where)
        if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
            return fail(
                check, f"{where} does not exist, and {parent} cannot be written to", "set DATA_DIR"
            )
        return warn(
            check,
            f"{where} does not exist yet, nor do the secrets generated into it",
            "the first `model-service serve` makes it; if it was there before, check DATA_DIR",
        )
    if not where.is_dir():
        return fail(check, f"{where} is not a directory", "remove it, or set DATA_DIR")
    if not os.access(where, os.R_OK | os.W_OK | os.X_OK):
        return fail(check, f"{where} cannot be written to", "change its owner, or set DATA_DIR")
    return ok(check, f"{where} can be written to")


def disk(directory: Path) -> Finding:
    """How much room is left where DATA_DIR is, or will be."""
    where = _nearest(directory.absolute())
    return disk_space(where, shutil.disk_usage(where).free)


def disk_space(where: Path, free: int) -> Finding:
    """What so many free bytes mean."""
    message = f"{free // MEBIBYTE:,} MiB free at {where}"
    remedy = "free some space, or set DATA_DIR to another disk"
    if free < NO_SPACE:
        return fail("disk", message, remedy)
    if free < LITTLE_SPACE:
        return warn("disk", message, remedy)
    return ok("disk", message)


def secrets_file(directory: Path) -> list[Finding]:
    """Whether only its owner may read the generated secrets; nothing when there are none."""
    file = directory.absolute() / "secrets.env"
    if not file.exists():
        return []
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        message = f"other users of this machine have access to {file} (mode {mode:04o})"
        return [fail("secrets file", message, f"chmod 600 {file}")]
    return [ok("secrets file", f"{file} is its owner's alone (mode {mode:04o})")]


def port(settings: Settings) -> Finding:
    """Whether the service could listen, or is listening already."""
    where = f"{settings.host}:{settings.port}"
    try:
        bind(settings.host, settings.port).close()
    except StartupFault as fault:
        version = _version_listening(settings)
        if version is None:
            return fail("port", fault.message, "stop what uses it, or set PORT or HOST")
        return ok("port", f"Model Service {version} is listening on {where}")
    return ok("port", f"{where} is free")


def production(settings: Settings, cores: int) -> list[Finding]:
    """What matters in production alone; nothing in development."""
    if not settings.is_production:
        return []
    return [_workers(settings.workers, cores), _encryption(settings), _admin_token(settings)]


def _workers(workers: int, cores: int) -> Finding:
    message = f"{workers} of them on {cores} cores"
    if workers > cores:
        return warn("workers", message, f"set WORKERS to at most {cores}")
    if workers == 1 and cores >= _MANY_CORES:
        return warn("workers", message, "set WORKERS, leaving cores for a database beside it")
    return ok("workers", message)


def _encryption(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    if is_loopback(settings.host):
        return ok("tls", f"listens on {where}, which only this machine can reach")
    return ok(
        "tls",
        f"listens on {where}, in plain HTTP",
        "let nothing but a proxy that speaks TLS reach this port: tokens and keys travel over it",
    )


def _admin_token(settings: Settings) -> Finding:
    token = settings.admin_token
    if token is None:
        return fail("admin token", "ADMIN_TOKEN is not set", "make one: openssl rand -hex 32")
    if len(token) < ENCRYPTION_SECRET_LENGTH:
        message = f"ADMIN_TOKEN has fewer than {ENCRYPTION_SECRET_LENGTH} characters"
        return warn("admin token", message, "make a longer one: openssl rand -hex 32")
    return ok("admin token", "ADMIN_TOKEN is set and long enough")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _version_listening(settings: Settings) -> str | None:
    """The version of the Model Service that holds the port; None when something else does."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    connection = http.client.HTTPConnection(host.strip("[]"), settings.port, timeout=_ASK_TIMEOUT)
    try:
        connection.request("GET", "/api/health")
        answer = json.loads(connection.getresponse().read(4096))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    if isinstance(answer, dict) and answer.get("service") == "model-service":
        return str(answer.get("version", "of unknown version"))
    return None


def _nearest(path: Path) -> Path:
    """The path itself, or the closest directory above that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
