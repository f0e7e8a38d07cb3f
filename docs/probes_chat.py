"""What upstreams are asked, for docs/translation.md: every field of a request and its parts."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from probes import HELLO, TEXTS, Probe, chat_row

from model_service.providers.chat import (
    Choice,
    Effort,
    Media,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    ReasoningRequest,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from model_service.providers.signatures import mark

_MARK = {"type": "ephemeral"}
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_TOOLS = [Tool("weather", "The weather of a city", _SCHEMA), Tool("clock", "The time", None)]
_OFFERED = replace(HELLO, tools=_TOOLS)
_PNG = "iVBORw0KGgoAAAAN"
_PDF = "JVBERi0xLjcK"
_WORDS = "a few words of a file"
_PLAIN = b64encode(_WORDS.encode()).decode()
_URL = "https://example.com/cat.png"
_ID = "file-0123456789"
_SOUND = "UklGRiQAAABXQVZF"


def _asked(name: str, **fields: Any) -> Probe:  # noqa: ANN401 - any field's
    return chat_row(name, reasoning=ReasoningRequest(**fields), values=True)


def _besides(name: str, **fields: Any) -> Probe:  # noqa: ANN401 - any field's
    """As `_asked`, of a model that thinks."""
    base = ReasoningRequest(Effort.HIGH)
    return chat_row(
        name,
        base=replace(HELLO, reasoning=base),
        reasoning=replace(base, **fields),
        values=True,
    )


def _choice(name: str, choice: ToolChoice) -> Probe:
    return chat_row(name, base=_OFFERED, tool_choice=choice, values=True)


def _shown(name: str, part: Part, *needle: str) -> Probe:
    """A part in the user's turn."""
    turn = Message(Role.USER, [Text("Look"), part])
    return Probe(name=name, base=HELLO, changed=replace(HELLO, messages=[turn]), needle=needle)


def _said(name: str, parts: list[Part], needle: str, *, call: bool = False) -> Probe:
    """Parts of an earlier turn of the model's."""
    turns = [Message(Role.USER, [Text("Hello")]), Message(Role.ASSISTANT, parts)]
    if call:
        turns.append(Message(Role.USER, [ToolResult("call_1", [Text("sunny")])]))
    else:
        turns.append(Message(Role.USER, [Text("Go on")]))
    changed = replace(HELLO, messages=turns, tools=_TOOLS if call else [])
    return Probe(name=name, base=HELLO, changed=changed, needle=(needle,))


def _answered(*results: ToolResult) -> list[Message]:
    calls: list[Part] = [ToolCall(result.call_id, "weather", "{}") for result in results]
    return [
        Message(Role.USER, [Text("Hello")]),
        Message(Role.ASSISTANT, calls),
        Message(Role.USER, [*results]),
    ]


def _result(
    name: str, result: ToolResult, needle: tuple[str, ...] = (), base: ToolResult | None = None
) -> Probe:
    before = replace(HELLO, tools=_TOOLS, messages=_answered(base or ToolResult("call_1", [])))
    after = replace(HELLO, tools=_TOOLS, messages=_answered(result))
    return Probe(name=name, base=before, changed=after, needle=needle, values=True)


def _thought(name: str, signature: str | None, *, redacted: bool = False) -> Probe:
    """A thought in an earlier turn. It is looked for by its text, or by its signature."""
    text = "" if redacted else "THOUGHT"
    part = Reasoning(text, signature, redacted=redacted, id="rs_1")
    return _said(name, [part, Text("Hello to you")], text or "SIGNED")


SAMPLING: Sequence[Probe] = (
    chat_row("max_tokens", max_tokens=100),
    chat_row("temperature", temperature=0.5),
    chat_row("top_p", top_p=0.9),
    chat_row("top_k", top_k=40),
    chat_row("stop", stop=["END"]),
    chat_row("n", n=2),
    chat_row("seed", seed=7),
    chat_row("presence_penalty", presence_penalty=0.5),
    chat_row("frequency_penalty", frequency_penalty=0.5),
    chat_row("logit_bias", logit_bias={"50256": -100}),
    chat_row("logprobs", logprobs=True),
    chat_row("top_logprobs", base=replace(HELLO, logprobs=True), logprobs=True, top_logprobs=3),
    chat_row("stream", stream=True),
)

