"""Counting tokens without a call.

Source: https://platform.claude.com/docs/en/build-with-claude/token-counting
"""

from typing import Final

from model_service.providers.chat import ChatRequest
from model_service.providers.dialects.anthropic.door import read_prompt
from model_service.providers.dialects.anthropic.faults import AnthropicFaults, holds_error
from model_service.providers.dialects.anthropic.upstream import write_request
from model_service.providers.dialects.anthropic.wire import COUNT_PATH, VERSION_HEADER
from model_service.providers.faults import CallFailed, malformed
from model_service.providers.fields import Fields
from model_service.providers.translation import Document, Notes, Outgoing, Target

# What of a request counts; the API refuses the rest, such as `max_tokens`.
_COUNTED: Final[tuple[str, ...]] = (
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
)


class AnthropicCount:
    """Both sides of counting; see `CountDoor` and `CountUpstream`."""

    def read(self, body: Document, model: str) -> ChatRequest:
        """What is to be counted: a request that need not say `max_tokens`. Raises CallFailed."""
        return read_prompt(Fields(body), model)

    def count(self, tokens: int) -> Document:
        """The answer."""
        return {"input_tokens": tokens}

    def count_request(self, request: ChatRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send. Raises CallFailed as a call with the same request does."""
        body = write_request(request, target, notes)
        counted = {name: body[name] for name in _COUNTED if name in body}
        return Outgoing(COUNT_PATH, counted, VERSION_HEADER)

    def count_answer(self, document: Document) -> int:
        """The number of tokens. Raises CallFailed when the answer does not say."""
        return counted_tokens(document)


def counted_tokens(document: object) -> int:
    """The number in an answer. Raises CallFailed."""
    if isinstance(document, dict):
        if holds_error(document):
            raise CallFailed(AnthropicFaults().fault(200, document))
        tokens = document.get("input_tokens")
        if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0:
            return tokens
    raise malformed("The provider did not say how many tokens there are")
