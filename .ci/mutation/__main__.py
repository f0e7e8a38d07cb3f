"""Put small faults into the vault, the audit trail and access, and see whether tests find them.

    python .ci/mutation                          a sample of 40 faults a module
    python .ci/mutation --sample 0               all of them; takes hours
    python .ci/mutation vault/wrap.py            only that module
    python .ci/mutation --again survivors.jsonl  only what survived an earlier run

The tree is copied first, so it may be worked on meanwhile. Each fault is written into the copy
and tried in a process that parts from one where the tests wait to be run, with tests that run
through the changed line, cheapest first, until one fails. All trials share one PostgreSQL. The
table goes to the terminal, every trial to a file of JSON lines.
"""

import argparse
import ast
import gc
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from operators import Mutant, mutants
from plan import GROUPS, PRELOADED, TIMED
from session import Session
from trial import Server, parted, search

ROOT = Path(__file__).resolve().parents[2]
#: A trial may take this many times as long as its tests did without a fault, and so much more.
_SLOWER = 5
_GRACE = 20.0
_COVERING = 1800.0
_OUT = Path(tempfile.gettempdir()) / "mutation.jsonl"


def main() -> None:
    """Run the trials and print the table."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        place = Path(directory)
        place.chmod(0o711)  # PostgreSQL's account passes through
        tree = place / "tree"
        ignored = shutil.ignore_patterns(
            ".venv", ".git", "data", "__pycache__", ".*_cache", ".hypothesis"
        )
        shutil.copytree(ROOT, tree, ignore=ignored)
        _enter(tree)
        server = Server(place / "server")
        try:
            os.environ["DATABASE_URL"] = server.url
            _Runner(tree, place / "log", options).run()
        finally:
            server.stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Find out which faults tests do not find.")
    parser.add_argument("modules", nargs="*", help="such as vault/wrap.py or vault; default: all")
    parser.add_argument("--sample", type=int, default=40, help="faults a module; 0 for all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--budget", type=float, default=6.0, help="seconds of tests a fault; more finds more"
    )
    parser.add_argument(
        "--imported", action="store_true", help="import the service anew for every fault"
    )
    parser.add_argument("--again", type=Path, help="try again what survived in this file")
    parser.add_argument("--out", type=Path, default=_OUT, help=f"default: {_OUT}")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.again = options.again and options.again.resolve()
    return options


def _enter(tree: Path) -> None:
    """Have this process and those that part from it take the copy's code, and no other."""
    os.chdir(tree)
    source = str(tree / "src")
    sys.path[:0] = [source, str(tree)]
    os.environ["PYTHONPATH"] = source
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()


class _Runner:
    def __init__(self, tree: Path, log: Path, options: argparse.Namespace) -> None:
        self._tree = tree
        self._log = log
        self._options = options
        self._again = _survivors(options.again) if options.again else None

    def run(self) -> None:
        rows = []
        with self._options.out.open("w") as out:
            for _, modules, tests in GROUPS:
                chosen = [name for name in modules if self._wanted(name)]
                if not chosen:
                    continue
                self._session = Session(tests, self._log)
                covered = self._cover(chosen, tests)
                for name in chosen:
                    outcomes = []
                    total, sample = self._faults(name)
                    for mutant, source in sample:
                        outcome = self._try(name, mutant, source, covered)
                        outcomes.append(outcome)
                        out.write(json.dumps(outcome) + "\n")
                        out.flush()
                    rows.append((name, total, outcomes))
                    sys.stderr.write(_row(*rows[-1]) + "\n")
                self._session.close()
        sys.stdout.write(_table(rows))

    def _wanted(self, name: str) -> bool:
        if self._again is not None:
            return any(module == name for module, *_ in self._again)
        wanted = self._options.modules
        return not wanted or any(name == w or name.startswith(w.rstrip("/") + "/") for w in wanted)

    def _cover(self, modules: list[str], tests: tuple[str, ...]) -> dict[str, Any]:
        files = [str(self._path(name)) for name in modules]
        sys.stderr.write(f"looking at what {', '.join(tests)} run through\n")
        covered = self._session.cover(files, _COVERING)
        if covered is None or not covered["tests"]:
            sys.exit(f"the tests do not run:\n{self._log.read_text()[-4000:]}")
        if covered["failed"]:
            # They would seem to find every fault.
            sys.stderr.write(f"left out, since they fail without a fault: {covered['failed']}\n")
        for name in TIMED:
            covered["tests"].pop(name, None)
        for test in covered["tests"].values():
            test["lines"] = {(file, line) for file, line in test["lines"]}
        covered["shared"] = {(file, line) for file, line in covered["shared"]}
        return covered

    def _path(self, name: str) -> Path:
        return self._tree / "src" / "model_service" / name

    def _faults(self, name: str) -> tuple[int, Iterator[tuple[Mutant, str]]]:
        tree = ast.parse(self._path(name).read_text())
        found = mutants(tree)
        chosen = list(range(len(found)))
        size = self._options.sample
        if self._again is not None:
            chosen = [at for at in chosen if _identity(name, found[at]) in self._again]
        elif 0 < size < len(found):
            chance = random.Random(f"{self._options.seed}:{name}")  # noqa: S311 - a sample
            chosen = sorted(chance.sample(chosen, size))
        return len(found), ((found[at], found[at].source(tree)) for at in chosen)

    def _try(
        self, name: str, mutant: Mutant, source: str, covered: dict[str, Any]
    ) -> dict[str, Any]:
        path = self._path(name)
        order = _order(str(path), mutant, covered, self._options.budget)
        started = time.monotonic()
        by = "" if not order else self._search(path, mutant.function, source, order, covered)
        return {
            "module": name,
            "line": mutant.line,
            "operator": mutant.operator,
            "before": mutant.before,
            "after": mutant.after,
            "killed": bool(by),
            "by": by,
            "tests": len(order),
            "seconds": round(time.monotonic() - started, 2),
        }

    def _search(
        self,
        path: Path,
        function: str,
        source: str,
        order: dict[str, int],
        covered: dict[str, Any],
    ) -> str:
        usual = sum(covered["tests"][test]["seconds"] for test in order)
        seconds = usual * _SLOWER + _GRACE
        original, times = path.read_text(), path.stat()
        path.write_text(source)
        # Compiled files are told apart by seconds and size, which two faults may share.
        os.utime(path, (times.st_atime, times.st_mtime + 10))
        try:
            if function and not self._options.imported:
                found = self._session.search(function, path, order, seconds)
            else:
                found = parted(lambda: _without_compiled_files(order), seconds, self._log)
        finally:
            path.write_text(original)
            os.utime(path, (times.st_atime, times.st_mtime))
        return "time" if found is None else str(found)


