"""Answers as each provider streams them, and what official clients make of each door's streams."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import orjson
from google import genai
from google.genai.types import HttpOptions

from model_service.gateway.recovery import RecoverableStream, recoverable
from model_service.gateway.routes import Operation, Route
from model_service.gateway.snapshot import SnapshotModel
from model_service.kernel.types import Provider
from model_service.providers.chat import (
    ChatEvent,
    ChatRequest,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningEnded,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.anthropic.writer import AnthropicWriter
from model_service.providers.dialects.google.writer import GoogleWriter
from model_service.providers.dialects.openai_chat.writer import ChatWriter
from model_service.providers.dialects.openai_responses.writer import ResponseWriter
from model_service.providers.faults import Fault, FaultKind
from model_service.providers.openai_faults import OpenAIFaults
from model_service.providers.translation import MARK, StreamWriter, Target
from model_service.providers.vendors import VENDORS
from tests.unit.gateway.keys import model

FAULT = Fault(FaultKind.TIMEOUT, "The provider fell silent")
USER = [{"role": "user", "content": "Where is it?"}]
BODIES: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "model": "first",
        "messages": USER,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "openai_responses": {"model": "first", "input": "Where is it?", "stream": True},
    "anthropic": {"model": "first", "messages": USER, "max_tokens": 100, "stream": True},
    "google": {"contents": [{"role": "user", "parts": [{"text": "Where is it?"}]}]},
}
DOORS = tuple(BODIES)

#: Where the second attempt goes, and which of these go on from a beginning.
PROVIDERS = ("openai", "azure", "anthropic", "anthropic-old", "google", "google-old", "ollama",
             "mistral")  # fmt: skip
PREFILLS = frozenset({"anthropic-old", "google-old", "ollama", "mistral"})
_UPSTREAM = {
    "openai": (Provider.OPENAI, "gpt-5.4"),
    "azure": (Provider.AZURE, "gpt-5.4"),
    "anthropic": (Provider.ANTHROPIC, "claude-opus-4-8"),
    "anthropic-old": (Provider.ANTHROPIC, "claude-haiku-4-5"),
    "google": (Provider.GOOGLE, "gemini-3.8-flash"),
    "google-old": (Provider.GOOGLE, "gemini-3.5-flash-lite"),
    "ollama": (Provider.OLLAMA, "llama3.3"),
    "mistral": (Provider.CUSTOM, "mistral-large"),
}


def registered(place: str, name: str = "first", **more: object) -> SnapshotModel:
    """A model of that provider."""
    provider, upstream = _UPSTREAM[place]
    vendor = VENDORS["mistral"] if place == "mistral" else None
    target = Target(name, provider, upstream, 4096, settings=more.pop("settings", {}))  # type: ignore[arg-type]
    return model(name, provider, target=target, vendor=vendor, **more)


def begin(door: str, place: str, **body: Any) -> RecoverableStream:
    """A stream at a door, its first attempt at that provider."""
    route = Route(door, door.partition("_")[0], Operation.CHAT)
    stream = recoverable(route, registered(place), {**BODIES[door], **body}, now=1000)
    assert stream is not None
    return stream


def answer(
    text: Sequence[str],
    calls: Sequence[tuple[str, str, Sequence[str]]] = (),
    thought: str = "",
    usage: Usage | None = None,
    name: str = "a1",
) -> list[ChatEvent]:
    """An answer's events: a thought, its text in pieces, calls of tools."""
    events: list[ChatEvent] = [Started(name, 77)]
    if thought:
        events += [ReasoningDelta(thought), ReasoningEnded()]
    events += [TextDelta(piece) for piece in text]
    for index, (call, tool, pieces) in enumerate(calls):
        events.append(ToolCallStarted(index, call, tool))
        events += [ToolCallDelta(index, piece) for piece in pieces]
    events.append(Finished(FinishReason.TOOL_CALLS if calls else FinishReason.STOP))
    return [*events, UsageReported(usage or Usage(input=9, output=7))]


