"""POST /v1/chat/completions: what was asked, and the answer, whole or in chunks.

Formats after https://developers.openai.com/api/reference/resources/chat and streams of the
live API.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from model_service.sandbox import openai_conversation as conversation
from model_service.sandbox.delivery import Mark, Piece
from model_service.sandbox.openai_chat_rules import effort
from model_service.sandbox.openai_models import Abilities
from model_service.sandbox.openai_wire import (
    event,
    identifier,
    obfuscation,
    token_logprobs,
)
from model_service.sandbox.script import Ask, Reply, ToolOffer, fragments, json_fragments

Body = Mapping[str, Any]  # Any: a wire edge, of a shape that was checked
Chunk = dict[str, Any]  # Any: JSON on its way out, which Azure adds to

_FINISH: Final = {
    "stop": "stop",
    "refusal": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}


def ask(body: Body, can: Abilities) -> Ask:
    """The request as the stand-ins' mind reads it."""
    messages = body["messages"]
    choice = body.get("tool_choice", "auto")
    kind = choice if isinstance(choice, str) else choice["type"]
    offered = [tool["function"] for tool in body.get("tools") or ()]
    tools = offered
    allowed = choice["allowed_tools"] if kind == "allowed_tools" else None
    if allowed is not None:
        kind = allowed["mode"]
        names = {tool["function"]["name"] for tool in allowed["tools"]}
        tools = [tool for tool in tools if tool["name"] in names]
    form = body.get("response_format") or {}
    stop = body.get("stop") or []
    images = conversation.count(messages, "image_url")
    return Ask(
        text=conversation.last_of(messages, "user"),
        turns=conversation.turns(messages),
        images=images,
        files=conversation.count(messages, "file"),
        tools=[ToolOffer(tool["name"], tool.get("parameters")) for tool in tools],
        must_call=kind == "required",
        only_tool=choice["function"]["name"] if kind == "function" else None,
        may_call=kind == "auto",
        parallel=body.get("parallel_tool_calls", True),
        results=conversation.last_results(messages),
        schema=form["json_schema"].get("schema") if form.get("type") == "json_schema" else None,
        json=form.get("type") == "json_object",
        reasoning=effort(body, can) not in {"none", "minimal"},
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=[stop] if isinstance(stop, str) else stop,
        system=conversation.instructions(messages),
        prompt_text=conversation.prompt(messages, offered),
    )


@dataclass(slots=True)
class Spent:
    """The tokens of one call as OpenAI counts them: `cached` and `written` are in `prompt`."""

    prompt: int
    cached: int
    written: int
    completion: int
    reasoning: int


