"""`docs/translation.md`: what becomes of each field of a request, found out by asking the code."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from probes import NOTHING, Probe, Write, chat_write, differences, embed_write, observe
from probes_chat import (
    EMBEDDINGS,
    GROUPS,
    OUTPUT,
    REASONING,
    SAMPLING,
    SYSTEM,
    TOOLS,
    thoughts,
)
from probes_doors import DOORS_ASKED, Door, result
from tables import NOTE, table

from model_service.kernel.types import Provider
from model_service.providers.calls import CALLS, FAULT_DOORS
from model_service.providers.faults import Fault, FaultKind
from model_service.providers.translation import Document, Passthrough, Target
from model_service.providers.vendors import VENDORS

#: How each upstream dialect is written to, by the head of its column, and whose its signatures are.
UPSTREAMS: Mapping[str, tuple[Write, str]] = {
    "OPENAI, AZURE": (chat_write(Provider.OPENAI, "gpt-4.1"), "openai_chat"),
    "the same by the Responses API": (
        chat_write(Provider.OPENAI, "gpt-5.5", responses=True),
        "openai_responses",
    ),
    "ANTHROPIC": (chat_write(Provider.ANTHROPIC, "claude-sonnet-4-5"), "anthropic"),
    "GOOGLE": (chat_write(Provider.GOOGLE, "gemini-3.8-flash"), "google"),
    "OLLAMA": (chat_write(Provider.OLLAMA, "llama3.2"), "ollama"),
    "CUSTOM": (chat_write(Provider.CUSTOM, "any-model"), "openai_chat"),
}
EMBEDDERS: Mapping[str, Write] = {
    "OPENAI, AZURE": embed_write(Provider.OPENAI, "text-embedding-3-small"),
    "GOOGLE": embed_write(Provider.GOOGLE, "gemini-embedding-001"),
    "OLLAMA": embed_write(Provider.OLLAMA, "nomic-embed-text"),
    "CUSTOM": embed_write(Provider.CUSTOM, "any-model"),
}

#: Models that take other things than the one in the tables above.
FAMILIES: Mapping[str, Mapping[str, Write]] = {
    "Claude": {
        name: chat_write(Provider.ANTHROPIC, name)
        for name in (
            "claude-sonnet-4-5",
            "claude-opus-4-8",
            "claude-sonnet-5",
            "claude-haiku-5-5",
            "claude-sonnet-5-5",
            "claude-opus-5-5",
        )
    },
    "Gemini": {
        name: chat_write(Provider.GOOGLE, name)
        for name in (
            "gemini-2.5-flash",
            "gemini-2.5-pro",
            "gemini-3.1-pro-preview",
            "gemini-3.5-flash-lite",
            "gemini-3.8-flash",
        )
    },
}

_OF_FAMILIES: Sequence[Probe] = (*SAMPLING, *TOOLS, *OUTPUT[:2], *REASONING, SYSTEM[1])
_DROPPED_HEADER = "`x-model-service-dropped`"


def translation_page() -> str:
    """`docs/translation.md`."""
    return f"""{NOTE}

# Translation, field by field

How the gateway ([gateway.md](gateway.md)) carries a request from the API it came by to the API
of the model's provider. Everything here was found out by asking the code, so it is what the code
does: `make docs` asks again, and `make check` fails when the answers are others.

