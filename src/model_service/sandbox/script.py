"""What every stand-in says: one deterministic mind behind all the wire formats.

A stand-in reads a request into an `Ask`, and writes the `Reply` in its provider's way. The
same question so has the same answer everywhere, and an answer shows what arrived: the text,
the system prompt, the number of images and files, the results of tools.

What the last user text may ask for
-----------------------------------

| words in it                      | effect                                                       |
|----------------------------------|--------------------------------------------------------------|
| the name of a tool on offer      | that tool is called, where calls are allowed                 |
| a tool's name, then `{...}`      | called with exactly this JSON object                         |
| `use a tool`, `use the tool`     | the first tool is called                                     |
| `both`                           | two calls at once, where parallel calls are allowed          |
| `aloud`                          | a sentence stands before the calls                           |
| `refuse`                         | a refusal                                                    |
| `cached`                         | half of the input counts as read from a cache                |
| `say nothing`                    | an empty answer, of no tokens                                |
| `count to N` (up to 1000)        | the numbers from 1 to N                                      |

Tokens
------

A run of letters and digits is one token, with the blanks before it; so is every other sign.
An image or a file is 100. Reasoning counts as output, cached tokens count as input, the
arguments of a call count as their JSON text.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import orjson

from model_service.sandbox.samples import arguments, sample

Finish = Literal["stop", "length", "tool_calls", "stop_sequence", "refusal"]

MEDIA_TOKENS: Final = 100
REFUSAL: Final = "I cannot help with that."
ALOUD: Final = "Let me look that up."

_TOKEN: Final = re.compile(r"\s*(?:\w+|[^\w\s])|\s+\Z")
_COUNT: Final = re.compile(r"\bcount to (\d{1,4})\b")
_USE: Final = re.compile(r"\buse (?:a|the|any) tool\b")
_BOTH: Final = re.compile(r"\bboth\b")
_LARGEST_COUNT: Final = 1000

# An odd length, so that fragments end inside of words and escapes.
_FRAGMENT: Final = 5


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """A tool that may be called; `schema` is that of its parameters, None when it has none."""

    name: str
    schema: object = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, as far as it changes the answer.

    `text` is the last user text; `results` are those of the tools called last, in order, of
    which `result_errors` were marked as errors; `prompt_text` is all text, to be counted.
    `may_call` is the automatic choice, `must_call` the forced one, `only_tool` a named one.
    `begun` is the beginning of the answer, where the request has it: no turn of its own.
    """

    text: str = ""
    turns: int = 1
    images: int = 0
    files: int = 0
    tools: Sequence[ToolOffer] = ()
    must_call: bool = False
    only_tool: str | None = None
    may_call: bool = False
    parallel: bool = True
    results: Sequence[str] = ()
    result_errors: int = 0
    schema: object = None
    json: bool = False
    reasoning: bool = False
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    system: str = ""
    prompt_text: str = ""
    begun: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. `text` is the JSON of its arguments, incomplete where the answer was cut."""

    name: str
    arguments: dict[str, object]
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `cached_tokens` are among the input's, `reasoning_tokens` among the output's."""

    reasoning: str | None = None
    text: str | None = None
    refusal: str | None = None
    calls: list[Call] = field(default_factory=list)
    finish: Finish = "stop"
    stop_sequence: str | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


def reply(ask: Ask) -> Reply:
    """The answer to a request."""
    lower = ask.text.lower()
    reasoning = _thought(ask) if ask.reasoning else None
    text: str | None = None
    refusal: str | None = None
    calls: list[Call] = []
    finish: Finish = "stop"
    stop_sequence = None
    if "refuse" in lower:
        refusal, finish = REFUSAL, "refusal"
    else:
        calls = _calls(ask)
        if calls:
            text, finish = ALOUD if "aloud" in lower else None, "tool_calls"
        else:
            text = _said(ask)
            if ask.begun and text.startswith(ask.begun):
                text = text.removeprefix(ask.begun)
        text, stop_sequence = _stopped(text, ask.stop)
        if stop_sequence is not None:
            calls, finish = [], "stop_sequence"
    budget = _Budget(ask.max_tokens)
    reasoning, text, refusal = budget.cut(reasoning), budget.cut(text), budget.cut(refusal)
    calls = budget.cut_calls(calls)
    if budget.exceeded:
        finish, stop_sequence = "length", None
    input_tokens = prompt_tokens(ask)
    return Reply(
        reasoning=reasoning,
        text=text,
        refusal=refusal,
        calls=calls,
        finish=finish,
        stop_sequence=stop_sequence,
        input_tokens=input_tokens,
        cached_tokens=input_tokens // 2 if "cached" in lower else 0,
        output_tokens=budget.spent,
        reasoning_tokens=count(reasoning or ""),
    )


def prompt_tokens(ask: Ask) -> int:
    """How many tokens a request has; at least one."""
    return max(1, count(ask.prompt_text) + MEDIA_TOKENS * (ask.images + ask.files))


def count(text: str) -> int:
    """How many tokens a text has."""
    return len(_TOKEN.findall(text))


