"""Thinking: how it may be asked for, and the signatures of the blocks that come back.

After https://platform.claude.com/docs/en/build-with-claude/thinking and the pages on preserved
thinking and on troubleshooting beside it. A signature here says which model thought what,
after which conversation, and that the stand-in made it.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from model_service.sandbox.anthropic_fields import InvalidRequest, fail
from model_service.sandbox.anthropic_models import MUST_THINK, AnthropicModel
from model_service.sandbox.anthropic_rules import Block, MessageRequest

THINKING: Final = frozenset({"thinking", "redacted_thinking"})

_SECRET: Final = b"the sandbox's own thoughts"
_MAC_BYTES: Final = 16

_USE_ADAPTIVE: Final = (
    'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
)
_USE_BETWEEN_TOOLS: Final = (
    'To turn thinking off on this model, send "thinking": {"type": "between_tools"}.'
)
_DOCUMENTATION: Final = (
    "Please consult our documentation at "
    "https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
)
_MODIFIED: Final = (
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. "
    "These blocks must remain as they were in the original response."
)
_BOUND: Final = (
    "Invalid `signature` in `thinking` block. The block is bound to a different conversation. "
    "Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "
    '"drop_block". That setting requires the `thinking-binding-controls-2026-08-01` value in the '
    "`anthropic-beta` header. "
)


@dataclass(frozen=True, slots=True)
class Prefix:
    """Digests of what stood before a block."""

    system: str
    tools: str
    messages: str


@dataclass(frozen=True, slots=True)
class Thought:
    """What a signature says: `previous` is the digest of the thinking block before it."""

    model: str
    text: str
    shown: bool
    redacted: bool
    system: str
    tools: str
    messages: str
    previous: str

    def sign(self) -> str:
        """The signature."""
        said = orjson.dumps(asdict(self))
        mac = hmac.digest(_SECRET, said, "sha256")[:_MAC_BYTES]
        return base64.b64encode(mac + said).decode()


def opened(signature: object) -> Thought | None:
    """What a signature says, or None when it is none of the stand-in's."""
    try:
        raw = base64.b64decode(str(signature), validate=True)
        mac, said = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, hmac.digest(_SECRET, said, "sha256")[:_MAC_BYTES]):
            return None
        return Thought(**orjson.loads(said))
    except (binascii.Error, ValueError):
        return None


