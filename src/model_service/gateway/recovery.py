"""Streams that another model goes on with when they are cut or stall.

Such a stream always goes through the intermediate form, also where caller and provider speak the
same dialect: so it is known at any time what the caller has. Calls of tools, and what comes after
them, are held back until the answer has ended, so that nobody has half a call, or a call that the
answer which takes its place does not have.

Another attempt goes on in one of two ways. PREFILL: its model is given the beginning of the
answer, and what it says follows that. RESTART: it is asked anew; as long as its text is the same
as what the caller has nothing is sent, and where it differs a mark says from where on the
caller's text is replaced. docs/stream-recovery.md has the marks, and what is counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import orjson

from model_service.gateway.continuation import CHARACTERS_PER_TOKEN
from model_service.gateway.heard import Fresh, Heard, Splice, Step
from model_service.gateway.plans import upstream_of
from model_service.gateway.resumption import Asked, Resumption, resumption
from model_service.gateway.routes import Operation, Route
from model_service.gateway.snapshot import SnapshotModel
from model_service.providers.calls import DOORS
from model_service.providers.chat import (
    ChatEvent,
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
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.translation import Document, StreamReader, StreamWriter

#: Faults of an answer under way after which another model goes on with it. What a filter or the
#: caller's own request caused is not among them.
RECOVERABLE: Final = frozenset(
    {
        FaultKind.UPSTREAM,
        FaultKind.TIMEOUT,
        FaultKind.OVERLOADED,
        FaultKind.UNAVAILABLE,
        FaultKind.RATE_LIMITED,
        FaultKind.QUOTA_EXHAUSTED,
        FaultKind.KEY_REFUSED,
    }
)
#: Characters of an answer that are remembered, and as many held back; longer ones go on as any
#: stream does, and cannot be recovered any more.
MOST_CHARACTERS: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attempt that failed within its stream took; its output is an estimate.

    Its input is what the provider said before it failed: 0 if it said nothing.
    """

    usage: Usage
    fault: Fault


def recoverable(
    route: Route, model: SnapshotModel, body: Document, *, now: int
) -> "RecoverableStream | None":
    """The way back of a stream that can be recovered; `body` is left as it is.

    `now` is in seconds since 1970. None where the stream cannot be recovered, and goes the usual
    way: it has several answers or log probabilities, or asks for what no other provider has.
    """
    door = DOORS[route.door].chat
    if route.operation is not Operation.CHAT or door is None or not model.supports_streaming:
        return None
    data = orjson.dumps(body)
    try:
        request = door.read(loads(data), model.name, stream=True)
    except CallFailed:
        return None
    if request.n not in (None, 1) or request.logprobs:
        return None
    upstream = upstream_of(route, model, body, stream=True)
    asked = Asked(route, door, request, data, now)
    return RecoverableStream(asked, upstream.reader(), door.writer(request, model.name))


