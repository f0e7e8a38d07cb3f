"""Counting tokens without a call.

Source: https://platform.claude.com/docs/en/build-with-claude/token-counting
"""

from typing import Final

from model_service.providers.chat import ChatRequest, Usage
from model_service.providers.dialects.anthropic.faults import AnthropicFaults, holds_error
from model_service.providers.dialects.anthropic.passthrough import read_document
from model_service.providers.dialects.anthropic.thoughts import send_own_thoughts
from model_service.providers.dialects.anthropic.upstream import write_request
from model_service.providers.dialects.anthropic.wire import COUNT_PATH, VERSION_HEADER
from model_service.providers.faults import CallFailed, malformed
from model_service.providers.translation import (
    Document,
    Notes,
    Outgoing,
    StreamRelay,
    Target,
)

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
    """Both sides; what is to be counted, an `AnthropicDoor` reads."""

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
        if holds_error(document):
            raise CallFailed(AnthropicFaults().fault(200, document))
        tokens = document.get("input_tokens")
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
            raise malformed("The provider did not say how many tokens there are")
        return tokens


class CountPassthrough:
    """From Anthropic's door to Anthropic: nothing but the model's name is edited."""

    def request(self, body: Document, target: Target, *, stream: bool) -> Outgoing:  # noqa: ARG002
        """The body with the provider's model name, without thoughts of other providers."""
        body["model"] = target.upstream_model
        send_own_thoughts(body)
        return Outgoing(COUNT_PATH, body, VERSION_HEADER)

    def answer(self, body: bytes, model: str) -> tuple[bytes, Usage | None]:  # noqa: ARG002
        """The count as it came; nothing was used. Raises CallFailed when it is none."""
        AnthropicCount().count_answer(read_document(body))
        return body, None

    def relay(self, body: Document, model: str) -> StreamRelay:  # noqa: ARG002
        """There is none."""
        raise RuntimeError("counting does not stream")
