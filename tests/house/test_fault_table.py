"""The table of faults in docs/routing-and-failover.md names tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| .* \| .* \| `(\w+)`(?:: (.+))? \|$")


def named() -> list[tuple[str, str]]:
    """File and words of each test that the table names."""
    found = []
    for line in (ROOT / "docs/routing-and-failover.md").read_text().splitlines():
        row = _ROW.match(line)
        if row is not None and row[1] in files():
            words = re.findall(r"`(\w+)`", row[2] or "`test_`")
            found += [(row[1], word) for word in words]
    return found


def files() -> set[str]:
    """The files of the fault suite, by what is their own of their names."""
    prefix = "test_failing_well_"
    return {
        path.stem.removeprefix(prefix) for path in (ROOT / "tests/faults").glob(f"{prefix}*.py")
    }


@pytest.mark.parametrize(("file", "words"), named())
def test_the_test_that_a_row_names_is_there(file: str, words: str) -> None:
    text = (ROOT / f"tests/faults/test_failing_well_{file}.py").read_text()
    assert re.search(rf"def test_\w*{words}|def {words}", text)


def test_every_file_of_the_suite_is_named() -> None:
    assert {file for file, _ in named()} == files()