ANNOTATIONS: Sequence[Probe] = (
    chat_row("user", user="ada"),
    chat_row("metadata", metadata={"team": "red"}),
    *(
        chat_row(f"service_tier: {tier}", service_tier=tier, values=True)
        for tier in ("default", "flex", "priority", "scale", "fast")
    ),
    *(
        chat_row(f"verbosity: {verbosity}", verbosity=verbosity, values=True)
        for verbosity in ("low", "medium", "high")
    ),
)

TOOLS: Sequence[Probe] = (
    chat_row("tools", tools=_TOOLS),
    chat_row(
        "tools.strict",
        base=replace(HELLO, tools=_TOOLS[:1]),
        tools=[replace(_TOOLS[0], strict=True)],
        values=True,
    ),
    _choice("tool_choice: auto", ToolChoice(Choice.AUTO)),
    _choice("tool_choice: required", ToolChoice(Choice.REQUIRED)),
    _choice("tool_choice: none", ToolChoice(Choice.NONE)),
    _choice("tool_choice: named", ToolChoice(Choice.NAMED, "clock")),
    _choice("tool_choice: auto, of some", ToolChoice(Choice.AUTO, allowed=["clock"])),
    _choice("tool_choice: required, of some", ToolChoice(Choice.REQUIRED, allowed=["clock"])),
    chat_row("parallel_tool_calls: false", base=_OFFERED, parallel_tool_calls=False, values=True),
    chat_row("parallel_tool_calls: true", base=_OFFERED, parallel_tool_calls=True, values=True),
)

OUTPUT: Sequence[Probe] = (
    chat_row("output: any JSON", output=OutputFormat()),
    chat_row("output: a schema", output=OutputFormat(_SCHEMA)),
    chat_row(
        "output: strict",
        base=replace(HELLO, output=OutputFormat(_SCHEMA)),
        output=OutputFormat(_SCHEMA, strict=True),
        values=True,
    ),
    chat_row(
        "output: its name",
        base=replace(HELLO, output=OutputFormat(_SCHEMA)),
        output=OutputFormat(_SCHEMA, name="place"),
        values=True,
    ),
    chat_row(
        "output: its description",
        base=replace(HELLO, output=OutputFormat(_SCHEMA)),
        output=OutputFormat(_SCHEMA, description="A place"),
        values=True,
    ),
)

REASONING: Sequence[Probe] = (
    *(_asked(f"reasoning: effort {effort}", effort=effort) for effort in Effort),
    _asked("reasoning: budget 0", budget=0),
    _asked("reasoning: budget 1,024", budget=1024),
    _asked("reasoning: budget 8,192", budget=8192),
    _asked("reasoning: budget 20,000", budget=20_000),
    _asked("reasoning: adaptive", adaptive=True),
    _besides("reasoning: shown", visible=True),
    _besides("reasoning: not shown", visible=False),
    _besides("reasoning: detailed summary", detail="detailed"),
)

SYSTEM: Sequence[Probe] = (
    Probe(
        name="system",
        base=HELLO,
        changed=replace(HELLO, system=[Text("ORDERS")]),
        needle=("ORDERS",),
    ),
    Probe(
        name="an instruction in mid-conversation",
        base=HELLO,
        changed=replace(HELLO, messages=[*HELLO.messages, Message(Role.SYSTEM, [Text("ORDERS")])]),
        needle=("ORDERS",),
    ),
    chat_row("messages.name", messages=[Message(Role.USER, [Text("Hello")], "ada")], values=True),
    chat_row(
        "messages.name, of two speakers",
        messages=[
            Message(Role.USER, [Text("Hello")], "ada"),
            Message(Role.USER, [Text("Hello")], "bob"),
        ],
    ),
    _said("a refusal in the history", [Refusal("NEVER")], "NEVER"),
)


def _marked(name: str, **fields: Any) -> Probe:  # noqa: ANN401 - any field's
    return replace(chat_row(name, **fields), needle=("ephemeral",))


