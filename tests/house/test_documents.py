"""What the documents say is so: settings, links, make targets, messages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_service import sandbox
from model_service.sandbox import script
from model_service.sandbox.faults import Fault
from model_service.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"(?P<ticks>`+) ?(?P<text>.+?) ?(?P=ticks)(?!`)")


def variables() -> set[str]:
    found = set()
    for name, field in Settings.model_fields.items():
        choices: Any = getattr(field.validation_alias, "choices", None) or [name.upper()]
        found.update(choices)
    return found


def documents() -> list[Path]:
    top = [path for path in ROOT.glob("*.md") if path.is_file()]
    return sorted([*top, *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").rglob("*.md")])


def anchors(document: Path) -> set[str]:
    """The anchors that a forge makes of the headings."""
    headings = re.findall(r"^#+ +(.+?) *$", document.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        for heading in headings
    }


def test_the_example_file_names_exactly_the_settings() -> None:
    text = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE)) == variables()


def test_the_example_file_gives_the_defaults_and_no_secrets() -> None:
    text = (ROOT / ".env.example").read_text()
    given = dict(re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE))
    for name, field in Settings.model_fields.items():
        default = (
            "" if field.default is None else str(getattr(field.default, "value", field.default))
        )
        assert given[name.upper()] == default
    assert not re.findall(r"^[A-Z]", text, re.MULTILINE), "everything is commented out"


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    text = _FENCE.sub("", document.read_text())
    targets = [match["target"] for match in _LINK.finditer(text)]
    for target in (t for t in targets if not re.match(r"[a-z]+:", t)):
        path, _, anchor = target.partition("#")
        linked = document.parent / path if path else document
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for document in documents()
        for name in re.findall(r"(?:^    |`)make ([a-z]+)", document.read_text(), re.MULTILINE)
    }
    assert {"run", "demo", "test"} <= named <= targets


def test_every_message_in_the_table_of_troubles_is_one_the_service_can_print() -> None:
    section = README.partition("## When something goes wrong")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?:\d{3} )?(`.*?`+) \|", section, re.MULTILINE)
    messages = [match["text"] for row in rows if (match := _CODE.fullmatch(row))]
    assert len(messages) == len(rows) > 25
    known = list(message_patterns())
    unknown = [text for text in messages if not any(pattern.fullmatch(text) for pattern in known)]
    assert unknown == []


def message_patterns() -> Iterator[re.Pattern[str]]:
    """Every text in the source as a pattern; what is filled in at run time may be anything."""
    for module in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            match node:
                case ast.Constant(value=str(text)):
                    yield re.compile(re.escape(text.partition("\n")[0]))
                case ast.JoinedStr(values=parts):
                    literal = [p.value if isinstance(p, ast.Constant) else None for p in parts]
                    if sum(len(str(part)) for part in literal if part) >= 12:
                        yield re.compile(
                            "".join(".+" if p is None else re.escape(str(p)) for p in literal)
                        )
                case _:
                    pass


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
def test_the_sandbox_says_what_each_fault_is(fault: Fault) -> None:
    assert f"`{fault.value}`" in (sandbox.__doc__ or "")


def test_the_sandbox_names_every_word_that_its_script_knows() -> None:
    table = (script.__doc__ or "").partition("| words in it")[2].partition("\n\n")[0]
    words = re.findall(r"`([\w ]+)`", table)
    assert len(words) > 6
    assert [word for word in words if f"`{word}`" not in (sandbox.__doc__ or "")] == []