def fragments(text: str) -> list[str]:
    """A text as a stream brings it: token by token."""
    return _TOKEN.findall(text)


def json_fragments(text: str) -> list[str]:
    """The JSON of arguments as a stream brings it: cut without regard to its meaning."""
    return [text[start : start + _FRAGMENT] for start in range(0, len(text), _FRAGMENT)]


def vector(text: str, size: int) -> list[float]:
    """The embedding of a text: a vector of length one that depends on the text alone."""
    numbers: list[float] = []
    block = 0
    while len(numbers) < size:
        digest = hashlib.sha256(f"{block}:{text}".encode("utf-8", "surrogatepass")).digest()
        numbers += [byte / 127.5 - 1.0 for byte in digest]
        block += 1
    numbers = numbers[:size]
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]


class _Budget:
    """The tokens an answer may have, spent in the order in which it is given."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self.spent = 0
        self.exceeded = False

    def cut(self, text: str | None) -> str | None:
        """As much of `text` as there is room for; None when there is room for nothing of it."""
        if text is None or self.exceeded:
            return None
        tokens = _TOKEN.findall(text)
        if self._most is not None and self.spent + len(tokens) > self._most:
            tokens = tokens[: self._most - self.spent]
            self.exceeded = True
            text = "".join(tokens) or None
        self.spent += len(tokens)
        return text

    def cut_calls(self, calls: Sequence[Call]) -> list[Call]:
        kept: list[Call] = []
        for call in calls:
            text = self.cut(call.text)
            if text is not None:
                kept.append(Call(call.name, call.arguments, text))
        return kept


def _thought(ask: Ask) -> str:
    return "The user wants this: " + " ".join(ask.text.split()[:5])


def _said(ask: Ask) -> str:
    if ask.schema is not None:
        return orjson.dumps(sample(ask.schema)).decode()
    if ask.json:
        return orjson.dumps({"said": ask.text}).decode()
    lower = ask.text.lower()
    if "say nothing" in lower:
        return ""
    counted = _COUNT.search(lower)
    if counted:
        return " ".join(str(number + 1) for number in range(min(int(counted[1]), _LARGEST_COUNT)))
    parts = [f"You said: {ask.text}"]
    if ask.system:
        parts.append(f"My orders: {ask.system}")
    if ask.turns > 1:
        parts.append(f"Turns: {ask.turns}")
    if ask.images:
        parts.append(f"Images: {ask.images}")
    if ask.files:
        parts.append(f"Files: {ask.files}")
    if ask.results:
        parts.append(f"Results: {', '.join(ask.results)}")
    if ask.result_errors:
        parts.append(f"Failed: {ask.result_errors}")
    return "\n".join(parts)


def _calls(ask: Ask) -> list[Call]:
    forced = ask.must_call or ask.only_tool is not None
    if not ask.tools or not (forced or (ask.may_call and not ask.results)):
        return []
    chosen = _chosen(ask)
    if not ask.parallel:
        chosen = chosen[:1]
    return [_call(ask.text, tool, number) for number, tool in enumerate(chosen, 1)]


def _chosen(ask: Ask) -> list[ToolOffer]:
    """The tools to call, in order."""
    lower = ask.text.lower()
    twice = _BOTH.search(lower) is not None
    if ask.only_tool is not None:
        only = [tool for tool in ask.tools if tool.name == ask.only_tool]
        return only * 2 if twice else only
    places = {tool.name: _place(ask.text, tool.name) for tool in ask.tools}
    named = sorted(
        (tool for tool in ask.tools if places[tool.name] >= 0), key=lambda tool: places[tool.name]
    )
    if not named and not ask.must_call and not twice and not _USE.search(lower):
        return []
    if twice and len(named) < 2:
        rest = [tool for tool in ask.tools if tool not in named]
        return ([*named, *rest] * 2)[:2]
    return named or [ask.tools[0]]


def _place(text: str, name: str) -> int:
    """Where a text names a tool as a word of its own, or -1."""
    found = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
    return found.start() if found else -1


def _call(text: str, tool: ToolOffer, number: int) -> Call:
    given = _given(text, tool.name)
    made = arguments(tool.schema, number) if given is None else given
    return Call(tool.name, made, orjson.dumps(made).decode())


def _given(text: str, name: str) -> dict[str, object] | None:
    """The arguments that the text itself has behind a tool's name."""
    place = _place(text, name)
    rest = text[place + len(name) :].lstrip() if place >= 0 else ""
    if not rest.startswith("{"):
        return None
    end = rest.find("}")
    while end >= 0:
        try:
            value = orjson.loads(rest[: end + 1])
        except orjson.JSONDecodeError:
            end = rest.find("}", end + 1)
        else:
            return value if isinstance(value, dict) else None
    return None


def _stopped(text: str | None, stop: Sequence[str]) -> tuple[str | None, str | None]:
    """The text before the first stop sequence in it, and that sequence."""
    places = [(text.find(sign), sign) for sign in stop if text and sign and sign in text]
    if text is None or not places:
        return text, None
    place, sign = min(places)
    return text[:place], sign
