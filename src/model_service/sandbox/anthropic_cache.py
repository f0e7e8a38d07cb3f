"""The prompt cache: what marked beginnings of a prompt cost when they are written and read.

After https://platform.claude.com/docs/en/build-with-claude/prompt-caching, but for the least
length of a prompt that is cached (any is, here) and for forgetting after five minutes or an
hour (what was written stays until the stand-in is cleared).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from model_service.sandbox.anthropic_fields import InvalidRequest, fail
from model_service.sandbox.anthropic_rules import Block, MessageRequest
from model_service.sandbox.anthropic_thinking import THINKING, digest, plain

_MOST_MARKS: Final = 4


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens of a prompt that were read from the cache, and written for either time."""

    read: int = 0
    write_5m: int = 0
    write_1h: int = 0


@dataclass(frozen=True, slots=True)
class _Mark:
    where: str
    ttl: str


def placed(request: MessageRequest) -> Iterator[tuple[str, Block]]:
    """All blocks of a prompt and where they stand, in the order in which it is cached."""
    for index, tool in enumerate(request.tools):
        yield f"tools.{index}", tool
    for index, block in enumerate(request.system):
        yield f"system.{index}", block
    for index, turn in enumerate(request.turns):
        for place, block in enumerate(turn.blocks):
            yield f"messages.{index}.content.{place}", block


def check_marks(request: MessageRequest) -> None:
    """Raise InvalidRequest for too many marks, or times in the wrong order."""
    marks = [mark for _, found in _steps(request) for mark in found]
    if len(marks) > _MOST_MARKS:
        raise InvalidRequest(
            f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}."
        )
    shorter = False
    for mark in marks:
        if shorter and mark.ttl == "1h":
            fail(
                f"{mark.where}.cache_control.ttl",
                "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control "
                "block. Note that blocks are processed in the following order: `tools`, `system`, "
                "`messages`.",
            )
        shorter = shorter or mark.ttl == "5m"


class PromptCache:
    """What was written so far."""

    def __init__(self) -> None:
        self._written: set[str] = set()

    def clear(self) -> None:
        """Forget it all."""
        self._written.clear()

    def use(self, request: MessageRequest, tokens: list[int]) -> CacheUse:
        """What a request reads and writes; `tokens` is how many there are up to each block."""
        reached = ""
        read = done = 0
        written = {"5m": 0, "1h": 0}
        for (block, marks), upto in zip(_steps(request), tokens, strict=True):
            reached = digest(request.model, reached, plain(block))
            if reached in self._written:
                read = done = upto
            for mark in marks:
                if reached not in self._written:
                    written[mark.ttl] += upto - done
                    done = upto
                    self._written.add(reached)
        return CacheUse(read, written["5m"], written["1h"])


def _steps(request: MessageRequest) -> list[tuple[Block, list[_Mark]]]:
    """The blocks of a prompt, each with the mark on it or, if there are two, in it."""
    blocks = list(placed(request))
    steps = [(block, _marks(block, where)) for where, block in blocks]
    whole = request.body.get("cache_control")
    if isinstance(whole, Mapping):
        # Marks the last block that can be marked, unless it is already.
        for block, marks in reversed(steps):
            if block.get("type") not in THINKING:
                if not marks:
                    marks.append(_Mark("", str(whole.get("ttl", "5m"))))
                break
    return steps


def _marks(block: Block, where: str) -> list[_Mark]:
    content = block.get("content")
    inside = content if isinstance(content, list) else []
    marked = [
        part["cache_control"]
        for part in (*inside, block)
        if isinstance(part, Mapping) and isinstance(part.get("cache_control"), Mapping)
    ]
    return [_Mark(where, str(mark.get("ttl", "5m"))) for mark in marked]
