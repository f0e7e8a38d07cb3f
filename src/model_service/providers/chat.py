"""The typed intermediate form of a chat call, which every dialect is translated to and from.

A request and a whole answer are trees of the classes here; a stream is a sequence of the events.
`assembly` makes one of the other, so that a dialect has one mapping for both.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Document = dict[str, Any]
"""A JSON object that this form does not look into: a JSON schema, metadata."""


class Role(StrEnum):
    """Who says it. SYSTEM is an instruction in mid-conversation; leading ones are `system`."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """By itself."""
    LENGTH = "length"
    """At the limit of tokens, or at the end of the context window."""
    TOOL_CALLS = "tool_calls"
    """It waits for results of tools."""
    CONTENT_FILTER = "content_filter"
    """A filter of the provider's stopped it."""
    REFUSAL = "refusal"
    """The model refused."""
    STOP_SEQUENCE = "stop_sequence"
    """At one of the stop sequences."""
    PAUSE = "pause"
    """A long turn was paused (Anthropic's `pause_turn`); send it back to go on."""


# Parts of messages: built often and never shared, so they are not frozen.


@dataclass(slots=True)
class Text:
    """Plain text. `cache` is Anthropic's `cache_control`, kept as it is, where one was given."""

    text: str
    cache: Document | None = None


@dataclass(slots=True)
class Media:
    """An image, a file or a sound.

    Either `data` (base64, with `media_type`) or `url` or `file_id` (of a file that the provider
    has) is there. URLs are never fetched here. `kind` is `image`, `file` or `audio`; `detail` is
    OpenAI's (`low`, `high`, `auto`).
    """

    kind: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    name: str | None = None
    detail: str | None = None
    cache: Document | None = None


@dataclass(slots=True)
class ToolCall:
    """The model wants a tool called. `arguments` is JSON text, as the model wrote it.

    It may be empty or cut; whoever has to have an object uses `arguments_object`. `signature` is
    what Gemini wants back with the call (`thoughtSignature`), marked as `signatures` says.
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None
    cache: Document | None = None


@dataclass(slots=True)
class ToolResult:
    """What a tool gave. `name` is the tool's, where the dialect says it."""

    call_id: str
    parts: list["Text | Media"]
    name: str | None = None
    is_error: bool = False
    cache: Document | None = None


@dataclass(slots=True)
class Reasoning:
    """What the model thought.

    `signature` is what its provider wants back unchanged, marked as `signatures` says;
    `redacted` says that the thought itself is hidden in it. `id` is the Responses API's.
    """

    text: str
    signature: str | None = None
    redacted: bool = False
    id: str | None = None


@dataclass(slots=True)
class Refusal:
    """The model's own words for not answering."""

    text: str


Part = Text | Media | ToolCall | ToolResult | Reasoning | Refusal


@dataclass(slots=True)
class Message:
    """One turn. Results of tools are parts of user turns, calls of assistant turns."""

    role: Role
    parts: list[Part]
    name: str | None = None


@dataclass(slots=True)
class Tool:
    """A function that the model may call; `schema` is the JSON schema of its arguments."""

    name: str
    description: str | None = None
    schema: Document | None = None
    strict: bool | None = None
    cache: Document | None = None


class Choice(StrEnum):
    """Whether tools are called. NAMED: the one tool that is named."""

    AUTO = "auto"
    REQUIRED = "required"
    NONE = "none"
    NAMED = "named"


@dataclass(slots=True)
class ToolChoice:
    """Which tools the model may or must call; `allowed` limits it to some of them."""

    kind: Choice
    name: str | None = None
    allowed: list[str] | None = None


