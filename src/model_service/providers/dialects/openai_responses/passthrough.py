"""Calls whose door and upstream are both the Responses API: named edits, all else as it came.

Edited are the model's name both ways, registered defaults where the caller is silent, and the
thoughts of other providers in the history, which OpenAI would refuse.
"""

import orjson

from model_service.providers.chat import Usage
from model_service.providers.dialects.openai_responses.relay import ResponseRelay
from model_service.providers.dialects.openai_responses.thoughts import is_foreign
from model_service.providers.dialects.openai_responses.upstream import PATH
from model_service.providers.dialects.openai_responses.usage import read_usage
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, malformed
from model_service.providers.openai_faults import OpenAIFaults, holds_error
from model_service.providers.openai_models import thinks_unasked
from model_service.providers.translation import Document, Outgoing, StreamRelay, Target


class ResponsesPassthrough:
    """Passes calls through."""

    def __init__(self, faults: OpenAIFaults | None = None) -> None:
        self._faults = OpenAIFaults() if faults is None else faults

    def request(self, body: Document, target: Target, *, stream: bool) -> Outgoing:
        """The caller's body with the named edits."""
        body["model"] = target.upstream_model
        if stream:
            body["stream"] = True
        if body.get("max_output_tokens") is None:
            body["max_output_tokens"] = target.max_tokens
        temperature = target.default_temperature
        if (
            temperature is not None
            and body.get("temperature") is None
            and not _thinks(body, target.upstream_model)
        ):
            body["temperature"] = temperature
        items = body.get("input")
        if isinstance(items, list) and any(map(is_foreign, items)):
            body["input"] = [item for item in items if not is_foreign(item)]
        return Outgoing(PATH, body)

    def answer(self, body: bytes, model: str) -> tuple[bytes, Usage | None]:
        """A whole answer under the registered name.

        Raises:
            CallFailed: the body is no response, or holds an error.
        """
        try:
            response = loads(body)
        except ValueError:
            raise malformed("The provider's answer is not JSON") from None
        if not isinstance(response, dict):
            raise malformed("The provider's answer is no object")
        if holds_error(response) or response.get("status") in ("failed", "cancelled"):
            raise CallFailed(self._faults.fault(200, _error_of(response)))
        if not isinstance(response.get("output"), list):
            raise malformed("The provider's answer has no output")
        response["model"] = model
        try:
            return orjson.dumps(response), read_usage(response)
        except TypeError:
            raise malformed("The provider's answer is nested too deeply") from None

    def relay(self, body: Document, model: str) -> StreamRelay:  # noqa: ARG002 - nothing to strip
        """The way back of a stream."""
        return ResponseRelay(self._faults, model)


def _thinks(body: Document, model: str) -> bool:
    """Whether the model will think: beside that, a temperature would be refused."""
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return thinks_unasked(model) if effort is None else effort != "none"


def _error_of(response: Document) -> Document:
    return response if response.get("error") else {"error": {}}
