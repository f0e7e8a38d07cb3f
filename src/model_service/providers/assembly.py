"""From a stream of events to a whole answer and back: one mapping serves both."""

from collections.abc import Iterable, Iterator

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
                yield TextDelta(part.text, index, logprobs)
                logprobs = None
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


class _Building:
    """A candidate under way; a thought is open until its end, or until something else comes."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._calls: dict[int, ToolCall] = {}
        self._thought: Reasoning | None = None
        self._finish = FinishReason.STOP
        self._stop_sequence: str | None = None
        self._logprobs: Document | None = None

    def add(self, event: ChatEvent) -> None:
        if not isinstance(event, ReasoningDelta | ReasoningEnded):
            self._thought = None
        match event:
            case TextDelta():
                self._add_text(event)
            case ReasoningDelta():
                if self._thought is None:
                    self._thought = Reasoning("", id=event.id)
                    self._parts.append(self._thought)
                self._thought.text += event.text
            case ReasoningEnded():
                thought = self._thought
                if thought is None:
                    thought = Reasoning("", id=event.id)
                    self._parts.append(thought)
                thought.signature, thought.redacted = event.signature, event.redacted
                self._thought = None
            case RefusalDelta():
                last = self._parts[-1] if self._parts else None
                if isinstance(last, Refusal):
                    last.text += event.text
                else:
                    self._parts.append(Refusal(event.text))
            case ToolCallStarted():
                call = ToolCall(event.id, event.name, "", event.signature)
                self._calls[event.index] = call
                self._parts.append(call)
            case ToolCallDelta():
                self._calls[event.index].arguments += event.arguments
            case Finished():
                self._finish, self._stop_sequence = event.reason, event.stop_sequence
            case _:  # neither of the others belongs to a candidate
                pass

    def _add_text(self, event: TextDelta) -> None:
        last = self._parts[-1] if self._parts else None
        if isinstance(last, Text):
            last.text += event.text
        else:
            self._parts.append(Text(event.text))
        if event.logprobs is not None:
            before = self._logprobs
            merged = event.logprobs
            if before is not None:
                merged = {
                    name: [*(before.get(name) or ()), *(merged.get(name) or ())]
                    for name in before.keys() | merged.keys()
                }
            self._logprobs = merged

    def candidate(self) -> Candidate:
        return Candidate(self._parts, self._finish, self._stop_sequence, self._logprobs)
