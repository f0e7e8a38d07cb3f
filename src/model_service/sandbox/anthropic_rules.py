"""What the Messages API refuses in a request of the right shape, in its own words.

Rules after https://platform.claude.com/docs/en/api/messages and the errors of the live API
in autumn 2026: turns of one role may follow one another and the first may be the
assistant's (both were refused once); `system` turns have their places, and recent models
take no prefill.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final, Protocol

from model_service.sandbox.anthropic_fields import InvalidRequest, fail
from model_service.sandbox.anthropic_shapes import WITHOUT_SAMPLING, checked

Block = Mapping[str, object]

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
_ONLY_ASSISTANT: Final = frozenset({"tool_use", "thinking", "redacted_thinking"})
_ONLY_USER: Final = frozenset({"tool_result"})


class ModelLimits(Protocol):
    """What these rules need to know of a model."""

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
    def sampling(self) -> bool:
        """Whether it takes sampling parameters that are not its defaults."""
        ...

    @property
    def system_turns(self) -> bool:
        """Whether `system` turns may stand among the messages."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the conversation; a string is a block of text."""

    role: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """A request of the right shape. `body` is the whole of it, without what is null."""

    model: str
    max_tokens: int
    turns: Sequence[Turn]
    body: Mapping[str, object]
    system: Sequence[Block] = ()
    tools: Sequence[Block] = field(default=())

    def section(self, name: str) -> Block:
        """One of the objects in the body, or an empty one."""
        value = self.body.get(name)
        return value if isinstance(value, Mapping) else {}

    @property
    def blocks(self) -> Iterator[Block]:
        """All blocks of all turns."""
        return (block for turn in self.turns for block in turn.blocks)


def parse(body: object, version: str, *, counting: bool = False) -> MessageRequest:
    """The request, when it has the fields it needs, of the right types, and no others.

    `version` is the `anthropic-version` asked for. Raises InvalidRequest with the first fault.
    """
    shaped = checked(body, version, counting=counting)
    given = {name: value for name, value in shaped.items() if value is not None}
    turns = tuple(Turn(turn["role"], blocks_of(turn["content"])) for turn in given["messages"])
    for index, turn in enumerate(turns):
        _check_turn(index, turn, last=index == len(turns) - 1)
        if version == WITHOUT_SAMPLING:
            _check_newest(index, turn)
    system = blocks_of(given.get("system", []))
    if any(_is_empty_text(block) for block in system):
        fail("system", "text content blocks must be non-empty")
    return MessageRequest(
        model=given["model"],
        max_tokens=given.get("max_tokens", 0),
        turns=turns,
        body=given,
        system=system,
        tools=tuple(given.get("tools", ())),
    )