A call whose door speaks the provider's own API is not translated: see
[what passes through](#what-passes-through). Any other is read into one intermediate form, whose
fields are the names in the first column of the [tables of providers](#at-the-providers), and
written anew from it.

| in a cell | meaning |
| --- | --- |
| a name in code | where it goes, and the value where it matters; `[]` is any item of a list |
| without, fewer | what is left out because of it |
| refused | the request gets 400, naming the field, with this reason |
| dropped | it is left out, as the answer is the same without it, and listed in {_DROPPED_HEADER} |
| {NOTHING} | nothing goes out for it and nothing is lost: it is so anyway |

A model with `"dropUnsupported": true` in its `providerSettings` has dropped, and listed, what
others are refused for; only what is said in messages is refused even then.

## What passes through

These calls keep every field, known or not. The edits, with a registered `maxTokens` of 4096 and a
`defaultTemperature` of 0.7, are all that changes, and only where the caller is silent; beside them,
thoughts that another provider signed are taken out of the history, as they would be refused.

{_passing()}
Other headers of callers do not go on.

## At the doors

What callers send that is translated. The second column is the field of the intermediate form.

{"".join(map(_door_section, DOORS_ASKED.values()))}## At the providers

OPENAI and AZURE are called by chat completions, unless the model's `providerSettings` have
`"api": "responses"`; where they have no `api`, a model that takes functions by the Responses API
alone is called by that when a request has tools and came by another door than OpenAI's.

{
        "".join(_group_section(title, probes) for title, probes in GROUPS.items())
    }### Thoughts in the history, and signed calls

Signatures go back to the provider they came from, and to no other.

{_thoughts_table()}
## Where models differ

The tables above are of `gpt-4.1` (`gpt-5.5` by the Responses API), `claude-sonnet-4-5`,
`gemini-3.8-flash` and an Ollama model.
Here are the rows that are not the same for all models of a provider.

{"".join(_family_section(title, models) for title, models in FAMILIES.items())}### Vendors

A CUSTOM model with a `preset` is called as one without, but for these rows. The same renaming
is done to calls that pass through.

{_vendors_table()}
## Embeddings

{
        table(
            ("field", *EMBEDDERS),
            [
                (
                    probe.name,
                    *(observe(write, probe).cell(probe.name) for write in EMBEDDERS.values()),
                )
                for probe in EMBEDDINGS
            ],
        )
    }
ANTHROPIC has none: 400.

## Counting tokens

`POST /v1/messages/count_tokens` and `:countTokens` ask the provider, for whom counting costs
nothing: {_counting()}. Other providers have nothing like it: 400.

## Errors

The status that an error has at each door, with the word for it there. A provider's own status
wins where it answered with one.

{_faults_table()}"""


def _passing() -> str:
    rows = []
    for provider, spec in CALLS.items():
        for door, passthrough in spec.passthroughs.items():
            edits = _edits(door, passthrough, provider, stream=False)
            streamed = _edits(door, passthrough, provider, stream=True)
            more = [edit for edit in streamed if edit not in edits]
            headers = [f"`{name.decode()}`" for name in sorted(spec.forwards.get(door, ()))]
            cells = ["; ".join(names) or NOTHING for names in (edits, more, headers)]
            rows.append((provider.value, f"`{door}`", *cells))
    head = ("provider", "door", "edits", "more in streams", "headers that go on")
    return table(head, rows)


def _edits(
    door: str, passthrough: Passthrough, provider: Provider, *, stream: bool
) -> Sequence[str]:
    asked = DOORS_ASKED[door].base
    body: Document = {"model": "registered", **asked} if door != "google" else dict(asked)
    before = dict(body)
    target = Target("registered", provider, "theirs", 4096, 0.7)
    outgoing = passthrough.request(body, target, stream=stream)
    return list(differences(before, outgoing.body, values=True))


def _door_section(door: Door) -> str:
    rows = [(_code(given.name), result(door.read, door.base, given)) for given in door.given]
    return f"### {door.title}\n\n{table(('field', 'read into'), rows)}\n"


def _code(name: str) -> str:
    """A field's name as code, with the words about it beside."""
    if name.startswith("modalities"):
        return f"`{name}`"
    head, mark, rest = name.partition(",") if "," in name else name.partition(" (")
    if head == "anything else" or head.startswith("citations"):
        return name
    return f"`{head}`{mark}{rest}" if "`" not in name else name


def _row(probe: Probe) -> tuple[str, ...]:
    cells = (observe(write, probe).cell(probe.name) for write, _ in UPSTREAMS.values())
    return probe.name, *cells


def _group_section(title: str, probes: Sequence[Probe]) -> str:
    return f"### {title}\n\n{table(('field', *UPSTREAMS), [_row(probe) for probe in probes])}\n"


def _thoughts_table() -> str:
    columns = []
    for write, origin in UPSTREAMS.values():
        another = "google" if origin == "anthropic" else "anthropic"
        columns.append(
            [observe(write, probe).cell(probe.name) for probe in thoughts(origin, another)]
        )
    names = [probe.name for probe in thoughts("google", "anthropic")]
    return table(("in the history", *UPSTREAMS), list(zip(names, *columns, strict=True)))


def _family_section(title: str, models: Mapping[str, Write]) -> str:
    rows = []
    for probe in _OF_FAMILIES:
        shown = replace(probe, values=True)
        cells = [observe(write, shown).cell(probe.name) for write in models.values()]
        if len(set(cells)) > 1:
            rows.append((probe.name, *cells))
    if not rows:
        return ""
    heads = [f"`{name}`" for name in models]
    return f"### {title}\n\n{table(('field', *heads), rows)}\n"


def _vendors_table() -> str:
    plain, _ = UPSTREAMS["CUSTOM"]
    rows = []
    for preset, vendor in VENDORS.items():
        write = chat_write(Provider.CUSTOM, "any-model", vendor=vendor)
        for probe in (probe for probes in GROUPS.values() for probe in probes):
            there = observe(write, probe).cell(probe.name)
            usual = observe(plain, probe).cell(probe.name)
            if there != usual:
                rows.append((f"`{preset}`", probe.name, there, usual))
    return table(("preset", "field", "there", "without a preset"), rows)


def _counting() -> str:
    ways = [provider.value for provider, spec in CALLS.items() if spec.counts is not None]
    return ", ".join(ways[:-1]) + f" and {ways[-1]}"


def _faults_table() -> str:
    return table(("kind", "openai", "anthropic", "google"), list(_fault_rows()))


def _fault_rows() -> Iterator[tuple[str, ...]]:
    for kind in FaultKind:
        fault = Fault(kind, "...")
        cells = []
        for family in ("openai", "anthropic", "google"):
            door = FAULT_DOORS[family]
            error = door.error(fault, "")["error"]
            word = error["status"] if family == "google" else error["type"]
            cells.append(f"{door.status(fault)} `{word}`")
        yield (f"`{kind.value}`", *cells)
