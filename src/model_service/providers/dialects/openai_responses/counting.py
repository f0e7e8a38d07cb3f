"""Counting the tokens of a request: `POST /v1/responses/input_tokens`.

Source: https://developers.openai.com/api/docs/guides/token-counting
"""

from typing import Final

from model_service.providers.chat import ChatRequest
from model_service.providers.dialects.openai_responses.upstream import prompt
from model_service.providers.faults import CallFailed, malformed
from model_service.providers.openai_faults import OpenAIFaults, holds_error
from model_service.providers.translation import Document, FaultReader, Notes, Outgoing, Target

#: The path below the provider's base URL.
PATH: Final = "/responses/input_tokens"


class ResponsesCount:
    """Counts by OpenAI's own count. What does not go into the prompt is not sent."""

    def __init__(self, faults: FaultReader | None = None) -> None:
        self._faults: FaultReader = OpenAIFaults() if faults is None else faults

    def count_request(self, request: ChatRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send. Raises CallFailed for what the API cannot say."""
        return Outgoing(PATH, prompt(request, target, notes))

    def count_answer(self, document: Document) -> int:
        """The number of tokens. Raises CallFailed when the answer does not say."""
        if holds_error(document):
            raise CallFailed(self._faults.fault(200, document))
        tokens = document.get("input_tokens")
        if type(tokens) is not int or tokens < 0:
            raise malformed("The provider's answer does not say how many tokens there are")
        return tokens
