"""From Google's door to Gemini: everything as it is, but for the names of the model.

Registered defaults apply where the caller is silent. An answer says `modelVersion`, in every
event of a stream: there the registered name goes in by bytes, once the first event has shown
how the provider writes it, so that no event is written anew.
"""

from typing import Final

import orjson

from model_service.providers.chat import FinishReason, Usage
from model_service.providers.dialects.google.chunks import UnsoundChunk
from model_service.providers.dialects.google.faults import GoogleFaults, error_object
from model_service.providers.dialects.google.reader import document_of, payload_of
from model_service.providers.dialects.google.signing import is_foreign
from model_service.providers.dialects.google.words import FINISHES, method_path, resource, usage_of
from model_service.providers.faults import CallFailed, Fault, cut, malformed
from model_service.providers.sse import EventParser, data_event
from model_service.providers.translation import Document, Outgoing, Target

_FAULTS: Final = GoogleFaults()
_KEY: Final = b'"modelVersion"'
_CALL: Final = b'"functionCall"'  # a key: within a text its quotes were escaped
_SIGNATURES: Final = ("thoughtSignature", "thought_signature")
_CONFIGS: Final = ("generationConfig", "generation_config")


class GooglePassthrough:
    """The whole of `generateContent`, and of `streamGenerateContent` as server-sent events."""

    def request(self, body: Document, target: Target, *, stream: bool) -> Outgoing:
        """The body, with the provider's name for the model and the registered defaults."""
        if body.get("model") is not None:
            body["model"] = resource(target.upstream_model)
        _add_defaults(body, target)
        send_own_signatures(body)
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return Outgoing(method_path(target.upstream_model, method), body)

    def answer(self, body: bytes, model: str) -> tuple[bytes, Usage | None]:
        """A whole answer."""
        try:
            document = document_of(body)
        except (orjson.JSONDecodeError, UnsoundChunk):
            raise malformed("The provider's answer is not a JSON object") from None
        if error_object(document) is not None:
            raise CallFailed(_FAULTS.fault(200, document))
        if "candidates" not in document and "promptFeedback" not in document:
            raise malformed("The provider's answer has no candidates")
        return _Renaming(model).renamed(body, document), usage_of(document.get("usageMetadata"))

    def relay(self, body: Document, model: str) -> "GoogleRelay":
        """The way back of a stream."""
        return GoogleRelay(model, one_candidate=_asks_for_one(body))


class GoogleRelay:
    """One stream. Events that are not sound are left out: clients would break at them."""

    def __init__(self, model: str, *, one_candidate: bool = True) -> None:
        """`one_candidate`: the first one to end is the only one there is."""
        self.failure: CallFailed | None = None
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.began = False
        self.complete = False
        self._one = one_candidate
        self._parser = EventParser()
        self._renaming = _Renaming(model)
        self._calls = False
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._unsound = False

    def feed(self, data: bytes) -> bytes:
        """The events that the bytes complete."""
        if self._is_over():
            return b""
        try:
            whole = self._parser.whole(data)
        except CallFailed as failed:
            self.failure = failed
            return b""
        return self._take(whole) if whole else b""

    def end(self) -> bytes:
        """The provider's stream is over."""
        if self._is_over():
            return b""
        was_unsound = self._unsound
        events = self.feed(b"\n\n")
        if not self._is_over():
            self._conclude(was_unsound)
        return events

    def _is_over(self) -> bool:
        return self.complete or self.failure is not None

    def _conclude(self, was_unsound: bool) -> None:
        """Judge a stream of which nothing more will come."""
        if self._finished >= self._seen and self._finished:
            self.complete = True
        elif was_unsound and self._unsound:
            self.failure = malformed("The provider sent events that are not what they should be")
        else:
            self.failure = cut()

    def fail(self, fault: Fault) -> bytes:
        """The error as an event, which clients raise as they do an error answer."""
        return data_event(orjson.dumps(_FAULTS.error(fault, "")))

    def _take(self, whole: bytes) -> bytes:
        events: list[bytes] = []
        for block in whole.split(b"\n\n"):
            payload = payload_of(block) if block else None
            if payload is None:
                continue
            try:
                document = document_of(payload)
            except (orjson.JSONDecodeError, UnsoundChunk):
                self._unsound = True
                continue
            self._unsound = False
            if "error" in document and error_object(document) is not None:
                self.failure = CallFailed(_FAULTS.fault(200, document))
                break
            renamed = self._renaming.renamed(payload, document)
            if b"\n" in renamed:
                renamed = renamed.replace(b"\n", b" ")  # between values: text has it escaped
            events.append(data_event(renamed))
            if not self._calls and _CALL in payload:
                self._calls = True
            self._read(document)
            if self.complete:
                break
        return b"".join(events)

    def _read(self, document: Document) -> None:
        """What the event says of usage and of the end."""
        usage = usage_of(document.get("usageMetadata"))
        if usage is not None:
            self.usage = usage
        candidates = document.get("candidates")
        if isinstance(candidates, list) and candidates:
            self.began = True
            for candidate in candidates:
                if isinstance(candidate, dict):
                    self._read_candidate(candidate)
        elif _is_blocked(document):
            self._finished.add(0)
            self.finish = self.finish or FinishReason.CONTENT_FILTER
        if usage is not None and self._one and self._finished:
            self.complete = True

    def _read_candidate(self, candidate: Document) -> None:
        index = candidate.get("index", 0)
        index = index if isinstance(index, int) else 0
        self._seen.add(index)
        reason = candidate.get("finishReason")
        if not isinstance(reason, str) or reason == "FINISH_REASON_UNSPECIFIED":
            return
        self._finished.add(index)
        if index == 0 and self.finish is None:
            # A failure of the model's own is the caller's to see, in Google's word for it.
            finish = FINISHES.get(reason, FinishReason.STOP)
            calls = self._calls and finish is FinishReason.STOP
            self.finish = FinishReason.TOOL_CALLS if calls else finish