def sent(place: str, door: str, events: Iterable[ChatEvent]) -> list[bytes]:
    """What the provider sends for each of them, to a caller at that door."""
    provider, _ = _UPSTREAM[place]
    by_responses = door == "openai_responses" and provider in (Provider.OPENAI, Provider.AZURE)
    if provider is Provider.OLLAMA:
        return _ollama_lines(events)
    writer: StreamWriter
    if by_responses:
        writer = ResponseWriter(ChatRequest("up", []), "up", OpenAIFaults())
    elif provider is Provider.ANTHROPIC:
        writer = AnthropicWriter("up")
    elif provider is Provider.GOOGLE:
        writer = GoogleWriter("up")
    else:
        writer = ChatWriter("up", include_usage=True)
    return [*filter(None, map(writer.write, events)), writer.end()]


def _ollama_lines(events: Iterable[ChatEvent]) -> list[bytes]:
    lines: list[bytes] = []
    calls: dict[int, tuple[str, str, list[str]]] = {}

    def line(message: dict[str, Any], **more: Any) -> None:
        head = {"model": "up", "created_at": "2026-11-20T14:03:24Z", "done": False}
        message = {"role": "assistant", "content": "", **message}
        lines.append(orjson.dumps({**head, "message": message, **more}) + b"\n")

    for event in events:
        match event:
            case TextDelta():
                line({"content": event.text})
            case ReasoningDelta():
                line({"thinking": event.text})
            case ToolCallStarted():
                calls[event.index] = (event.id, event.name, [])
            case ToolCallDelta():
                calls[event.index][2].append(event.arguments)
            case UsageReported():
                for call, name, pieces in calls.values():
                    function = {"name": name, "arguments": orjson.loads("".join(pieces))}
                    line({"tool_calls": [{"id": call, "function": function}]})
                usage = event.usage
                line(
                    {},
                    done=True,
                    done_reason="stop",
                    prompt_eval_count=usage.input,
                    eval_count=usage.output,
                )
            case _:
                pass
    return lines