def _without_compiled_files(order: dict[str, int]) -> str:
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    importlib.invalidate_caches()
    return search(order)


def _order(file: str, mutant: Mutant, covered: dict[str, Any], budget: float) -> dict[str, int]:
    """The tests that reach the fault, with their turns: those in the cheapest files first."""
    tests: dict[str, Any] = covered["tests"]
    near = [name for name in tests if any(path == file for path, _ in tests[name]["lines"])]
    if mutant.reach is None:
        # A constant may be another module's too.
        far = sorted(tests.keys() - set(near))
        chosen = _affordable(near, tests, budget)
        left = budget - sum(tests[name]["seconds"] for name in chosen)
        reached = chosen + (_affordable(far, tests, left) if left > 0 else [])
    else:
        first, last = mutant.reach
        places = {(file, line) for line in range(first, last + 1)}
        if places.isdisjoint(covered["shared"]):
            near = [name for name in near if not places.isdisjoint(tests[name]["lines"])]
        reached = _affordable(near, tests, budget)
    cost: dict[str, float] = {}
    for name in reached:
        module = name.partition("::")[0]
        cost[module] = cost.get(module, 0.0) + tests[name]["seconds"]
    # A test's setup may be another's, so that files stay together.
    reached.sort(key=lambda name: (cost[(m := name.partition("::")[0])], m, tests[name]["seconds"]))
    return {name: turn for turn, name in enumerate(reached)}


def _affordable(names: list[str], tests: dict[str, Any], budget: float) -> list[str]:
    """As many as the budget has room for: each test's first case before anyone's second."""
    cases: dict[str, int] = {}
    turns: list[tuple[int, float, str]] = []
    for name in sorted(names, key=lambda name: (tests[name]["seconds"], name)):
        function = name.partition("[")[0]
        cases[function] = cases.get(function, 0) + 1
        turns.append((cases[function], tests[name]["seconds"], name))
    chosen: list[str] = []
    for _, seconds, name in sorted(turns):
        budget -= seconds
        if budget < 0 and chosen:
            break
        chosen.append(name)
    return chosen


_Identity = tuple[str, int, str, str, str]


def _identity(name: str, mutant: Mutant) -> _Identity:
    return name, mutant.line, mutant.operator, mutant.before, mutant.after


def _survivors(path: Path) -> set[_Identity]:
    trials = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        (trial["module"], trial["line"], trial["operator"], trial["before"], trial["after"])
        for trial in trials
        if not trial["killed"]
    }


def _row(name: str, total: int, outcomes: list[dict[str, Any]]) -> str:
    tried = len(outcomes)
    killed = sum(outcome["killed"] for outcome in outcomes)
    share = f"{killed / tried:.0%}" if tried else "-"
    return f"| {name} | {total} | {tried} | {killed} | {tried - killed} | {share} |"


def _table(rows: list[tuple[str, int, list[dict[str, Any]]]]) -> str:
    everything = [outcome for _, _, outcomes in rows for outcome in outcomes]
    lines = [
        "| module | faults | tried | found | not found | found of tried |",
        "|---|---|---|---|---|---|",
        *(_row(*row) for row in rows),
        _row("**all**", sum(total for _, total, _ in rows), everything),
        "",
        *(
            f"{o['module']}:{o['line']} {o['operator']}: {o['before']} -> {o['after']}"
            + ("" if o["tests"] else " (no test reaches it)")
            for o in everything
            if not o["killed"]
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
