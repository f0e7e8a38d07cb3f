"""The secrets that development makes for itself, once, in a file that only its user can read."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from model_service.kernel.errors import StartupFault


def read_or_make(file: Path) -> dict[str, str]:
    """What the file says, by names in lower case; it is made first if it is not there.

    Raises:
        StartupFault: it cannot be made or read.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not file.exists():
            _make(file)
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupFault(f"{file} cannot be made or read: {type(error).__name__}") from error
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if value.strip()}


def _make(file: Path) -> None:
    # Written whole under another name, then linked: of many first starts one wins, all read it.
    fresh = file.with_name(f".secrets-{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write("# Generated for development. Without ENCRYPTION_SECRET no key opens again.\n")
        stream.write(f"ENCRYPTION_SECRET={secrets.token_hex(32)}\n")
        stream.write(f"INTERNAL_SECRET={secrets.token_hex(32)}\n")
        stream.flush()
        os.fsync(stream.fileno())
    with suppress(FileExistsError):
        os.link(fresh, file)
    fresh.unlink()