def prefilled(body: dict[str, Any]) -> str:
    """The beginning that a request gives its model; empty without one."""
    turns = body.get("contents") or body.get("messages") or body.get("input")
    last = turns[-1] if isinstance(turns, list) else {}
    if last.get("role") not in ("assistant", "model"):
        return ""
    if "parts" in last:
        return "".join(part["text"] for part in last["parts"])
    content = last["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@dataclass
class Got:
    """What a caller made of a stream; `text` is what is left of it after all rewinds."""

    text: str = ""
    printed: str = ""
    thoughts: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    marks: list[dict[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    usage: tuple[int, int] | None = None

    def say(self, text: str | None) -> None:
        """More text."""
        self.text += text or ""
        self.printed += text or ""

    def mark(self, note: dict[str, Any] | None) -> None:
        """A mark of the gateway's own."""
        if note is not None:
            self.marks.append(note)
            if note["type"] == "rewind":
                assert note["text_offset"] < len(self.text)
                self.text = self.text[: note["text_offset"]]


class _Body:
    """What the clients get for their next call."""

    data = b""


def _answer2(_: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=_Body.data)


def _answer(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=_Body.data)


_HTTP = httpx2.Client(transport=httpx2.MockTransport(_answer2))
_OPENAI = openai.OpenAI(api_key="k", base_url="http://x.invalid/v1", http_client=_HTTP)
_ANTHROPIC = anthropic.Anthropic(api_key="k", base_url="http://x.invalid", http_client=_HTTP)
_GOOGLE = genai.Client(
    api_key="k",
    http_options=HttpOptions(
        base_url="http://x.invalid",
        httpx_client=httpx.Client(transport=httpx.MockTransport(_answer)),
    ),
)


def parsed(door: str, data: bytes) -> Got:
    """What the door's official client makes of a stream."""
    _Body.data = data
    got = _CLIENTS[door]()
    got.calls = [(call, name, orjson.loads(text or b"{}")) for call, name, text in got.calls]
    return got


def _chat() -> Got:
    got, calls = Got(), dict[int, list[str]]()
    for chunk in _OPENAI.chat.completions.create(model="m", messages=[], stream=True):
        got.ids.add(f"{chunk.id} {chunk.created}")
        if chunk.usage is not None:
            assert got.usage is None
            got.usage = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
        for choice in chunk.choices:
            got.say(choice.delta.content)
            got.thoughts += getattr(choice.delta, "reasoning_content", None) or ""
            for call in choice.delta.tool_calls or []:
                known = calls.setdefault(call.index, [call.id or "", "", ""])
                assert call.function is not None
                known[1] += call.function.name or ""
                known[2] += call.function.arguments or ""
            if choice.finish_reason:
                got.ends.append(choice.finish_reason)
        got.mark(getattr(chunk, MARK, None))
    got.calls = [(known[0], known[1], known[2]) for known in calls.values()]
    with _OPENAI.chat.completions.stream(model="m", messages=[]) as stream:
        whole = stream.get_final_completion().choices[0].message
    assert (whole.content or "") == got.printed
    return got


def _responses() -> Got:
    got = Got()
    with _OPENAI.responses.stream(model="m", input="x") as stream:
        for number, event in enumerate(stream):
            assert event.sequence_number == number
            got.mark(getattr(event, MARK, None))
            if event.type == "response.output_text.delta":
                got.say(event.delta)
            elif event.type == "response.completed":
                got.ends.append(event.response.status or "")
            elif event.type == "response.created":
                got.ids.add(f"{event.response.id} {event.response.created_at}")
        final = stream.get_final_response()
    got.ids.add(f"{final.id} {final.created_at}")
    assert final.output_text == got.printed
    got.calls = [
        (item.call_id, item.name, item.arguments)
        for item in final.output
        if item.type == "function_call"
    ]
    if final.usage is not None:
        got.usage = final.usage.input_tokens, final.usage.output_tokens
    return got


def _messages() -> Got:
    got = Got()
    with _ANTHROPIC.messages.stream(model="m", max_tokens=9, messages=[]) as stream:
        for event in stream:
            got.mark(getattr(event, MARK, None))
            if event.type == "text":
                got.say(event.text)
            elif event.type == "message_stop":
                got.ends.append(event.message.stop_reason or "")
            elif event.type == "message_start":
                got.ids.add(event.message.id)
        final = stream.get_final_message()
    texts = [block.text for block in final.content if block.type == "text"]
    assert "".join(texts) == got.printed
    got.calls = [
        (block.id, block.name, orjson.dumps(block.input))
        for block in final.content
        if block.type == "tool_use"
    ]
    got.usage = final.usage.input_tokens, final.usage.output_tokens
    return got


def _generate() -> Got:
    got = Got()
    for event in _Body.data.split(b"\n\n")[:-1]:  # its client does not show what it does not know
        document = orjson.loads(event.removeprefix(b"data: "))
        for part in document["candidates"][0].get("content", {}).get("parts", []):
            if not part.get("thought"):
                got.say(part.get("text"))
        got.mark(document.get(MARK))
    printed = ""
    for chunk in _GOOGLE.models.generate_content_stream(model="m", contents="x"):
        got.ids.add(str(chunk.response_id))
        assert chunk.candidates
        content = chunk.candidates[0].content
        for found in (content.parts if content else None) or []:
            if found.function_call is not None:
                call = found.function_call
                got.calls.append((call.id or "", call.name or "", orjson.dumps(call.args)))
            elif not found.thought:
                printed += found.text or ""
        if chunk.candidates[0].finish_reason is not None:
            got.ends.append(chunk.candidates[0].finish_reason.value)
        if chunk.usage_metadata is not None:
            told = chunk.usage_metadata
            got.usage = told.prompt_token_count or 0, told.candidates_token_count or 0
    assert printed == got.printed
    return got


_CLIENTS: dict[str, Callable[[], Got]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic": _messages,
    "google": _generate,
}
