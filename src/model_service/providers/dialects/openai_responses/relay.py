"""The way back of a stream that passes through.

Deltas, which most events are, go on as they came once they have been seen to be sound. Only the
few events that hold the response are edited, for its model's name.
"""

from typing import Final

import orjson

from model_service.providers.chat import FinishReason, Usage
from model_service.providers.dialects.openai_responses.document import bare_response
from model_service.providers.dialects.openai_responses.events import Sequence, failure_events
from model_service.providers.dialects.openai_responses.reader import (
    DONE,
    body_error,
    ended_early,
    event_text,
    parsed_event,
)
from model_service.providers.dialects.openai_responses.reading import Wrong
from model_service.providers.dialects.openai_responses.usage import cut_reason, read_usage
from model_service.providers.faults import CallFailed, Fault
from model_service.providers.openai_faults import OpenAIFaults, holds_error
from model_service.providers.sse import EventParser, named_event
from model_service.providers.translation import Document

# The events that hold a response; the last of them end the stream.
_BEGINNINGS: Final = frozenset(("response.created", "response.queued", "response.in_progress"))
_ENDS: Final = frozenset(("response.completed", "response.incomplete"))
_FAILURES: Final = frozenset(("response.failed", "response.cancelled"))
_WITH_RESPONSE: Final = _BEGINNINGS | _ENDS | _FAILURES


class ResponseRelay:
    """One stream's way back."""

    __slots__ = ("_faults", "_held", "_is_wrong", "_model", "_number", "_parser", "_response",
                 "began", "complete", "failure", "finish", "usage")  # fmt: skip

    def __init__(self, faults: OpenAIFaults, model: str) -> None:
        self.failure: CallFailed | None = None
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.began = False
        self.complete = False
        self._faults = faults
        self._model = model
        self._parser = EventParser()
        self._is_wrong = False
        # Azure's `response.failed` may say nothing, and an `error` after it everything.
        self._held: CallFailed | None = None
        self._number: object = None
        self._response: Document | None = None

    def feed(self, data: bytes) -> bytes:
        """Take what the provider sent; gives whole events for the caller."""
        if self._is_over():
            return b""
        try:
            whole = self._parser.whole(data)
        except CallFailed as error:
            self.failure = error
            return b""
        return self._pass(whole) if whole else b""

    def end(self) -> bytes:
        """The provider's stream is over; a `failure` when it was cut."""
        if self._is_over():
            return b""
        was_wrong = self._is_wrong
        rest = self._parser.whole(b"\n\n")
        error = body_error(rest)
        if error is not None:
            self.failure = CallFailed(self._faults.fault(200, error))
            return b""
        passed = self._pass(rest)
        if not self._is_over():
            self.failure = self._held or ended_early(rest, was_wrong=was_wrong)
        return passed

    def fail(self, fault: Fault) -> bytes:
        """The error events, which end the stream."""
        response = self._response or bare_response(self._model)
        return failure_events(Sequence(self._number), self._faults, fault, response)

    def _is_over(self) -> bool:
        return self.complete or self.failure is not None

    def _pass(self, whole: bytes) -> bytes:
        passed: list[bytes] = []
        as_it_came = True
        for block in whole.split(b"\n\n"):
            if not block:
                continue
            written = self._edited(block)
            as_it_came = as_it_came and written is block
            if written:
                passed.append(written)
            if self._is_over():
                as_it_came = False
                break
        if as_it_came and passed:
            return whole
        return b"".join([block + b"\n\n" for block in passed])

    def _edited(self, block: bytes) -> bytes:
        """An event as the caller gets it; nothing of one that is not for it."""
        text = event_text(block)
        if text is None:
            return block if block.startswith(b":") else b""  # a sign of life
        if text == DONE:
            return b""
        try:
            document = parsed_event(text)
            kind = document.get("type")
            if type(kind) is not str or kind == "error":
                self._take_error(document)
                return b""
            if kind not in _BEGINNINGS:
                self.began = True
            edited = block if kind not in _WITH_RESPONSE else self._lifecycle(kind, document, block)
        except Wrong:
            self._is_wrong = True
            return b""
        self._is_wrong = False
        self._number = document.get("sequence_number")
        return edited

    def _take_error(self, document: Document) -> None:
        if not holds_error(document):
            raise Wrong("it has no type")
        self.failure = CallFailed(self._faults.fault(200, document))

    def _lifecycle(self, kind: str, document: Document, block: bytes) -> bytes:
        response = document.get("response")
        if not isinstance(response, dict):
            raise Wrong("its response is no object")
        usage = read_usage(response)
        if usage is not None:
            self.usage = usage
        if kind in _FAILURES or response.get("status") in ("failed", "cancelled"):
            self._take_failure(response)
            return b""
        edited = _renamed(document, response, self._model, block)
        self._response = response
        if kind in _ENDS:
            self.finish = finish_of(response, is_cut=kind == "response.incomplete")
            self.complete = True
        return edited

    def _take_failure(self, response: Document) -> None:
        error = response.get("error")
        if not isinstance(error, dict):
            error = {}
        failure = CallFailed(self._faults.fault(200, {"error": error}))
        if error.get("message") or error.get("code"):
            self.failure = failure
        else:
            self._held = failure


def finish_of(response: Document, *, is_cut: bool) -> FinishReason:
    """Why a response that is passed through ended."""
    if is_cut or response.get("status") == "incomplete":
        return cut_reason(response)
    output = response.get("output")
    for item in output if isinstance(output, list) else ():
        if isinstance(item, dict) and item.get("type") == "function_call":
            return FinishReason.TOOL_CALLS
    return FinishReason.STOP


def _renamed(document: Document, response: Document, model: str, block: bytes) -> bytes:
    """The event with the model's registered name; `response`, which it holds, gets it as well.

    The name is replaced in the bytes where it stands there just once.
    """
    given = response.get("model")
    response["model"] = model
    if isinstance(given, str):
        before, after = orjson.dumps(given), orjson.dumps(model)
        for form in (b'"model":%s', b'"model": %s'):
            fragment = form % before
            if block.count(fragment) == 1:
                return block.replace(fragment, form % after)
    try:
        written = orjson.dumps(document)
    except TypeError:
        raise Wrong("it is nested too deeply") from None
    return named_event(document["type"].encode(), written)[:-2]
