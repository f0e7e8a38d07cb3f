"""What the Messages API refuses, in its own words.

Rules after https://platform.claude.com/docs/en/api/messages and the errors of the live API
in autumn 2026: turns of one role may follow one another and the first may be the
assistant's (both were refused once); `system` turns have their places, and recent models
take no prefill.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

# The API version that removed the sampling parameters
# (https://platform.claude.com/docs/en/api/versioning); its client 2.x asks for it.
WITHOUT_SAMPLING: Final = "2026-10-21"
_SAMPLING: Final = frozenset({"temperature", "top_k", "top_p"})

# The parameters of POST /v1/messages without any beta header.
_FIELDS: Final = frozenset(
    {
        "cache_control",
        "container",
        "diagnostics",
        "inference_geo",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
_REQUIRED: Final = ("model", "max_tokens", "messages")
_TURN_FIELDS: Final = ("role", "content")
_ROLES: Final = ("user", "assistant", "system")

_SYSTEM_ANYWHERE: Final = (
    "; the directive-only form (content: [] with output_config) is accepted at any position"
)
_SYSTEM_FIRST: Final = (
    f"use the top-level 'system' parameter for the initial system prompt{_SYSTEM_ANYWHERE}"
)
_SYSTEM_AFTER: Final = (
    "role 'system' must follow a 'user' message or an 'assistant' message ending in a server tool "
    f"result{_SYSTEM_ANYWHERE}"
)
_SYSTEM_BEFORE: Final = (
    f"role 'system' must precede an 'assistant' message or end the array{_SYSTEM_ANYWHERE}"
)
_NO_PREFILL: Final = (
    "This model does not support assistant message prefill. "
    "The conversation must end with a user message."
)


class ModelLimits(Protocol):
    """What the rules need to know of a model."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def max_tokens(self) -> int:
        """The most tokens one answer may have."""
        ...

    @property
    def prefill(self) -> bool:
        """Whether the conversation may end with the beginning of the answer."""
        ...

    @property
    def system_turns(self) -> bool:
        """Whether `system` turns may stand among the messages."""
        ...


class InvalidRequest(Exception):
    """A request the API answers with 400; the text is the API's message."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the conversation."""

    role: str
    content: str | list[object]


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """A well-formed request, as far as the stand-in reads it."""

    model: str
    max_tokens: int
    turns: tuple[Turn, ...]


def parse(body: object, version: str) -> MessageRequest:
    """The request, when it has the fields it needs, of the right types, and no others.

    `version` is the `anthropic-version` asked for. Raises InvalidRequest with the first fault.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("Input should be a valid dictionary")
    for name in _REQUIRED:
        if name not in body:
            raise InvalidRequest(f"{name}: Field required")
    known = _FIELDS - _SAMPLING if version == WITHOUT_SAMPLING else _FIELDS
    for name in body:
        if name not in known:
            raise InvalidRequest(f"{name}: Extra inputs are not permitted")
    model, max_tokens, messages = (body[name] for name in _REQUIRED)
    if not isinstance(model, str):
        raise InvalidRequest("model: Input should be a valid string")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool):
        raise InvalidRequest("max_tokens: Input should be a valid integer")
    if max_tokens < 0:
        raise InvalidRequest("max_tokens: Input should be greater than or equal to 0")
    if not isinstance(messages, list):
        raise InvalidRequest("messages: Input should be a valid list")
    if not messages:
        raise InvalidRequest("messages: at least one message is required")
    turns = tuple(_parse_turn(index, turn) for index, turn in enumerate(messages))
    if body.get("stream"):
        raise InvalidRequest("stream: the sandbox answers in one piece only")
    return MessageRequest(model, max_tokens, turns)


def check(request: MessageRequest, model: ModelLimits) -> None:
    """Raise InvalidRequest when a well-formed request asks what this model does not do."""
    if request.max_tokens > model.max_tokens:
        raise InvalidRequest(
            f"max_tokens: {request.max_tokens} > {model.max_tokens}, which is the maximum allowed "
            f"number of output tokens for {model.id}"
        )
    roles = [turn.role for turn in request.turns]
    for index, role in enumerate(roles):
        if role == "system":
            if not model.system_turns:
                fault = "role 'system' is not supported on this model"
                raise InvalidRequest(f"messages.{index}: {fault}")
            _check_system_place(index, roles)
    if roles[-1] == "assistant" and not model.prefill:
        raise InvalidRequest(_NO_PREFILL)


def _parse_turn(index: int, turn: object) -> Turn:
    where = f"messages.{index}"
    if not isinstance(turn, dict):
        raise InvalidRequest(f"{where}: Input should be a valid dictionary")
    for name in _TURN_FIELDS:
        if name not in turn:
            raise InvalidRequest(f"{where}.{name}: Field required")
    for name in turn:
        if name not in _TURN_FIELDS:
            raise InvalidRequest(f"{where}.{name}: Extra inputs are not permitted")
    role, content = turn["role"], turn["content"]
    if role not in _ROLES:
        raise InvalidRequest(
            f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant".'
        )
    if not isinstance(content, str | list):
        raise InvalidRequest(f"{where}.content: Input should be a valid list")
    if role == "system" and not content:
        raise InvalidRequest(f"{where}: system content must contain at least one block")
    if any(_is_empty_text(block) for block in content):
        raise InvalidRequest("messages: text content blocks must be non-empty")
    return Turn(role, content)


def _is_empty_text(block: object) -> bool:
    return isinstance(block, dict) and block.get("type") == "text" and not block.get("text")


def _check_system_place(index: int, roles: Sequence[str]) -> None:
    """A run of system turns follows a user's turn, and precedes an assistant's or the end."""
    before = next((role for role in reversed(roles[:index]) if role != "system"), None)
    after = next((role for role in roles[index:] if role != "system"), None)
    if before is None:
        raise InvalidRequest(f"messages.{index}: {_SYSTEM_FIRST}")
    if before == "assistant":
        raise InvalidRequest(f"messages.{index}: {_SYSTEM_AFTER}")
    if after == "user":
        raise InvalidRequest(f"messages.{index}: {_SYSTEM_BEFORE}")