@dataclass(slots=True)
class Completion:
    """One answer of Chat Completions.

    `model` is the snapshot that gives it, `filtered` whether a filter cut it off.
    """

    body: Body
    model: str
    reply: Reply
    spent: Spent
    cache_writes: bool = False
    filtered: bool = False
    id: str = field(default_factory=lambda: identifier("chatcmpl-", 29))
    created: int = field(default_factory=lambda: int(time.time()))
    _call_ids: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._call_ids = [
            [identifier("call_") for _ in self.reply.calls] for _ in range(self.choices)
        ]

    @property
    def choices(self) -> int:
        """How many answers were asked for."""
        return self.body.get("n") or 1

    def whole(self) -> Chunk:
        """The answer in one piece."""
        return {
            **self._head("chat.completion"),
            "choices": [self._choice(index) for index in range(self.choices)],
            "usage": self._usage(),
            "service_tier": self._tier(),
            "system_fingerprint": self._fingerprint(),
        }

    def chunks(self) -> Iterator[tuple[Chunk, Mark]]:
        """The answer in pieces, the closing mark left out."""
        for index in range(self.choices):
            delta: Chunk = {"role": "assistant", "content": "", "refusal": None}
            if self.reply.calls and not self.reply.text:
                delta["content"] = None
            yield self._chunk(index, delta), Mark.OPENING
        # Answers that are given at once come in turns.
        rows = zip(*(list(self._deltas(index)) for index in range(self.choices)), strict=True)
        for row in rows:
            for index, (delta, logprobs) in enumerate(row):
                yield self._chunk(index, delta, logprobs=logprobs), Mark.CONTENT
        for index in range(self.choices):
            yield self._chunk(index, {}, finish=self._finish()), Mark.FINISH
        if self.counts:
            head = self._chunk(0, {})
            yield {**head, "choices": [], "usage": self._usage()}, Mark.FINISH

    def more(self, text: str) -> Chunk:
        """One more piece of text."""
        return self._chunk(0, {"content": text})

    @property
    def counts(self) -> bool:
        """Whether usage was asked for in a stream."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    def _head(self, kind: str) -> Chunk:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _choice(self, index: int) -> Chunk:
        reply = self.reply
        content = reply.text
        if content is None and not reply.calls and reply.refusal is None:
            content = ""
        message: Chunk = {
            "role": "assistant",
            "content": content,
            "refusal": reply.refusal,
            "annotations": [],
        }
        if reply.calls:
            message["tool_calls"] = [
                {
                    "id": self._call_ids[index][number],
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.text},
                }
                for number, call in enumerate(reply.calls)
            ]
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(content or ""),
            "finish_reason": self._finish(),
        }

    def _deltas(self, index: int) -> Iterator[tuple[Chunk, Chunk | None]]:
        reply = self.reply
        for token in fragments(reply.text or ""):
            yield {"content": token}, self._logprobs(token)
        for token in fragments(reply.refusal or ""):
            yield {"refusal": token}, None
        for number, call in enumerate(reply.calls):
            opening = {
                "index": number,
                "id": self._call_ids[index][number],
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
            yield {"tool_calls": [opening]}, None
            for piece in json_fragments(call.text):
                yield {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}, None

    def _chunk(
        self,
        index: int,
        delta: Chunk,
        *,
        finish: str | None = None,
        logprobs: Chunk | None = None,
    ) -> Chunk:
        chunk: Chunk = {
            **self._head("chat.completion.chunk"),
            "service_tier": self._tier(),
            "system_fingerprint": self._fingerprint(),
            "choices": [
                {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            ],
        }
        options = self.body.get("stream_options") or {}
        if options.get("include_usage"):
            chunk["usage"] = None
        if options.get("include_obfuscation", True):
            chunk["obfuscation"] = obfuscation()
        return chunk

    def _finish(self) -> str:
        return "content_filter" if self.filtered else _FINISH[self.reply.finish]

    def _logprobs(self, text: str) -> Chunk | None:
        if not self.body.get("logprobs"):
            return None
        top = self.body.get("top_logprobs") or 0
        return {"content": token_logprobs(text, top), "refusal": None}

    def _usage(self) -> Chunk:
        spent = self.spent
        cached: Chunk = {"cached_tokens": spent.cached, "audio_tokens": 0}
        if self.cache_writes:
            cached["cache_write_tokens"] = spent.written
        return {
            "prompt_tokens": spent.prompt,
            "completion_tokens": spent.completion,
            "total_tokens": spent.prompt + spent.completion,
            "prompt_tokens_details": cached,
            "completion_tokens_details": {
                "reasoning_tokens": spent.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def _tier(self) -> str:
        asked = self.body.get("service_tier")
        if asked in {"priority", "fast"}:
            return "priority"
        return "flex" if asked == "flex" else "default"

    def _fingerprint(self) -> str:
        return f"fp_{sum(self.model.encode()) * 2654435761 % 2**40:010x}"


def pieces(chunks: Iterator[tuple[Chunk, Mark]]) -> list[Piece]:
    """The chunks as events, with the mark that closes the stream."""
    events = [Piece(event(chunk), mark) for chunk, mark in chunks]
    return [*events, Piece(b"data: [DONE]\n\n", Mark.DONE)]
