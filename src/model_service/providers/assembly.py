"""From a stream of events to a whole answer and back: one mapping serves both."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatEvent,
    Document,
    Finished,
    FinishReason,
    Part,
    Reasoning,
    ReasoningDelta,
    ReasoningEnded,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)


def events_of(answer: ChatAnswer) -> Iterator[ChatEvent]:
    """The stream that a provider would have sent for a whole answer."""
    yield Started(answer.id, answer.created, answer.service_tier)
    for index, candidate in enumerate(answer.candidates):
        yield from _candidate_events(index, candidate)
    yield UsageReported(answer.usage)


def _candidate_events(index: int, candidate: Candidate) -> Iterator[ChatEvent]:
    calls = 0
    logprobs = candidate.logprobs
    for part in candidate.parts:
        match part:
            case Text():
                with_text, logprobs = (logprobs, None) if part.text else (None, logprobs)
                yield TextDelta(part.text, index, with_text)
            case Reasoning():
                if part.text:
                    yield ReasoningDelta(part.text, index, part.id)
                yield ReasoningEnded(part.signature, part.redacted, index, part.id)
            case Refusal():
                yield RefusalDelta(part.text, index)
            case ToolCall():
                yield ToolCallStarted(calls, part.id, part.name, index, part.signature)
                if part.arguments:
                    yield ToolCallDelta(calls, part.arguments, index)
                calls += 1
            case _:  # nothing else is said by a model
                continue
    if logprobs is not None:
        yield TextDelta("", index, logprobs)
    yield Finished(candidate.finish, index, candidate.stop_sequence)


class Assembler:
    """Puts the events of a stream together."""

    def __init__(self) -> None:
        self._id = ""
        self._created: int | None = None
        self._tier: str | None = None
        self._usage = Usage()
        self._candidates: dict[int, _Building] = {}

    def add(self, event: ChatEvent) -> None:
        """Take the next event."""
        match event:
            case Started():
                self._id, self._created, self._tier = event.id, event.created, event.service_tier
            case UsageReported():
                self._usage = event.usage
            case _:
                building = self._candidates.get(event.candidate)
                if building is None:
                    building = self._candidates[event.candidate] = _Building()
                building.add(event)

    def answer(self) -> ChatAnswer:
        """The answer as far as it has come."""
        candidates = [building.candidate() for _, building in sorted(self._candidates.items())]
        return ChatAnswer(self._id, candidates, self._usage, self._created, self._tier)


def assemble(events: Iterable[ChatEvent]) -> ChatAnswer:
    """The whole answer that a stream makes."""
    assembler = Assembler()
    for event in events:
        assembler.add(event)
    return assembler.answer()


_Spoken = Text | Reasoning | Refusal | ToolCall
"""What an answer has parts of."""

_Pieces = list[str]


class _Building:
    """A candidate under way; a thought is open until its end, or until something else comes.

    A part's text comes in many pieces. They are joined when the answer is asked for, so that a
    long one is not copied once for each piece.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[_Spoken, _Pieces]] = []
        self._calls: dict[int, _Pieces] = {}
        self._thought: tuple[Reasoning, _Pieces] | None = None
        self._finish = FinishReason.STOP
        self._stop_sequence: str | None = None
        self._logprobs: Document | None = None

    def add(self, event: ChatEvent) -> None:
        if not isinstance(event, ReasoningDelta | ReasoningEnded):
            self._thought = None
        match event:
            case TextDelta():
                # An empty one may be there for its log probabilities alone.
                if event.text or event.logprobs is None:
                    self._said(Text).append(event.text)
                if event.logprobs is not None:
                    self._add_logprobs(event.logprobs)
            case ReasoningDelta():
                self._thinking(event.id)[1].append(event.text)
            case ReasoningEnded():
                thought, _ = self._thinking(event.id)
                thought.signature, thought.redacted = event.signature, event.redacted
                self._thought = None
            case RefusalDelta():
                self._said(Refusal).append(event.text)
            case ToolCallStarted():
                call = ToolCall(event.id, event.name, "", event.signature)
                self._calls[event.index] = self._begin(call)
            case ToolCallDelta():
                self._calls[event.index].append(event.arguments)
            case Finished():
                self._finish, self._stop_sequence = event.reason, event.stop_sequence
            case _:  # neither of the others belongs to a candidate
                pass

    def candidate(self) -> Candidate:
        parts: list[Part] = []
        for part, pieces in self._parts:
            text = "".join(pieces)
            if isinstance(part, ToolCall):
                parts.append(replace(part, arguments=text))
            else:
                parts.append(replace(part, text=text))
        logprobs = self._logprobs
        if logprobs is not None:
            logprobs = {
                name: value.copy() if isinstance(value, list) else value
                for name, value in logprobs.items()
            }
        return Candidate(parts, self._finish, self._stop_sequence, logprobs)

    def _begin(self, part: _Spoken) -> _Pieces:
        pieces: _Pieces = []
        self._parts.append((part, pieces))
        return pieces

    def _said(self, kind: type[Text] | type[Refusal]) -> _Pieces:
        """The pieces of the last part, if it is of that kind, else of a new one."""
        if self._parts and isinstance(self._parts[-1][0], kind):
            return self._parts[-1][1]
        return self._begin(kind(""))

    def _thinking(self, given_id: str | None) -> tuple[Reasoning, _Pieces]:
        """The open thought, or a new one."""
        if self._thought is None:
            thought = Reasoning("")
            self._thought = thought, self._begin(thought)
        if self._thought[0].id is None:
            self._thought[0].id = given_id
        return self._thought

    def _add_logprobs(self, more: Document) -> None:
        """Lists grow (`content`, `refusal`); null stands for none of that kind."""
        if self._logprobs is None:
            self._logprobs = {}
        before = self._logprobs
        for name, value in more.items():
            known = before.get(name)
            if isinstance(known, list) and isinstance(value, list):
                known += value
            elif isinstance(value, list):
                before[name] = value.copy()
            elif known is None:
                before[name] = value