class RecoverableStream:
    """An answer's way back, from one provider after another; a `StreamRelay`.

    After a failure: `lost`, then `resumption` for a model, its `outgoing` sent, and if that is
    answered `resume`; from then on `feed` takes that answer. Else `fail`.
    """

    def __init__(self, asked: Asked, reader: StreamReader, writer: StreamWriter) -> None:
        self._asked = asked
        self._reader = reader
        self._writer = writer
        self._heard = Heard()
        self._splice: Splice = Fresh()
        self._started: Started | None = None
        self._held: list[ChatEvent] | None = None
        self._note: Document | None = None
        self._attempts = 1
        # Characters of the attempt under way, and of what of it is held back.
        self._said = 0
        self._withheld = 0
        self._too_long = False
        self._is_under_way = False
        self.began = False
        """Whether anything of an answer has come; what is held back counts as well."""
        self.failure: CallFailed | None = None
        self.usage: Usage | None = None
        """Of the attempt under way, as its provider told it."""
        self.finish: FinishReason | None = None
        self.complete = False
        self.first: Fault | None = None
        """The first fault, which the caller is told if nothing helps."""
        self.spent: list[Spent] = []
        """What the attempts that failed took."""

    @property
    def can_resume(self) -> bool:
        """Whether another attempt may go on, as far as what the caller has goes."""
        return not (
            self.complete or self.finish is not None or self._too_long or self._heard.has_refusal
        )

    def feed(self, data: bytes) -> bytes:
        """Take what the provider sent; gives whole events for the caller."""
        return self._take(self._reader.feed(data))

    def end(self) -> bytes:
        """The provider's stream is over, whether it ended, was reset, or stalled."""
        return self._take(self._reader.end())

    def fail(self, fault: Fault) -> bytes:
        """The error event: it tells of the first fault, whatever came after that."""
        return self._writer.fail(self.first or fault)

    def lost(self, fault: Fault) -> bool:
        """The attempt under way failed; gives whether another may go on.

        `fault` is without credentials.
        """
        self.first = self.first or fault
        told = self.usage or Usage()
        output = max(told.output, -(-self._said // CHARACTERS_PER_TOKEN))
        self.spent.append(Spent(replace(told, output=output), fault))
        self.usage, self._said = None, 0
        self._held, self._withheld = None, 0
        return self.can_resume and fault.kind in RECOVERABLE

    def resumption(self, model: SnapshotModel, *, prefill: bool = True) -> Resumption:
        """An attempt by another model, or the same; `prefill` False if it refused one.

        Raises:
            CallFailed: the model's provider has nothing like what is asked for.
        """
        return resumption(self._asked, self._heard.text, model, prefill=prefill)

    def resume(self, attempt: Resumption) -> None:
        """From now on `feed` takes the answer to this. Its mark goes ahead of what is new of it."""
        self._attempts += 1
        self._reader, self._splice = attempt.reader, attempt.splice
        self.failure = None
        lost = self.spent[-1]
        self._note = {
            "type": "recovered",
            "mode": attempt.mode.value,
            "model": attempt.model.name,
            "attempt": self._attempts,
            "reason": lost.fault.kind.value,
            "text_offset": self._heard.length,
            "lost_output_tokens": lost.usage.output,
        }

    def _take(self, events: list[ChatEvent]) -> bytes:
        if self.complete:
            return b""
        out: list[bytes] = []
        for event in events:
            self._event(event, out)
        reader = self._reader
        if reader.failure is not None and self.finish is None:
            self.failure = reader.failure
        elif reader.complete or reader.failure is not None:
            self._complete(out)
        return b"".join(out)

    def _complete(self, out: list[bytes]) -> None:
        """The answer is whole, if only its closing mark is missing."""
        if self.finish is None:
            self._finish(Finished(FinishReason.STOP), out)
        if self.usage is not None:
            out.append(self._writer.write(UsageReported(self.usage)))
        out.append(self._writer.end())
        self.complete = True

    def _event(self, event: ChatEvent, out: list[bytes]) -> None:
        if isinstance(event, UsageReported):
            self.usage = event.usage
        elif isinstance(event, Started):
            if self._started is None:  # the caller sees one answer, which begins once
                self._started = event
                if event.created is None:
                    event.created = self._asked.now
        elif event.candidate or self.finish is not None:
            return
        elif isinstance(event, Finished):
            self.began = True
            self._finish(event, out)
        elif self._held is None and type(event) is not ToolCallStarted:
            self.began = True
            self._said += _characters(event)
            self._pass(event, out)
        else:
            self.began = True
            self._hold(event, out)

    def _hold(self, event: ChatEvent, out: list[bytes]) -> None:
        held = self._held = [] if self._held is None else self._held
        size = _characters(event)
        self._said += size
        self._withheld += size
        if not self._too_long:
            held.append(event)
            if self._withheld <= MOST_CHARACTERS:
                return
            self._too_long = True
            for earlier in held:
                self._pass(earlier, out)
            held.clear()
        else:
            self._pass(event, out)

    def _finish(self, event: Finished, out: list[bytes]) -> None:
        for held in self._held or ():
            self._pass(held, out)
        self._held = None
        self._steps(self._splice.other(), out)
        self._write(event, out)
        self.finish = event.reason

    def _pass(self, event: ChatEvent, out: list[bytes]) -> None:
        """What is new to the caller of an event."""
        if isinstance(event, TextDelta):
            self._steps(self._splice.text(event.text), out)
            return
        if not isinstance(event, ReasoningDelta | ReasoningEnded):
            self._steps(self._splice.other(), out)
        self._write(event, out)

    def _steps(self, steps: Iterable[Step], out: list[bytes]) -> None:
        for step in steps:
            if isinstance(step, str):
                self._write(TextDelta(step), out)
            else:
                self._announce(out)
                self._heard.rewind(step)
                note = {"type": "rewind", "text_offset": step}
                out.append(self._writer.mark(note))

    def _write(self, event: ChatEvent, out: list[bytes]) -> None:
        self._announce(out)
        if not self._is_under_way:
            self._is_under_way = True
            out.append(self._writer.write(self._started or Started("", self._asked.now)))
        if not self._too_long:
            self._heard.take(event)
            if self._heard.length > MOST_CHARACTERS:
                self._too_long, self._heard = True, Heard()
        out.append(self._writer.write(event))

    def _announce(self, out: list[bytes]) -> None:
        """The mark, once there is something behind it; a thought that was cut ends before it."""
        note, self._note = self._note, None
        if note is None or not self._is_under_way:
            return
        if self._heard.is_thinking:
            end = ReasoningEnded()
            self._heard.take(end)
            out.append(self._writer.write(end))
        out.append(self._writer.mark(note))


def _characters(event: ChatEvent) -> int:
    if isinstance(event, ToolCallDelta):
        return len(event.arguments)
    if isinstance(event, Started | UsageReported | Finished | ToolCallStarted | ReasoningEnded):
        return 0
    return len(event.text)
