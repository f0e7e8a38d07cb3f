"""Reads GenerateContentResponses, whole answers and pieces of streams alike, into events.

A signature on a thought or a call goes with that. One on other text, or on an empty part behind
it, stands as a thought that is hidden in its signature, behind the text: so it comes back to the
text that it was on (see `turns`), whichever door it went through.
"""

import secrets
from typing import Any, Final

import orjson

from model_service.providers.chat import (
    ChatEvent,
    Document,
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
from model_service.providers.dialects.google.faults import GoogleFaults, error_object
from model_service.providers.dialects.google.logprobs import read_logprobs
from model_service.providers.dialects.google.words import FINISHES, NAME, tier_of, usage_of
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.signatures import mark

_FAULTS: Final = GoogleFaults()

# What a model says that the other dialects have nothing like. It comes only when it was asked
# for, which nothing here does; were it left out, the answer would not be what the model gave.
_UNTRANSLATED: Final = (
    "inlineData",
    "fileData",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
    "functionResponse",
)
_UNSPECIFIED: Final = "FINISH_REASON_UNSPECIFIED"


class UnsoundChunk(Exception):
    """A response is not of the shape that the provider's documents promise"""


class Chunks:
    """One answer as it comes. `failure` is there once the provider told of one."""

    def __init__(self) -> None:
        self.failure: CallFailed | None = None
        self._started = False
        self._candidates: dict[int, _State] = {}
        self._usage: Usage | None = None
        self._ended: list[_State] = []
        self._ended_with_usage = False

    @property
    def has_finished(self) -> bool:
        """Whether all candidates that were seen have ended."""
        for state in self._candidates.values():
            if not state.finished:
                return False
        return bool(self._candidates)

    @property
    def is_complete(self) -> bool:
        """Whether they have ended and the last totals are there, too."""
        return self._ended_with_usage

    def events(self, document: Document) -> list[ChatEvent]:
        """The events of the next response.

        Raises:
            UnsoundChunk: the response is not what it should be.
        """
        if "error" in document and error_object(document) is not None:
            self.failure = CallFailed(_FAULTS.fault(200, document))
            return []
        candidates = document.get("candidates")
        feedback = document.get("promptFeedback")
        metadata = document.get("usageMetadata")
        if candidates is None:
            candidates = []
        if not isinstance(candidates, list):
            raise UnsoundChunk
        if not (candidates or feedback or metadata):
            return []  # of a kind that is not known here
        events: list[ChatEvent] = []
        if not self._started:
            events.append(_start(document, metadata))
        self._ended = []
        for candidate in candidates:
            self._candidate(candidate, events)
        if not candidates and isinstance(feedback, dict) and feedback.get("blockReason"):
            # Nothing was generated: there is no candidate to say so.
            self._ended.append(self._candidates.setdefault(0, _State()))
            events.append(Finished(FinishReason.CONTENT_FILTER))
        usage = usage_of(metadata)
        if usage is not None and usage != self._usage:
            self._usage = usage
            events.append(UsageReported(usage))
        # Only now: of a response that is not sound nothing has happened.
        self._started = True
        for state in self._ended:
            state.finished = True
        self._ended_with_usage = usage is not None and self.has_finished
        return events

    def _candidate(self, candidate: object, events: list[ChatEvent]) -> None:
        if not isinstance(candidate, dict):
            raise UnsoundChunk
        index = candidate.get("index", 0)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 256:
            raise UnsoundChunk
        state = self._candidates.get(index)
        if state is None:
            state = self._candidates[index] = _State()
        if state.finished:
            return
        content = candidate.get("content") or {}
        parts = content.get("parts") or [] if isinstance(content, dict) else None
        if not isinstance(parts, list):
            raise UnsoundChunk
        result = candidate.get("logprobsResult")
        logprobs = None if result is None else read_logprobs(result)
        for part in parts:
            if not isinstance(part, dict):
                raise UnsoundChunk
            text = part.get("text")
            if text and type(text) is str and len(part) == 1:  # as most are
                state.close_thought(index, events)
                events.append(TextDelta(text, index, logprobs))
                logprobs = None
                continue
            logprobs = self._part(part, index, state, logprobs, events)
            if self.failure is not None:
                return
        if logprobs is not None:
            events.append(TextDelta("", index, logprobs))
        reason = candidate.get("finishReason")
        if reason is not None and reason != _UNSPECIFIED:
            self._finish(reason, candidate, index, state, events)

    def _part(
        self,
        part: Document,
        index: int,
        state: "_State",
        logprobs: Document | None,
        events: list[ChatEvent],
    ) -> Document | None:
        """The events of a part. Gives back the log probabilities, unless the text took them."""
        signature = part.get("thoughtSignature")
        if signature is not None and not isinstance(signature, str):
            raise UnsoundChunk
        marked = mark(NAME, signature) if signature else None
        call = part.get("functionCall")
        if call is not None:
            state.close_thought(index, events)
            self._call(call, marked, index, state, events)
            return logprobs
        text = part.get("text")
        if text is None and marked is None:
            foreign = next((name for name in _UNTRANSLATED if part.get(name) is not None), None)
            if foreign is not None:
                self.failure = _untranslated(foreign)
            return logprobs
        if text is not None and not isinstance(text, str):
            raise UnsoundChunk
        if part.get("thought") is True:
            if text:
                events.append(ReasoningDelta(text, index))
                state.thinking = True
            if marked is not None:
                events.append(ReasoningEnded(marked, candidate=index))
                state.thinking = False
            return logprobs
        state.close_thought(index, events)
        if text:
            events.append(TextDelta(text, index, logprobs))
            logprobs = None
        if marked is not None:
            events.append(ReasoningEnded(marked, redacted=True, candidate=index))
        return logprobs

    def _call(
        self,
        call: object,
        signature: str | None,
        index: int,
        state: "_State",
        events: list[ChatEvent],
    ) -> None:
        name = call.get("name") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(name, str) or not name:
            raise UnsoundChunk
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id:
            call_id = f"call_{secrets.token_hex(12)}"
        arguments = _arguments(call.get("args"))
        events.append(ToolCallStarted(state.calls, call_id, name, index, signature))
        events.append(ToolCallDelta(state.calls, arguments, index))
        state.calls += 1

    def _finish(
        self,
        reason: object,
        candidate: Document,
        index: int,
        state: "_State",
        events: list[ChatEvent],
    ) -> None:
        finish = FINISHES.get(reason) if isinstance(reason, str) else None
        if finish is None:
            self.failure = _broken(reason, candidate.get("finishMessage"))
            return
        if finish is FinishReason.STOP and state.calls:
            finish = FinishReason.TOOL_CALLS
        state.close_thought(index, events)
        self._ended.append(state)
        events.append(Finished(finish, index))


class _State:
    """A candidate under way."""

    __slots__ = ("calls", "finished", "thinking")

    def __init__(self) -> None:
        self.calls = 0
        self.thinking = False
        self.finished = False

    def close_thought(self, index: int, events: list[ChatEvent]) -> None:
        """End the thought that is open, if one is: it has no signature."""
        if self.thinking:
            self.thinking = False
            events.append(ReasoningEnded(candidate=index))


def _start(document: Document, metadata: object) -> Started:
    answer_id = document.get("responseId")
    if not isinstance(answer_id, str) or not answer_id:
        answer_id = secrets.token_hex(12)
    return Started(answer_id, service_tier=tier_of(metadata))


def _arguments(args: Any) -> str:  # noqa: ANN401 - off the wire
    if args is None:
        return "{}"
    if not isinstance(args, dict):
        raise UnsoundChunk
    try:
        return orjson.dumps(args).decode()
    except orjson.JSONEncodeError:  # nested more deeply than anybody writes
        raise UnsoundChunk from None


def _broken(reason: object, message: object) -> CallFailed:
    """The failure for an answer that the model itself broke off."""
    name = reason if isinstance(reason, str) else "unknown"
    detail = f": {message}" if isinstance(message, str) and message else ""
    return CallFailed(
        Fault(
            FaultKind.UPSTREAM,
            f"The model ended without an answer ({name[:100]}){detail[:2000]}",
            code=name[:100].lower(),
        )
    )


def _untranslated(kind: str) -> CallFailed:
    return CallFailed(
        Fault(
            FaultKind.UPSTREAM,
            f"The model answered with a part that has no translation ({kind})",
            code="untranslated_answer",
        )
    )
