"""Print the part of requirements.lock that some packages need, hashes and all.

    python .ci/locked.py .                       what the service needs to run
    python .ci/locked.py hatchling editables     what those two need

There is one lock file, for running, testing and building alike. pip says which of its packages
belong together; nothing is installed and no package's code runs on the way.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import cast

ROOT = Path(__file__).parent.parent
_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==")


def main(wanted: list[str]) -> None:
    """Print the entries; `.` stands for the service's own dependencies."""
    if not wanted:
        sys.exit("usage: python .ci/locked.py [.] [name ...]")
    lock = (ROOT / "requirements.lock").read_text()
    roots = [name for name in wanted if name != "."]
    if "." in wanted:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        roots += project["dependencies"]
    sys.stdout.write(select(lock, needed(lock, roots)))


def needed(lock: str, roots: Iterable[str]) -> set[str]:
    """The names of all packages that `roots` need on this machine, in the lock's versions."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write(constraints_of(lock))
        constraints.flush()
        done = subprocess.run(  # noqa: S603 - the arguments are this repository's
            [
                *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"),
                *("--quiet", "--disable-pip-version-check", "--only-binary", ":all:"),
                *("--report", "-", "--constraint", constraints.name, *roots),
            ],
            stdout=subprocess.PIPE,
            check=True,
        )
    return {cast("str", item["metadata"]["name"]) for item in json.loads(done.stdout)["install"]}


def constraints_of(lock: str) -> str:
    """The lock's versions alone, since pip takes neither hashes nor extras in a constraint.

    Beside hashes it would want every requirement pinned.
    """
    without_hashes = re.sub(r" *\\\n(?: +--hash=\S+(?: *\\)?\n?)+", "\n", lock)
    return re.sub(r"^([A-Za-z0-9._-]+)\[[^\]]*\]==", r"\1==", without_hashes, flags=re.MULTILINE)


def select(lock: str, names: Iterable[str]) -> str:
    """The lock's entries of those names. Ends the program when it has none for one of them."""
    missing = {_normal(name) for name in names}
    selected: list[str] = []
    taken = False
    for line in lock.splitlines(keepends=True):
        if entry := _ENTRY.match(line):
            name = _normal(entry["name"])
            taken = name in missing
            missing.discard(name)
        if taken:
            selected.append(line)
    if missing:
        sys.exit(f"requirements.lock lacks {', '.join(sorted(missing))}; run .ci/lock")
    return "".join(selected)


def _normal(name: str) -> str:
    """A package's name as the packaging specification compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(sys.argv[1:])