class _Renaming:
    """Puts the registered name where a response has `modelVersion`."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._theirs = b""
        self._ours = b""

    def renamed(self, payload: bytes, document: Document) -> bytes:
        """The response with the name; `document` is what it says."""
        version = document.get("modelVersion")
        if not isinstance(version, str):
            return payload
        # Were the key there twice, one would be in the arguments of a call. Within a text it
        # cannot be met: quotes are escaped there.
        if payload.count(_KEY) == 1:
            if not self._theirs or self._theirs not in payload:
                self._learn(payload, version)
            if self._theirs:
                return payload.replace(self._theirs, self._ours, 1)
        document["modelVersion"] = self._model
        try:
            return orjson.dumps(document)
        except orjson.JSONEncodeError:  # nested more deeply than can be written
            return payload

    def _learn(self, payload: bytes, version: str) -> None:
        """How the provider writes it: with or without a blank behind the colon."""
        self._theirs = b""
        value = orjson.dumps(version)
        for colon in (b": ", b":"):
            theirs = _KEY + colon + value
            if theirs in payload:
                self._theirs = theirs
                self._ours = _KEY + colon + orjson.dumps(self._model)
                return


def _add_defaults(body: Document, target: Target) -> None:
    name = next((name for name in _CONFIGS if body.get(name) is not None), _CONFIGS[0])
    config = body.get(name)
    if config is None:
        config = {}
        body[name] = config
    if not isinstance(config, dict):
        return  # which the provider says better
    if config.get("maxOutputTokens") is None and config.get("max_output_tokens") is None:
        config["maxOutputTokens"] = target.max_tokens
    if target.default_temperature is not None and config.get("temperature") is None:
        config["temperature"] = target.default_temperature


def send_own_signatures(body: Document) -> None:
    """Take out what other models signed, which Gemini would refuse as corrupted.

    Nothing is left of a thought that was hidden in its signature.
    """
    contents = body.get("contents")
    for content in contents if isinstance(contents, list) else (contents,):
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(parts, list):
            continue
        foreign = False
        for part in parts:
            if isinstance(part, dict):
                for name in _SIGNATURES:
                    signature = part.get(name)
                    if isinstance(signature, str) and is_foreign(signature):
                        del part[name]
                        foreign = True
        if foreign:
            # An empty part stays where nothing else is: a turn without parts is refused.
            parts[:] = [part for part in parts if not _is_empty(part)] or [{"text": ""}]


def _is_empty(part: object) -> bool:
    return isinstance(part, dict) and not part.get("text") and part.keys() <= {"text", "thought"}


def _asks_for_one(body: Document) -> bool:
    for name in _CONFIGS:
        config = body.get(name)
        if isinstance(config, dict):
            count = config.get("candidateCount") or config.get("candidate_count")
            if count not in (None, 1):
                return False
    return True


def _is_blocked(document: Document) -> bool:
    feedback = document.get("promptFeedback")
    return isinstance(feedback, dict) and bool(feedback.get("blockReason"))
