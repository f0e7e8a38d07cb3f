"""What happens in the processes that part from the runner: tests, with or without a fault."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

import pytest

#: How pytest is to be run.
ARGUMENTS = (
    "-q", "-x", "--no-header", "--tb=no",
    # A way for trials to see one another.
    *("-p", "no:cacheprovider"),
    # All others that are installed would be looked for each time.
    *("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout"),
    # The runner has imported pytest's plugins already.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)  # fmt: skip


Result = TypeVar("Result")
_Trace = Callable[[FrameType, str, object], Any]


def parted(work: Callable[[], Result], seconds: float, log: Path) -> Result | None:
    """The result of `work` in a process of its own, or None when it takes longer or dies."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _work_and_exit(work, writer, log)
    os.close(writer)
    try:
        received = _received(reader, time.monotonic() + seconds)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return cast("Result", json.loads(received)) if received else None


def _work_and_exit(work: Callable[[], object], writer: int, log: Path) -> None:
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        text = json.dumps(work()).encode()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(text)
    finally:
        sys.stdout.flush()
        # Whatever threads and handlers a test left behind are not waited for.
        os._exit(0)


def _received(reader: int, until: float) -> bytes:
    """What was written before the other end was closed; nothing if that takes too long."""
    os.set_blocking(reader, False)
    received = b""
    while time.monotonic() < until:
        try:
            part = os.read(reader, 1 << 20)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        if not part:
            return received
        received += part
    return b""


class Findings:
    """Runs only the chosen tests, cheap ones first, and keeps which one failed."""

    def __init__(self, order: dict[str, int]) -> None:
        self._order = order
        self.failed: str | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what is not chosen and sort the rest."""
        items[:] = [item for item in items if item.nodeid in self._order]
        items.sort(key=lambda item: self._order[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first that failed."""
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def search(order: dict[str, int]) -> str:
    """The test that finds the fault; "" when none does."""
    findings = Findings(order)
    files = dict.fromkeys(name.partition("::")[0] for name in order)
    code = pytest.main([*ARGUMENTS, *files], plugins=[findings])
    if code == pytest.ExitCode.OK:
        return ""
    # A module that cannot be imported fails before there is a test.
    return findings.failed or "import"


class Coverage:
    """Keeps which lines of the modules each test runs through."""

    def __init__(self, files: Iterable[str]) -> None:
        self._files = set(files)
        self._test: str | None = None
        self._shared = False
        self.lines: dict[str, set[tuple[str, int]]] = defaultdict(set)
        #: Lines that something set up for many tests runs through.
        self.shared: set[tuple[str, int]] = set()
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()

    def trace(self, frame: FrameType, _event: str, _argument: object) -> "_Trace | None":
        """What `sys.settrace` wants: called for each function that is entered."""
        if frame.f_code.co_filename not in self._files:
            return None
        self._note(frame)
        return self._line

    def _line(self, frame: FrameType, event: str, _argument: object) -> "_Trace":
        if event == "line":
            self._note(frame)
        return self._line

    def _note(self, frame: FrameType) -> None:
        place = frame.f_code.co_filename, frame.f_lineno
        if self._shared:
            self.shared.add(place)
        if self._test is not None:
            self.lines[self._test].add(place)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Say whose lines the next ones are."""
        self._test = item.nodeid
        started = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - started
            self._test = None

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: "pytest.FixtureDef[Any]"
    ) -> Generator[None, Any, Any]:
        """Say whether the next lines are more than one test's."""
        before, self._shared = self._shared, fixturedef.scope != "function"
        try:
            return (yield)
        finally:
            self._shared = before

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what fails without a fault."""
        if report.failed:
            self.failed.add(report.nodeid)


def cover(files: Iterable[str], run: Callable[[Coverage], None]) -> dict[str, Any]:
    """What each test runs through and how long it takes, without a fault."""
    coverage = Coverage(files)
    threading.settrace(coverage.trace)
    sys.settrace(coverage.trace)
    try:
        run(coverage)
    finally:
        sys.settrace(None)
        threading.settrace(None)
    return {
        "tests": {
            test: {"seconds": coverage.seconds[test], "lines": sorted(coverage.lines[test])}
            for test in coverage.seconds
            if test not in coverage.failed
        },
        "shared": sorted(coverage.shared),
        "failed": sorted(coverage.failed),
    }


class Server:
    """PostgreSQL for all trials, whose every new database has the tables already."""

    def __init__(self, directory: Path) -> None:
        reader, writer = os.pipe()
        self._hold, self._release = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(reader)
            os.close(self._release)
            self._serve(directory, writer)
        os.close(writer)
        os.close(self._hold)
        with os.fdopen(reader) as answer:
            self.url = answer.read()
        if not self.url:
            sys.exit("PostgreSQL did not start")

    def _serve(self, directory: Path, writer: int) -> None:
        try:
            from model_service.db.embedded import running
            from model_service.db.migrate import migrate
            from model_service.kernel.secret import Secret

            with running(directory) as url:
                # New databases are copies of this one.
                template = Secret(url.reveal().replace("/postgres?", "/template1?"))
                asyncio.run(migrate(template))
                asyncio.run(_without_syncing(url.reveal()))
                with os.fdopen(writer, "w") as answer:
                    answer.write(url.reveal())
                os.read(self._hold, 1)
        finally:
            os._exit(0)

    def stop(self) -> None:
        """Stop PostgreSQL."""
        # Not by closing it: sessions have it open too.
        os.write(self._release, b".")
        os.waitpid(self._process, 0)


async def _without_syncing(url: str) -> None:
    """Nothing in it outlives the run."""
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute("ALTER SYSTEM SET fsync = off")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
