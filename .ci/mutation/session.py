"""A pytest session that has collected its tests and parts a process of itself for each trial.

In that process the function with the fault gets its new code in place, so that a trial imports
nothing. What runs at import cannot be changed so; it is tried in a session of its own.
"""

import gc
import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, cast

import pytest
from trial import ARGUMENTS, Coverage, Findings, cover, parted

_LOCALS = ".<locals>."


class Session:
    """The runner's end: asks the session and waits for the answer."""

    def __init__(self, tests: tuple[str, ...], log: Path) -> None:
        theirs, self._asked = os.pipe()
        self._answered, back = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(self._asked)
            os.close(self._answered)
            _collect_and_answer(tests, theirs, back, log)
        os.close(theirs)
        os.close(back)
        self._questions = os.fdopen(self._asked, "w")
        self._answers = os.fdopen(self._answered)

    def cover(self, files: list[str], seconds: float) -> dict[str, Any] | None:
        """What each test runs through."""
        return cast("dict[str, Any] | None", self._ask(files=files, seconds=seconds))

    def search(
        self, function: str, path: Path, order: dict[str, int], seconds: float
    ) -> str | None:
        """The test that finds the fault in the file's function; None when it takes too long."""
        answer = self._ask(function=function, path=str(path), order=order, seconds=seconds)
        return cast("str | None", answer)

    def close(self) -> None:
        """End the session."""
        self._questions.close()
        self._answers.close()
        os.waitpid(self._process, 0)

    def _ask(self, **question: object) -> object:
        self._questions.write(json.dumps(question) + "\n")
        self._questions.flush()
        answer = self._answers.readline()
        if not answer:
            sys.exit("pytest ended before it was asked to")
        return json.loads(answer)


def _collect_and_answer(tests: tuple[str, ...], asked: int, back: int, log: Path) -> None:
    try:
        # The terminal's interrupt is for the runner, which then closes the pipe.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        with os.fdopen(asked) as questions, os.fdopen(back, "w") as answers:
            # Uncaptured: captured output would be that of the session, not of the trial.
            pytest.main([*ARGUMENTS, "-s", *tests], plugins=[_Answers(questions, answers, log)])
    finally:
        os._exit(0)


class _Answers:
    """Answers questions where pytest would run the tests."""

    def __init__(self, questions: Iterator[str], answers: Any, log: Path) -> None:  # noqa: ANN401
        self._questions = questions
        self._answers = answers
        self._log = log

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        gc.collect()
        gc.freeze()
        for line in self._questions:
            question = json.loads(line)
            work = self._work(session, question)
            answer = parted(work, question["seconds"], self._log.with_suffix(".trial"))
            self._answers.write(json.dumps(answer) + "\n")
            self._answers.flush()
        return True

    def _work(self, session: pytest.Session, question: dict[str, Any]) -> Callable[[], object]:
        if "files" in question:
            return lambda: cover(
                question["files"], lambda coverage: _run(session, session.items, coverage)
            )
        return lambda: _search(session, **question)


def _search(
    session: pytest.Session, function: str, path: str, order: dict[str, int], seconds: float
) -> str:
    del seconds  # the process is ended when they are over
    _change(function, path)
    findings = Findings(order)
    chosen = list(session.items)
    findings.pytest_collection_modifyitems(chosen)
    _run(session, chosen, findings)
    return findings.failed or ""


def _run(session: pytest.Session, items: list[pytest.Item], plugin: Findings | Coverage) -> None:
    session.config.pluginmanager.register(plugin)
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if isinstance(plugin, Findings) and plugin.failed:
            return


def _change(function: str, path: str) -> None:
    """Have the function, and what it made at import, run the code that is in the file now."""
    codes: dict[str, list[CodeType]] = defaultdict(list)
    for code in _codes(compile(Path(path).read_text(), path, "exec")):
        codes[code.co_qualname].append(code)
    found = False
    gc.unfreeze()
    for live in gc.get_objects():
        if not isinstance(live, FunctionType) or live.__code__.co_filename != path:
            continue
        name = live.__code__.co_qualname
        if name != function and not name.startswith(function + _LOCALS):
            continue
        (live.__code__,) = codes[name]
        found = found or name == function
    if not found:
        raise LookupError(f"{function} of {path} is not there")


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