def digest(*values: object) -> str:
    """A digest of JSON values that does not change with the order of their fields."""
    running = hashlib.sha256()
    for value in values:
        running.update(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
    return running.hexdigest()[:32]


def plain(block: object) -> object:
    """A block without what is no part of the conversation: marks for the cache, and nulls."""
    if isinstance(block, Mapping):
        return {
            name: plain(value)
            for name, value in block.items()
            if name != "cache_control" and value is not None
        }
    return [plain(item) for item in block] if isinstance(block, list) else block


class Trail:
    """The digests of a conversation as it grows, block by block."""

    def __init__(self, request: MessageRequest) -> None:
        self._system = digest(*map(plain, request.system))
        self._tools = digest(*map(plain, request.tools))
        self._messages = hashlib.sha256()
        self.previous = ""

    @property
    def prefix(self) -> Prefix:
        """What stands before the next block. Thinking does not count."""
        return Prefix(self._system, self._tools, self._messages.hexdigest()[:32])

    def add(self, role: str, block: Block) -> None:
        """Go one block on."""
        kind = block.get("type")
        if kind in THINKING:
            self.previous = digest(block["signature" if kind == "thinking" else "data"])
        else:
            self._messages.update(digest(role, plain(block)).encode())


def check_thinking(request: MessageRequest, model: AnthropicModel) -> None:
    """Raise InvalidRequest when thinking is asked for in a way this model does not take."""
    thinking = request.section("thinking")
    kind = thinking.get("type")
    effort = request.section("output_config").get("effort")
    if kind is not None and kind not in model.thinking:
        raise InvalidRequest(_not_supported(str(kind), model))
    if effort is not None and not model.effort:
        raise InvalidRequest("This model does not support the effort parameter.")
    if kind == "disabled" and effort in MUST_THINK:
        raise InvalidRequest(
            f'"thinking.type.disabled" is not supported for this model at effort "{effort}". '
            f"{_USE_ADAPTIVE}"
        )
    if kind == "enabled":
        _check_enabled(request, thinking["budget_tokens"])
    if kind in {"enabled", "adaptive"}:
        _check_sampling(request.body)


def thinks(request: MessageRequest, model: AnthropicModel, text: str) -> bool:
    """Whether the answer begins with thinking.

    A model that thinks unasked does so here when it is given an effort or the text says
    `think`; the rest counts as too simple to think about.
    """
    kind = request.section("thinking").get("type")
    if kind is not None:
        return kind in {"adaptive", "enabled"}
    return model.thinks and ("effort" in request.section("output_config") or "think" in text)


def shows(request: MessageRequest, model: AnthropicModel) -> bool:
    """Whether the text of thinking is in the answer."""
    display = request.section("thinking").get("display")
    return display == "summarized" or (display is None and not model.hides_thinking)


def check_blocks(
    request: MessageRequest,
    model: AnthropicModel,
    known: Callable[[str], AnthropicModel | None],
) -> None:
    """Raise InvalidRequest for a thinking block that is not as its model made it.

    What the model cannot read for being another's is let through, and not read.
    """
    trail = Trail(request)
    latest = max(
        (at for at, turn in enumerate(request.turns) if turn.role == "assistant"), default=-1
    )
    for index, turn in enumerate(request.turns):
        for place, block in enumerate(turn.blocks):
            if block.get("type") in THINKING:
                where = f"messages.{index}.content.{place}"
                thought = _checked(block, where, latest=index == latest)
                maker = known(thought.model)
                if maker is None or not _reads(model, maker):
                    continue
                if maker.bound and model.bound:
                    _check_prefix(thought, trail, where)
            trail.add(turn.role, block)


def _not_supported(kind: str, model: AnthropicModel) -> str:
    if kind == "adaptive":
        return "adaptive thinking is not supported on this model"
    advice = _USE_ADAPTIVE
    if kind == "disabled" and "between_tools" in model.thinking:
        advice = _USE_BETWEEN_TOOLS
    return f'"thinking.type.{kind}" is not supported for this model. {advice}'


def _check_enabled(request: MessageRequest, budget: object) -> None:
    if isinstance(budget, int) and "max_tokens" in request.body and budget >= request.max_tokens:
        raise InvalidRequest(
            "`max_tokens` must be greater than `thinking.budget_tokens`. "
            f"{_DOCUMENTATION}#max-tokens-and-context-window-size"
        )
    if request.section("tool_choice").get("type") in {"any", "tool"}:
        raise InvalidRequest("Thinking may not be enabled when tool_choice forces tool use.")
    index = len(request.turns) - 1
    if request.turns[index].role == "user":
        results = (block.get("type") == "tool_result" for block in request.turns[index].blocks)
        index = index - 1 if any(results) else -1
    if index >= 0 and request.turns[index].blocks:
        first = request.turns[index].blocks[0].get("type")
        if first not in THINKING:
            fail(
                f"messages.{index}.content.0.type",
                f"Expected `thinking` or `redacted_thinking`, but found `{first}`. When "
                "`thinking` is enabled, a final `assistant` message must start with a thinking "
                "block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). We "
                "recommend you include thinking blocks from previous turns. To avoid this "
                f"requirement, disable `thinking`. {_DOCUMENTATION}",
            )


def _check_sampling(body: Mapping[str, object]) -> None:
    if body.get("temperature", 1) != 1:
        raise InvalidRequest(
            "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode. "
            f"{_DOCUMENTATION}#important-considerations-when-using-extended-thinking"
        )
    if "top_k" in body:
        raise InvalidRequest(
            "`top_k` must be unset when thinking is enabled or in adaptive mode. "
            f"{_DOCUMENTATION}#important-considerations-when-using-extended-thinking"
        )
    top_p = body.get("top_p", 1)
    if isinstance(top_p, int | float) and top_p < 0.95:
        raise InvalidRequest(
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled or "
            f"in adaptive mode. {_DOCUMENTATION}"
        )


def _checked(block: Block, where: str, *, latest: bool) -> Thought:
    """What a block's signature says, when it is sound and the block is as it was."""
    redacted = block.get("type") == "redacted_thinking"
    thought = opened(block["data" if redacted else "signature"])
    if thought is None or thought.redacted != redacted:
        name, kind = ("data", "redacted_thinking") if redacted else ("signature", "thinking")
        fail(where, f"Invalid `{name}` in `{kind}` block")
    # Text in a block that was sent without any is not looked at.
    if not redacted and thought.shown and digest(block["thinking"]) != thought.text:
        fail(where, _MODIFIED if latest else "Invalid `signature` in `thinking` block")
    return thought


def _reads(model: AnthropicModel, maker: AnthropicModel) -> bool:
    return model.id == maker.id or maker.generation < model.generation


def _check_prefix(thought: Thought, trail: Trail, where: str) -> None:
    prefix = trail.prefix
    if thought.system != prefix.system:
        fail(where, f"{_BOUND}The `system` prompt differs from when the block was created.")
    if thought.tools != prefix.tools:
        fail(where, f"{_BOUND}The `tools` list differs from when the block was created.")
    if thought.messages != prefix.messages:
        fail(where, f"{_BOUND}The messages before the block differ from when it was created.")
    if trail.previous and thought.previous != trail.previous:
        fail(where, f"{_BOUND}An earlier thinking block is missing or out of order.")