CACHE: Sequence[Probe] = (
    _marked("cache_control, of system", system=[Text("Be brief", _MARK)]),
    _marked("cache_control, of a text", messages=[Message(Role.USER, [Text("Hello", _MARK)])]),
    _marked("cache_control, of a tool", tools=[replace(_TOOLS[0], cache=_MARK)]),
    _result(
        "cache_control, of a tool's result",
        ToolResult("call_1", [Text("sunny")], cache=_MARK),
        ("ephemeral",),
    ),
)

MEDIA: Sequence[Probe] = (
    _shown("image, data", Media("image", "image/png", data=_PNG), _PNG),
    _shown("image, URL", Media("image", url=_URL), _URL),
    _shown("image, id of a file", Media("image", file_id=_ID), _ID),
    _shown(
        "image, data, looked at closely", Media("image", "image/png", _PNG, detail="high"), _PNG
    ),
    _shown("PDF, data", Media("file", "application/pdf", data=_PDF, name="a.pdf"), _PDF),
    _shown("PDF, URL", Media("file", "application/pdf", url=_URL), _URL),
    _shown("PDF, id of a file", Media("file", "application/pdf", file_id=_ID), _ID),
    _shown(
        "text file, data", Media("file", "text/plain", data=_PLAIN, name="a.txt"), _PLAIN, _WORDS
    ),
    _shown("sound, WAV data", Media("audio", "audio/wav", data=_SOUND), _SOUND),
)

CALLS_MADE: Sequence[Probe] = (
    _said("a call in the history", [ToolCall("call_1", "weather", '{"city": "Rome"}')], "Rome",
          call=True),
    _result("a tool's result, text", ToolResult("call_1", [Text("RESULT")]), ("RESULT",)),
    _result(
        "a tool's result, marked as an error",
        ToolResult("call_1", [Text("no")], is_error=True),
        base=ToolResult("call_1", [Text("no")]),
    ),
    _result(
        "a tool's result, with an image",
        ToolResult("call_1", [Media("image", "image/png", data=_PNG)]),
        (_PNG,),
    ),
)  # fmt: skip


def thoughts(origin: str, another: str) -> Sequence[Probe]:
    """Thoughts in the history of an upstream whose signatures have that origin."""
    signed = {"openai_responses": "rs_1:SIGNED"}.get(origin, "SIGNED")
    return (
        _thought("a thought, signed by the provider", mark(origin, signed)),
        _thought("a hidden thought of the provider's", mark(origin, signed), redacted=True),
        _thought("a thought, signed by another", mark(another, "OTHER")),
        _thought("a hidden thought of another's", mark(another, "SIGNED"), redacted=True),
        _thought("a thought without signature", None),
        _said(
            "a call, signed by the provider",
            [ToolCall("call_1", "weather", "{}", mark(origin, "SIGNED"))],
            "SIGNED",
            call=True,
        ),
    )


EMBEDDINGS: Sequence[Probe] = (
    Probe(
        name="one text", base=TEXTS, changed=replace(TEXTS, inputs=["NEEDLE"]), needle=("NEEDLE",)
    ),
    Probe(
        name="several texts",
        base=TEXTS,
        changed=replace(TEXTS, inputs=["Hello", "NEEDLE"]),
        needle=("NEEDLE",),
    ),
    Probe(name="numbers of tokens", base=TEXTS, changed=replace(TEXTS, inputs=[[1, 2, 3]])),
    Probe(name="dimensions", base=TEXTS, changed=replace(TEXTS, dimensions=256)),
    Probe(name="user", base=TEXTS, changed=replace(TEXTS, user="ada")),
    Probe(name="task_type", base=TEXTS, changed=replace(TEXTS, task_type="RETRIEVAL_QUERY")),
    Probe(name="title", base=TEXTS, changed=replace(TEXTS, title="A book")),
)

#: The groups of the table of chats, in their order.
GROUPS: Mapping[str, Sequence[Probe]] = {
    "Sampling and bounds": SAMPLING,
    "Annotations": ANNOTATIONS,
    "Tools": TOOLS,
    "The form of the answer": OUTPUT,
    "Thinking": REASONING,
    "Instructions and names": SYSTEM,
    "Marks for caches": CACHE,
    "Images, files, sounds": MEDIA,
    "Calls and results of tools": CALLS_MADE,
}
