"""Reading Ollama's answers: a whole one is a stream of one line.

Source: https://docs.ollama.com/api/chat and https://docs.ollama.com/api/streaming
(application/x-ndjson: a JSON object on each line, the last with `done`).
"""

import secrets
from datetime import datetime
from typing import Any, Final

import orjson

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
from model_service.providers.dialects.ollama.faults import OllamaFaults
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, cut, malformed
from model_service.providers.sse import MAX_EVENT
from model_service.providers.translation import Document

# `load` and `unload` answer a request without messages; there is nothing in them.
_REASONS: Final = {
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "tool_calls": FinishReason.TOOL_CALLS,
}


class AnswerReader:
    """Makes events of an answer's lines, in their order."""

    __slots__ = ("_calls", "_logprobs", "_started", "_thinking", "finished")

    def __init__(self) -> None:
        self._started = False
        self._thinking = False
        self._calls = 0
        # Of tokens that were not text; they go with the next text, so that the order stays.
        self._logprobs: list[Document] = []
        self.finished = False

    def events(self, line: object) -> list[ChatEvent] | None:
        """The events of a line; None when it is not what it should be.

        Raises:
            CallFailed: the line is an error.
        """
        if not isinstance(line, dict):
            return None
        if line.get("error") is not None:
            raise CallFailed(OllamaFaults().fault(200, line))
        message, is_done = line.get("message"), line.get("done") is True
        if message is None and not is_done:
            return []  # a line of another kind
        if not isinstance(message, dict):
            return None
        content, thinking = message.get("content") or "", message.get("thinking") or ""
        calls = _calls(message)
        if calls is None or not isinstance(content, str) or not isinstance(thinking, str):
            return None
        events: list[ChatEvent] = []
        if not self._started:
            self._started = True
            events.append(Started(f"ollama-{secrets.token_hex(12)}", _moment(line)))
        self._logprobs += _logprobs(line.get("logprobs"))
        if thinking:
            self._thinking = True
            events.append(ReasoningDelta(thinking))
        if self._thinking and (content or calls or is_done):
            self._thinking = False
            events.append(ReasoningEnded())
        if content or (is_done and self._logprobs):
            events.append(TextDelta(content, logprobs=self._taken_logprobs()))
        for call_id, name, arguments in calls:
            events.append(ToolCallStarted(self._calls, call_id, name))
            events.append(ToolCallDelta(self._calls, arguments))
            self._calls += 1
        if is_done:
            self.finished = True
            events.append(Finished(self._reason(line)))
            usage = _usage(line)
            if usage is not None:
                events.append(UsageReported(usage))
        return events

    def _reason(self, line: Document) -> FinishReason:
        given = line.get("done_reason")
        reason = _REASONS.get(given) if isinstance(given, str) else None
        if reason is not None:
            return reason
        return FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP

    def _taken_logprobs(self) -> Document | None:
        if not self._logprobs:
            return None
        taken, self._logprobs = self._logprobs, []
        return {"content": taken, "refusal": None}


class OllamaReader:
    """Reads a stream."""

    __slots__ = ("_answer", "_is_bad", "_rest", "complete", "failure")

    def __init__(self) -> None:
        self.failure: CallFailed | None = None
        self.complete = False
        self._answer = AnswerReader()
        self._rest = bytearray()
        # The last line was unreadable. It is passed over when a sound one follows.
        self._is_bad = False

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events of the lines that `data` completes."""
        if self.complete or self.failure is not None:
            return []
        end = data.rfind(b"\n")
        if end < 0:
            self._keep(data)
            return []
        whole = b"".join((self._rest, data[:end])) if self._rest else data[:end]
        self._rest = bytearray()
        events: list[ChatEvent] = []
        for line in whole.split(b"\n"):
            if not self._read(line, events):
                return events
        self._keep(data[end + 1 :])
        return events

    def end(self) -> list[ChatEvent]:
        """The events of a last line without its end; a failure without a line that is `done`."""
        events: list[ChatEvent] = []
        if self.complete or self.failure is not None:
            return events
        was_bad, rest = self._is_bad, self._rest.strip()
        if self._read(bytes(rest), events):
            # An unreadable rest is no wonder: it is a line that was cut.
            is_bad = was_bad and (self._is_bad or not rest)
            self.failure = malformed("The provider sent what is no JSON") if is_bad else cut()
        return events

    def _read(self, line: bytes, events: list[ChatEvent]) -> bool:
        """Add the line's events; whether more may come after it."""
        if not line or line.isspace():
            return True
        try:
            found = self._answer.events(loads(line))
        except orjson.JSONDecodeError:
            found = None
        except CallFailed as error:
            self.failure = error
            return False
        self._is_bad = found is None
        events += found or ()
        self.complete = self._answer.finished
        return not self.complete

    def _keep(self, data: bytes) -> None:
        if len(self._rest) + len(data) > MAX_EVENT:
            self.failure = malformed("The provider sent a line without end")
        else:
            self._rest += data


def _calls(message: Document) -> list[tuple[str, str, str]] | None:
    """Id, name and arguments of each call; None when one is not what it should be."""
    given = message.get("tool_calls")
    if given is None:
        return []
    if not isinstance(given, list):
        return None
    calls: list[tuple[str, str, str]] = []
    for call in given:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return None
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            try:
                arguments = orjson.dumps({} if arguments is None else arguments).decode()
            except TypeError:  # nested deeper than anybody could pass on
                return None
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id:  # older servers give calls no ids
            call_id = f"call_{secrets.token_hex(12)}"
        calls.append((call_id, function["name"], arguments))
    return calls


def _logprobs(given: object) -> list[Document]:
    """Log probabilities of a line's tokens, in the form of OpenAI's chat completions."""
    if not isinstance(given, list):
        return []
    tokens: list[Document] = []
    for item in given:
        token = _token(item)
        if token is not None:
            others = item.get("top_logprobs")
            found = map(_token, others if isinstance(others, list) else ())
            token["top_logprobs"] = [other for other in found if other is not None]
            tokens.append(token)
    return tokens


def _token(item: Any) -> Document | None:  # noqa: ANN401 - a wire edge
    if not isinstance(item, dict):
        return None
    token, logprob, raw = item.get("token"), item.get("logprob"), item.get("bytes")
    if not isinstance(token, str) or not isinstance(logprob, int | float):
        return None
    is_bytes = isinstance(raw, list) and all(isinstance(byte, int) for byte in raw)
    return {
        "token": token,
        "logprob": logprob,
        "bytes": raw if is_bytes else list(token.encode()),
    }


def _usage(line: Document) -> Usage | None:
    """What was used; None where the server does not say. It leaves zeros out."""
    read, written = _count(line, "prompt_eval_count"), _count(line, "eval_count")
    if read is None and written is None:
        return None
    return Usage(input=read or 0, output=written or 0)


def _count(line: Document, name: str) -> int | None:
    value = line.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _moment(line: Document) -> int | None:
    given = line.get("created_at")
    if not isinstance(given, str):
        return None
    try:
        moment = datetime.fromisoformat(given)
        return int(moment.timestamp()) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
