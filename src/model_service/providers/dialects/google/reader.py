"""Reads the stream of `streamGenerateContent?alt=sse`.

It has no closing mark: a stream is whole when its candidates have finish reasons. The API may
break off with an error as an event, or as bare JSON behind the events.
"""

from typing import Final

import orjson

from model_service.providers.chat import ChatEvent
from model_service.providers.dialects.google.chunks import Chunks, UnsoundChunk
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, cut, malformed
from model_service.providers.sse import EventParser, parse_block
from model_service.providers.translation import Document

_DONE: Final = b"[DONE]"  # of proxies


class GoogleReader:
    """One stream."""

    def __init__(self) -> None:
        self.failure: CallFailed | None = None
        self.complete = False
        self._parser = EventParser()
        self._chunks = Chunks()
        self._unsound = False

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that the bytes complete."""
        if self._is_over():
            return []
        try:
            whole = self._parser.whole(data)
        except CallFailed as failed:
            self.failure = failed
            return []
        return self._take(whole) if whole else []

    def end(self) -> list[ChatEvent]:
        """What is left: the last event may lack its blank line, an error has none at all."""
        if self._is_over():
            return []
        was_unsound = self._unsound
        events = self.feed(b"\n\n")
        if not self._is_over():
            self._conclude(was_unsound)
        return events

    def _is_over(self) -> bool:
        return self.complete or self.failure is not None

    def _conclude(self, was_unsound: bool) -> None:
        """Judge a stream of which nothing more will come."""
        if self._chunks.has_finished:
            self.complete = True
        elif was_unsound and self._unsound:
            self.failure = malformed("The provider sent events that are not what they should be")
        else:
            self.failure = cut()

    def _take(self, whole: bytes) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        chunks = self._chunks
        for block in whole.split(b"\n\n"):
            payload = payload_of(block) if block else None
            if payload is None:
                continue
            try:
                events += chunks.events(document_of(payload))
            except (orjson.JSONDecodeError, UnsoundChunk):
                self._unsound = True
                continue
            self._unsound = False
            if chunks.failure is not None:
                self.failure = chunks.failure
                break
            if chunks.is_complete:
                self.complete = True
                break
        return events


def payload_of(block: bytes) -> bytes | None:
    """The JSON of some lines of a stream: an event's data, or what stands there without."""
    if block.startswith(b"data: ") and b"\n" not in block:
        payload = block[6:]
    else:
        event = parse_block(block)
        if event is not None:
            payload = event[1]
        else:
            payload = block.strip()
            if payload[:1] not in (b"{", b"["):
                return None
    return None if payload == _DONE else payload


def document_of(payload: bytes) -> Document:
    """The response, which may stand alone in a list.

    Raises:
        JSONDecodeError: it is no JSON.
        UnsoundChunk: it is no object.
    """
    document = loads(payload)
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        raise UnsoundChunk
    return document
