"""`docs/conformance.md`: what the conformance suite proves of doors and providers.

Written of the suite's own declarations, which it holds to what happens.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tables import NOTE, table

# The suite is not installed, and this is also run as a script from anywhere.
sys.path.append(str(Path(__file__).parent.parent))

from tests.conformance.gateway.scenarios import SECTIONS
from tests.conformance.gateway.upstreams import UPSTREAMS, Upstream
from tests.conformance.gateway.verdicts import (
    DOORS,
    Dropped,
    NotAsked,
    Otherwise,
    Refused,
    Verdict,
    cells,
    verdict,
)

_HEADS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "openai_chat": "OpenAI chat completions, and embeddings",
        "openai_responses": "OpenAI Responses",
        "anthropic": "Anthropic",
        "google": "Google",
        "azure_style": "Azure's paths",
    }
)
_CLIENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "openai_chat": "`openai.AsyncOpenAI`, at `/v1/chat/completions`, `/v1/embeddings` and"
        " `/v1/models`.",
        "openai_responses": "`openai.AsyncOpenAI`, at `/v1/responses`.",
        "anthropic": "`anthropic.AsyncAnthropic`, at `/v1/messages` and `/v1/models`.",
        "google": "`google.genai`, at `/v1beta/models`.",
        "azure_style": "`openai.AsyncAzureOpenAI`, at `/openai/deployments/{name}`: the door is"
        " that of chat completions, so a handful of scenarios is enough.",
    }
)
_WORDS: Final[Mapping[type[Verdict], str]] = MappingProxyType(
    {Refused: "no", NotAsked: "-", Dropped: "dropped", Otherwise: "otherwise"}
)


def conformance_page() -> str:
    """`docs/conformance.md`."""
    notes = _Notes()
    parts = [_head(), *(_section(door, notes) for door in DOORS), notes.written()]
    return "\n".join(parts)


class _Notes:
    """The reasons, each numbered when it is first given."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reason: str) -> str:
        """The number of a reason."""
        number = self._numbers.setdefault(reason, len(self._numbers) + 1)
        return f"[{number}](#reasons)"

    def written(self) -> str:
        """All reasons, in order."""
        lines = (
            f"{number}. {reason[0].upper()}{reason[1:]}.\n"
            for reason, number in self._numbers.items()
        )
        return "## Reasons\n\n" + "".join(lines)


def _head() -> str:
    all_cells = list(cells())
    found = [verdict(scenario.name, door, upstream.name) for scenario, door, upstream in all_cells]
    counts = [
        (str(found.count(None)), "yes", "the official client gets what was asked for"),
        *(
            (str(sum(isinstance(one, kind) for one in found)), word, meaning)
            for kind, word, meaning in (
                (Refused, "no", "400, as the client's own exception, which says what is refused"),
                (Dropped, "dropped", "answered without it, which `x-model-service-dropped` says"),
                (Otherwise, "otherwise", "answered, but not as elsewhere"),
                (NotAsked, "-", "the door's API has no way to ask for it"),
            )
        ),
    ]
    return f"""{NOTE}

# What works with which client and provider

Every scenario is run at every door with every provider, by the official client of the door,
against stand-ins of the providers that refuse what the real ones refuse. What is said to be
unsupported is tried as well, and has to fail in the way that is stated here
(`tests/conformance/gateway`). [translation.md](translation.md) has the same field by field.

{table(("cells", "in the tables", "meaning"), counts)}
A number leads to the [reason](#reasons). After every answer the suite also compares the usage that
the client was told with what the provider would bill, and the model's name with the registered
one. OPENAI and AZURE are called by chat completions, unless the caller speaks the Responses API,
the model calls tools by that alone, or its `providerSettings.api` says `responses`. CUSTOM is a
vendor that is compatible with OpenAI and shows its models' thoughts.
"""


def _section(door: str, notes: _Notes) -> str:
    heads = [_column(upstream) for upstream in UPSTREAMS]
    rows = list(_rows(door, notes))
    shown = table(("", *heads), rows)
    return f"## {_HEADS[door]}\n\n{_CLIENTS[door]}\n\n{shown}"


def _column(upstream: Upstream) -> str:
    by_responses = " (Responses)" if upstream.settings.get("api") == "responses" else ""
    return f"{upstream.provider.value}{by_responses}"


def _rows(door: str, notes: _Notes) -> Iterator[list[str]]:
    for title, scenarios in SECTIONS.items():
        tried = [one for one in scenarios if door in one.doors]
        if tried:
            yield [f"**{title}**", *("" for _ in UPSTREAMS)]
        for scenario in tried:
            found = [verdict(scenario.name, door, upstream.name) for upstream in UPSTREAMS]
            yield [scenario.title, *(_shown(one, notes) for one in found)]


def _shown(found: Verdict | None, notes: _Notes) -> str:
    if found is None:
        return "yes"
    return f"{_WORDS[type(found)]} {notes.mark(found.reason)}"
