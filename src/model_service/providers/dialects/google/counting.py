"""Counting tokens without a call: `countTokens` (https://ai.google.dev/api/tokens)."""

from typing import Final

import orjson

from model_service.providers.chat import ChatRequest, Usage
from model_service.providers.dialects.google.faults import GoogleFaults, error_object
from model_service.providers.dialects.google.passthrough import send_own_signatures
from model_service.providers.dialects.google.upstream import GoogleUpstream
from model_service.providers.dialects.google.words import method_path, resource
from model_service.providers.faults import CallFailed, malformed
from model_service.providers.translation import Document, Notes, Outgoing, StreamRelay, Target

_METHOD: Final = "countTokens"
_WRAPPED: Final = ("generateContentRequest", "generate_content_request")
_FAULTS: Final = GoogleFaults()
_UPSTREAM: Final = GoogleUpstream()


class GoogleCount:
    """Both sides; what is to be counted, a `GoogleDoor` reads."""

    def count(self, tokens: int) -> Document:
        """The answer."""
        return {"totalTokens": tokens}

    def count_request(self, request: ChatRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send: the whole request, so that instructions and tools are counted too."""
        body = _UPSTREAM.request(request, target, notes).body
        wrapped = {"model": resource(target.upstream_model), **body}
        path = method_path(target.upstream_model, _METHOD)
        return Outgoing(path, {"generateContentRequest": wrapped})

    def count_answer(self, document: Document) -> int:
        """The number of tokens."""
        if error_object(document) is not None:
            raise CallFailed(_FAULTS.fault(200, document))
        tokens = document.get("totalTokens", 0)  # left out when it is none
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
            raise malformed("The provider's answer has no number of tokens")
        return tokens


class GoogleCountPassthrough:
    """From Google's door to Gemini."""

    def request(self, body: Document, target: Target, *, stream: bool) -> Outgoing:  # noqa: ARG002
        """The body, with the provider's name for the model."""
        for name in _WRAPPED:
            wrapped = body.get(name)
            if isinstance(wrapped, dict):
                wrapped["model"] = resource(target.upstream_model)
                send_own_signatures(wrapped)
        send_own_signatures(body)
        if "model" in body:
            body["model"] = resource(target.upstream_model)
        return Outgoing(method_path(target.upstream_model, _METHOD), body)

    def answer(self, body: bytes, model: str) -> tuple[bytes, Usage | None]:  # noqa: ARG002
        """The answer as it came; it names no model, and nothing was used."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise malformed("The provider's answer is not valid JSON") from None
        if not isinstance(document, dict):
            raise malformed("The provider's answer is not a JSON object")
        if error_object(document) is not None:
            raise CallFailed(_FAULTS.fault(200, document))
        return body, None

    def relay(self, body: Document, model: str) -> StreamRelay:  # noqa: ARG002
        """There is none."""
        raise RuntimeError("counting does not stream")