def blocks_of(content: object) -> Sequence[Block]:
    """The blocks of a content; a string is one of text, an empty one none."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content if isinstance(content, list) else []


def check(request: MessageRequest, model: ModelLimits) -> None:
    """Raise InvalidRequest when a well-formed request asks what this model does not do."""
    if request.max_tokens > model.max_tokens:
        raise InvalidRequest(
            f"max_tokens: {request.max_tokens} > {model.max_tokens}, which is the maximum allowed "
            f"number of output tokens for {model.id}"
        )
    _check_sampling(request.body, model)
    _check_stop_sequences(request.body)
    roles = [turn.role for turn in request.turns]
    for index, role in enumerate(roles):
        if role == "system":
            if not model.system_turns:
                fail(f"messages.{index}", "role 'system' is not supported on this model")
            _check_system_place(index, roles)
    _check_tool_pairs(request.turns)
    if roles[-1] == "assistant":
        if not model.prefill:
            raise InvalidRequest(_NO_PREFILL)
        last = request.turns[-1].blocks
        if last and str(last[-1].get("text", "")).endswith((" ", "\n", "\t")):
            fail("messages", "final assistant content cannot end with trailing whitespace")


def _check_turn(index: int, turn: Turn, *, last: bool) -> None:
    where = f"messages.{index}"
    if not turn.blocks:
        if turn.role == "system":
            fail(where, "system content must contain at least one block")
        if turn.role == "user":
            fail(where, "user messages must have non-empty content")
        if not last:
            fail(
                where,
                "all messages must have non-empty content except for the optional final "
                "assistant message",
            )
    for block in turn.blocks:
        kind = str(block.get("type"))
        if _is_empty_text(block):
            fail("messages", "text content blocks must be non-empty")
        if kind == "text" and not str(block["text"]).strip():
            fail("messages", "text content blocks must contain non-whitespace text")
        if turn.role != "assistant" and kind in _ONLY_ASSISTANT:
            fail(where, f"`{kind}` blocks can only be in `assistant` messages")
        if turn.role != "user" and kind in _ONLY_USER:
            fail(where, f"`{kind}` blocks can only be in `user` messages")
        if kind == "tool_result" and any(map(_is_empty_text, blocks_of(block.get("content")))):
            fail("messages", "text content blocks must be non-empty")


def _check_newest(index: int, turn: Turn) -> None:
    """What came with 2026-10-21 (https://platform.claude.com/docs/en/api/migration-2026-10-21)."""
    for place, block in enumerate(turn.blocks):
        where = f"messages.{index}.content.{place}"
        if turn.role == "assistant" and block.get("type") == "document":
            fail(where, "`document` blocks can only be in `user` messages")
        if turn.role == "user" and block.get("type") == "text" and block.get("citations"):
            fail(f"{where}.text.citations", "Extra inputs are not permitted")


def _is_empty_text(block: Block) -> bool:
    return block.get("type") == "text" and not block.get("text")


def _check_sampling(body: Mapping[str, object], model: ModelLimits) -> None:
    if not model.sampling:
        defaults: dict[str, object] = {"temperature": 1, "top_p": 1}
        for name in ("temperature", "top_p", "top_k"):
            if name in body and body[name] != defaults.get(name):
                raise InvalidRequest(f"`{name}` is deprecated for this model.")
    elif "temperature" in body and "top_p" in body:
        raise InvalidRequest(
            "`temperature` and `top_p` cannot both be specified for this model. "
            "Please use only one."
        )


def _check_stop_sequences(body: Mapping[str, object]) -> None:
    stops = body.get("stop_sequences")
    if isinstance(stops, list) and any(not str(stop).strip() for stop in stops):
        fail("stop_sequences", "each stop sequence must contain non-whitespace")


def _check_system_place(index: int, roles: Sequence[str]) -> None:
    """A run of system turns follows a user's turn, and precedes an assistant's or the end."""
    before = next((role for role in reversed(roles[:index]) if role != "system"), None)
    after = next((role for role in roles[index:] if role != "system"), None)
    if before is None:
        fail(f"messages.{index}", _SYSTEM_FIRST)
    if before == "assistant":
        fail(f"messages.{index}", _SYSTEM_AFTER)
    if after == "user":
        fail(f"messages.{index}", _SYSTEM_BEFORE)


def _check_tool_pairs(turns: Sequence[Turn]) -> None:
    """Every call is answered once, first thing in the next turn, and nothing else is."""
    seen: set[object] = set()
    called: list[object] = []
    for index, turn in enumerate(turns):
        answered = _check_results(index, turn, called)
        missing = [call for call in called if call not in answered]
        if missing:
            fail(
                f"messages.{index - 1}",
                "`tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(map(str, missing))}. Each `tool_use` block must have a corresponding "
                "`tool_result` block in the next message.",
            )
        called = []
        for place, block in enumerate(turn.blocks):
            if block.get("type") == "tool_use":
                if block["id"] in seen:
                    fail(f"messages.{index}.content.{place}", "`tool_use` ids must be unique")
                seen.add(block["id"])
                called.append(block["id"])
    if called:
        fail(
            f"messages.{len(turns) - 1}",
            "`tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(map(str, called))}. Each `tool_use` block must have a corresponding "
            "`tool_result` block in the next message.",
        )


def _check_results(index: int, turn: Turn, called: Sequence[object]) -> set[object]:
    """The calls that the results at the beginning of a turn answer."""
    for place, block in enumerate(turn.blocks):
        if block.get("type") == "tool_result" and block["tool_use_id"] not in called:
            fail(
                f"messages.{index}.content.{place}",
                "unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{block['tool_use_id']}. Each `tool_result` block must have a corresponding "
                "`tool_use` block in the previous message.",
            )
    leading = takewhile(lambda block: block.get("type") == "tool_result", turn.blocks)
    answered: set[object] = set()
    for place, block in enumerate(leading):
        if block["tool_use_id"] in answered:
            fail(
                f"messages.{index}.content.{place}",
                "each tool_use must have a single result. Found multiple `tool_result` blocks "
                f"with id: {block['tool_use_id']}",
            )
        answered.add(block["tool_use_id"])
    return answered
