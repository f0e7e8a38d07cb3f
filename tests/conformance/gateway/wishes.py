"""What callers ask for and what they are told, in no dialect: doors have their own words for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Document = dict[str, Any]


class NoWords(Exception):
    """The door's dialect has no words for it."""


@dataclass(frozen=True, slots=True)
class Media:
    """An image or a file, by its data (base64) or its URL."""

    kind: str
    media_type: str
    data: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class User:
    """What the user says."""

    text: str
    media: Sequence[Media] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A tool's call; `arguments` as the caller gets them, put together and parsed."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Calls:
    """What the assistant called, in a history that no answer is kept of."""

    calls: Sequence[Call]


@dataclass(frozen=True, slots=True)
class Said:
    """What the assistant said, in a history that no answer is kept of."""

    text: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction in mid-conversation."""

    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool gave."""

    call: Call
    text: str
    is_error: bool = False
    image: Media | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """What the tools gave, all in one turn."""

    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Used tokens: `prompt` is all that went in. A class that the door does not tell is None."""

    prompt: int
    output: int
    cached: int | None = None
    written: int | None = None
    reasoning: int | None = None


@dataclass(slots=True)
class Told:
    """An answer. `native` is how the caller sends it back, in the door's dialect.

    `finish` is `stop`, `length`, `tools` or `filter`; `deltas` counts the pieces of text, and
    `argument_deltas` those of arguments, that a stream came in.
    """

    text: str = ""
    thoughts: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str = ""
    refused: bool = False
    stop_sequence: str | None = None
    usage: Tokens | None = None
    native: list[Any] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
    logprobs: bool = False
    model: str | None = None
    deltas: int = 0
    argument_deltas: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that goes back as it came, with its thoughts and signatures."""

    told: Told


Turn = User | Calls | Said | Instruction | Results | Answered


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool on offer."""

    name: str
    schema: Document | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A request. `sampling` holds fields by the names of the intermediate form.

    `choice` is `auto`, `required`, `none`, or a tool's name. `thinking` asks for thoughts, and
    `shown` to see them. `more` is put into the body as it is.
    """

    turns: Sequence[Turn] = ()
    system: Sequence[str] = ()
    tools: Sequence[Tool] = ()
    choice: str | None = None
    parallel: bool | None = None
    schema: Document | None = None
    json: bool = False
    thinking: bool | None = None
    shown: bool = False
    stop: Sequence[str] = ()
    max_tokens: int | None = None
    cache: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = False

    def streamed(self) -> "Wish":
        """The same as a stream."""
        return replace(self, stream=True)

    def then(self, *turns: Turn) -> "Wish":
        """The same with more turns."""
        return replace(self, turns=[*self.turns, *turns])
