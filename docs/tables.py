"""How the generated documents begin, and their tables."""

from collections.abc import Sequence

NOTE = "<!-- Written by docs/generate.py; `make docs` renews it. -->"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )
