"""What answers of chat completions say, whole ones and the chunks of streams alike.

Sources: see `reader`.
"""

from typing import Final

import orjson

from model_service.providers.assembly import assemble
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatEvent,
    Document,
    Finished,
    FinishReason,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.openai_chat.calls import Calls
from model_service.providers.dialects.openai_chat.endings import choice_error, finish_reason
from model_service.providers.dialects.openai_chat.thinking import Thinking
from model_service.providers.dialects.openai_chat.usage import paid_tier, read_usage
from model_service.providers.faults import CallFailed, malformed
from model_service.providers.openai_faults import OpenAIFaults, holds_error
from model_service.providers.plain import only_object

_FAULTS: Final = OpenAIFaults()

#: What of a delta is part of the answer.
_SAID: Final = ("content", "tool_calls", "refusal", "function_call")

#: What a message has that says nothing but its text, and how one that says more does not end.
_PLAIN_MESSAGE: Final = frozenset(("role", "content", "refusal", "annotations"))
_PLAIN_ENDS: Final = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}

#: The most choices of an answer: OpenAI's own bound for `n`.
_MOST_CHOICES: Final = 128


class _Candidate:
    """One choice under way."""

    __slots__ = ("_calls", "_index", "_refused", "_thinking", "finished")

    def __init__(self, index: int) -> None:
        self._index = index
        self._calls = Calls(index)
        self._thinking = Thinking(index)
        self._refused = False
        self.finished = False

    def take(self, delta: Document, logprobs: object, out: list[ChatEvent]) -> None:
        """What a delta, or a whole message, says. Raises CallFailed."""
        self._thinking.take(delta, out)
        content = delta.get("content")
        probabilities = logprobs if isinstance(logprobs, dict) else None
        if content or probabilities is not None:
            self._say(content, probabilities, out)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self._refuse(refusal, out)
        calls = delta.get("tool_calls")
        if calls and isinstance(calls, list):
            self._thinking.end(out)
            for item in calls:
                self._calls.take(item, out)
        function = delta.get("function_call")
        if function:
            self._thinking.end(out)
            self._calls.take_function(function, out)

    def finish(self, word: str, out: list[ChatEvent]) -> None:
        """The choice ended. Raises CallFailed when that is a failure."""
        self._thinking.end(out)
        self._calls.finish()
        reason = finish_reason(word)
        if reason is FinishReason.STOP:
            # A function that had to be called ends with "stop", and some vendors always say so.
            if self._calls:
                reason = FinishReason.TOOL_CALLS
            elif self._refused:
                reason = FinishReason.REFUSAL
        self.finished = True
        out.append(Finished(reason, self._index))

    def _say(self, content: object, logprobs: Document | None, out: list[ChatEvent]) -> None:
        text = content if isinstance(content, str) else ""
        if text or logprobs is not None:
            self._thinking.end(out)
            out.append(TextDelta(text, self._index, _checked(logprobs)))
        if isinstance(content, list):
            for part in content:
                if isinstance(part, dict):
                    self._part(part, out)

    def _part(self, part: Document, out: list[ChatEvent]) -> None:
        """Mistral's way: a list of parts, thoughts among them."""
        match part.get("type"):
            case "text":
                text = part.get("text")
                if isinstance(text, str) and text:
                    self._thinking.end(out)
                    out.append(TextDelta(text, self._index))
            case "refusal":
                text = part.get("refusal")
                if isinstance(text, str) and text:
                    self._refuse(text, out)
            case "thinking":
                thought = part.get("thinking")
                pieces = thought if isinstance(thought, list) else [{"text": thought}]
                for piece in pieces:
                    text = piece.get("text") if isinstance(piece, dict) else None
                    if isinstance(text, str) and text:
                        self._thinking.think(text, None, out)
            case _:  # references and the like have no place in an answer here
                pass

    def _refuse(self, text: str, out: list[ChatEvent]) -> None:
        self._thinking.end(out)
        self._refused = True
        out.append(RefusalDelta(text, self._index))


class Reading:
    """One answer under way, whole or streamed: both have the same shape."""

    __slots__ = ("_candidates", "_started", "_usage")

    def __init__(self) -> None:
        self._started = False
        self._candidates: dict[int, _Candidate] = {}
        self._usage: Usage | None = None

    @property
    def finished(self) -> bool:
        """Whether all choices that were seen are complete, and there are some."""
        candidates = self._candidates
        return bool(candidates) and all(seen.finished for seen in candidates.values())

    def chunk(self, document: Document, out: list[ChatEvent]) -> None:
        """A chunk of a stream. Raises CallFailed."""
        choices = self._begin(document, out)
        for choice in choices:
            if not isinstance(choice, dict):
                raise malformed("The provider's answer has a choice that is no object")
            candidate = self._candidate(choice, choice.get("index"))
            delta = choice.get("delta")
            if candidate.finished:  # what is left is what Azure's filters say
                if isinstance(delta, dict) and any(delta.get(name) for name in _SAID):
                    raise malformed("The provider went on after it had said that the answer ended")
                continue
            if isinstance(delta, dict):
                candidate.take(delta, choice.get("logprobs"), out)
            word = choice.get("finish_reason")
            if word and isinstance(word, str):
                candidate.finish(word, out)
        self._report(document, out)

    def whole(self, document: Document, out: list[ChatEvent]) -> None:
        """A whole answer. Raises CallFailed."""
        choices = self._begin(document, out)
        if not choices:
            raise malformed("The provider's answer has no choices")
        for index, choice in enumerate(choices):
            message = choice.get("message") if isinstance(choice, dict) else None
            if not isinstance(choice, dict) or not isinstance(message, dict):
                raise malformed("The provider's answer has a choice without a message")
            candidate = self._candidate(choice, index)
            candidate.take(message, choice.get("logprobs"), out)
            word = choice.get("finish_reason")
            candidate.finish(word if isinstance(word, str) else "", out)
        self._report(document, out)

    def _begin(self, document: Document, out: list[ChatEvent]) -> list[object]:
        if holds_error(document):
            raise CallFailed(_FAULTS.fault(200, document))
        choices = document.get("choices")
        if not isinstance(choices, list):
            choices = []
        if not self._started:
            answer_id = document.get("id")
            if choices or (answer_id and isinstance(answer_id, str)):
                self._started = True
                out.append(_started(document))
        return choices

    def _candidate(self, choice: Document, index: object) -> _Candidate:
        error = choice_error(choice)
        if error is not None:
            raise error
        if not isinstance(index, int) or isinstance(index, bool):
            index = 0
        if not 0 <= index < _MOST_CHOICES:
            raise malformed("The provider's answer has a choice with an impossible index")
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = _Candidate(index)
        return candidate

    def _report(self, document: Document, out: list[ChatEvent]) -> None:
        given = reported_usage(document)
        if given is None:
            return
        usage = read_usage(given)
        usage.tier = paid_tier(document)
        if usage != self._usage:
            self._usage = usage
            out.append(UsageReported(usage))


def reported_usage(document: Document) -> Document | None:
    """The `usage` of a chunk or an answer; Groq has it in an object of its own as well."""
    usage = document.get("usage")
    if usage is None:
        groq = document.get("x_groq")
        if isinstance(groq, dict):
            usage = groq.get("usage")
    return usage if isinstance(usage, dict) else None


def _started(document: Document) -> Started:
    answer_id, created = document.get("id"), document.get("created")
    tier = document.get("service_tier")
    if not isinstance(created, int) or isinstance(created, bool) or created <= 0:
        created = None
    return Started(
        answer_id if isinstance(answer_id, str) else "",
        created,
        tier if isinstance(tier, str) else None,
    )


def _checked(logprobs: Document | None) -> Document | None:
    """The same, if it can be written again."""
    if logprobs is not None:
        try:
            orjson.dumps(logprobs)
        except TypeError:
            raise malformed("The provider's log probabilities are nested too deeply") from None
    return logprobs


def read_answer(document: Document) -> ChatAnswer:
    """A whole answer. Raises CallFailed."""
    return read_plain_answer(document) or read_any_answer(document)


def read_plain_answer(document: Document) -> ChatAnswer | None:
    """An answer of one text, as `read_any_answer` reads it; None for any other."""
    choice, usage = only_object(document.get("choices")), document.get("usage")
    if choice is None or type(usage) is not dict or document.get("object") != "chat.completion":
        return None
    message, word = choice.get("message"), choice.get("finish_reason")
    if (
        type(message) is not dict
        or not message.keys() <= _PLAIN_MESSAGE
        or message.get("refusal")
        or choice.get("logprobs") is not None
        or "error" in choice
        or "error" in document
        or "type" in document
    ):
        return None
    text = message.get("content")
    finish = _PLAIN_ENDS.get(word) if type(word) is str else None
    if type(text) is not str or not text or finish is None:
        return None
    begun, candidate, used = _started(document), Candidate([Text(text)], finish), read_usage(usage)
    used.tier = paid_tier(document)
    return ChatAnswer(begun.id, [candidate], used, begun.created, begun.service_tier)


def read_any_answer(document: Document) -> ChatAnswer:
    """A whole answer, however it is. Raises CallFailed."""
    events: list[ChatEvent] = []
    Reading().whole(document, events)
    return assemble(events)