@dataclass(slots=True)
class OutputFormat:
    """A form that the answer has to have. Without a `schema`: any JSON object."""

    schema: Document | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Effort(StrEnum):
    """How much a model should think; NONE: not at all."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


@dataclass(slots=True)
class ReasoningRequest:
    """How the model should think. At most one of `effort` and `budget` (tokens) is there.

    `adaptive`: as much as it finds right. `visible`: whether its thoughts, or a summary, are to
    be shown; None leaves it to the provider. `detail` is the kind of summary (`auto`,
    `concise`, `detailed`).
    """

    effort: Effort | None = None
    budget: int | None = None
    adaptive: bool = False
    visible: bool | None = None
    detail: str | None = None


def wants_thinking(asked: ReasoningRequest | None) -> bool:
    """Whether the model is asked to think, in whatever way."""
    if asked is None or asked.effort is Effort.NONE or asked.budget == 0:
        return False
    return asked.adaptive or asked.effort is not None or asked.budget is not None


@dataclass
class ChatRequest:
    """A whole request. None, or an empty list, means that the caller did not say.

    There are no slots: what `plain_request` does not set is the class's.
    """

    model: str
    messages: list[Message]
    system: list[Text] = field(default_factory=list)
    stream: bool = False
    include_usage: bool = True
    """Whether the caller wants usage at the end of a stream (OpenAI's `stream_options`)."""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    n: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Document | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    verbosity: str | None = None
    reasoning: ReasoningRequest | None = None
    user: str | None = None
    metadata: Document | None = None
    service_tier: str | None = None
    dropped: list[str] = field(default_factory=list)
    """Names, as the door spells them, of what it read and this form has no place for, because it
    cannot change the answer (hints for caches). They are listed with what the upstream drops."""
    is_plain: bool = field(default=False, init=False, repr=False, compare=False)
    """Set by `plain_request` alone. Who asks for more copies the request, which resets it."""


@dataclass(slots=True)
class Usage:
    """Tokens by class. The classes are disjoint, save that `reasoning` is part of `output`.

    `cache_write` are those written for the shortest lifetime (Anthropic: 5 minutes),
    `cache_write_1h` those for an hour, which cost more. `tier` is the service tier in OpenAI's
    words, None for the usual one.
    """

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    tier: str | None = field(default=None, compare=False)

    @property
    def prompt(self) -> int:
        """Everything that went in, as OpenAI and Google count it."""
        return self.input + self.cached_input + self.cache_write + self.cache_write_1h

    @property
    def total(self) -> int:
        """Everything."""
        return self.prompt + self.output


@dataclass(slots=True)
class Candidate:
    """One of the answers. `logprobs` is in the form of OpenAI's chat completions."""

    parts: list[Part]
    finish: FinishReason
    stop_sequence: str | None = None
    logprobs: Document | None = None


@dataclass(slots=True)
class ChatAnswer:
    """A whole answer. `id` is the provider's, `created` in seconds since 1970.

    `request` is what it answers, for a door that repeats that (OpenAI's responses); the gateway
    sets it.
    """

    id: str
    candidates: list[Candidate]
    usage: Usage
    created: int | None = None
    service_tier: str | None = None
    request: ChatRequest | None = None


# The events of a stream, in the order in which they come: `Started`, then deltas and `Finished`
# for each candidate, and `UsageReported` (each replaces the one before: never add them up).


@dataclass(slots=True)
class Started:
    """The provider began to answer."""

    id: str
    created: int | None = None
    service_tier: str | None = None


@dataclass(slots=True)
class TextDelta:
    """More text."""

    text: str
    candidate: int = 0
    logprobs: Document | None = None


@dataclass(slots=True)
class ReasoningDelta:
    """More of a thought. The first after another kind of event begins a new one."""

    text: str
    candidate: int = 0
    id: str | None = None


@dataclass(slots=True)
class ReasoningEnded:
    """The thought is complete; `signature` is marked as `signatures` says.

    With `redacted` there were no deltas: the whole thought is hidden in the signature.
    """

    signature: str | None = None
    redacted: bool = False
    candidate: int = 0
    id: str | None = None


@dataclass(slots=True)
class RefusalDelta:
    """More of the model's refusal."""

    text: str
    candidate: int = 0


@dataclass(slots=True)
class ToolCallStarted:
    """A call begins; `index` counts the calls of a candidate from 0."""

    index: int
    id: str
    name: str
    candidate: int = 0
    signature: str | None = None


@dataclass(slots=True)
class ToolCallDelta:
    """More of a call's arguments, as JSON text."""

    index: int
    arguments: str
    candidate: int = 0


@dataclass(slots=True)
class Finished:
    """A candidate is complete."""

    reason: FinishReason
    candidate: int = 0
    stop_sequence: str | None = None


@dataclass(slots=True)
class UsageReported:
    """What has been used so far, all of it."""

    usage: Usage


ChatEvent = (
    Started
    | TextDelta
    | ReasoningDelta
    | ReasoningEnded
    | RefusalDelta
    | ToolCallStarted
    | ToolCallDelta
    | Finished
    | UsageReported
)
