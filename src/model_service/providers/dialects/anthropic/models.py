"""What each Claude model takes, as far as requests have to differ.

Sources: https://platform.claude.com/docs/en/build-with-claude/thinking-troubleshooting (the table
of models), .../build-with-claude/thinking#sampling-parameters, .../build-with-claude/effort,
.../build-with-claude/mid-conversation-system-messages, .../build-with-claude/structured-outputs,
.../about-claude/models/whats-new-claude-4-6#prefill-removal
and the migration guide of each model, as of November 2026.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from model_service.providers.chat import Effort

_FAMILIES: Final = frozenset({"opus", "sonnet", "haiku", "fable", "mythos"})
_LEVELS: Final = (Effort.LOW, Effort.MEDIUM, Effort.HIGH, Effort.XHIGH, Effort.MAX)

#: How the API says that thinking is off; some models know one, some the other, some neither.
DISABLED: Final = "disabled"
BETWEEN_TOOLS: Final = "between_tools"


@dataclass(frozen=True, slots=True)
class Traits:
    """A model. The defaults are those of a name that tells nothing: the API is left to refuse.

    `budget` and `adaptive` are the ways in which it may be asked to think, `off` how not to,
    `thinks` whether it does without being asked, `hides` whether its thoughts are left out
    unless they are asked for. `sampling`: it takes temperature, top_p and top_k; `one_of_two`:
    of temperature and top_p only one. `forced_tools`: it can be made to call a tool.
    `system_turns`: instructions may stand among the messages. `structured`: it takes schemas
    for answers, and strict tools. `prefill`: the conversation may end with the beginning of the
    answer, which models from 4.6 on refuse.
    """

    budget: bool = True
    adaptive: bool = True
    off: str | None = DISABLED
    thinks: bool = False
    hides: bool = True
    efforts: tuple[Effort, ...] = _LEVELS
    sampling: bool = True
    one_of_two: bool = False
    forced_tools: bool = True
    system_turns: bool = False
    structured: bool = True
    prefill: bool = False

    def effort(self, asked: Effort) -> Effort:
        """The level asked for, or the nearest below it that the model has, or its lowest."""
        below = [level for level in self.efforts if _LEVELS.index(level) <= _rank(asked)]
        return below[-1] if below else self.efforts[0]


_UNKNOWN: Final = Traits()
_EXTENDED: Final = Traits(adaptive=False, hides=False, efforts=(), structured=False, prefill=True)
_4_6: Final = Traits(
    hides=False,
    efforts=(Effort.LOW, Effort.MEDIUM, Effort.HIGH, Effort.MAX),
    one_of_two=True,
)
_4_7: Final = Traits(budget=False, sampling=False)
_5: Final = replace(_4_7, thinks=True, system_turns=True)
_MYTHOS_PREVIEW: Final = Traits(off=None, thinks=True, sampling=False)
_ALWAYS: Final = replace(_5, off=None)


@lru_cache(maxsize=1024)
def traits(model: str) -> Traits:
    """What is known of the model of this name. Models to come are taken for the latest."""
    family, version = _parsed(model)
    if family == "mythos" and version is None:
        return _MYTHOS_PREVIEW
    if family is None or version is None:
        return _UNKNOWN
    if family in {"fable", "mythos"}:
        return replace(_ALWAYS, forced_tools=version < (5, 1))
    if version < (4, 6):
        return replace(
            _EXTENDED,
            budget=version >= (3, 7),
            one_of_two=version >= (4, 1),
            structured=version >= (4, 5),
        )
    if version < (4, 7):
        return _4_6
    if version < (5, 0):
        return replace(_4_7, system_turns=version >= (4, 8))
    if version < (5, 1):
        return replace(_5, system_turns=family != "sonnet")
    if family == "opus":
        return replace(_ALWAYS, forced_tools=False)
    if family == "sonnet":
        return replace(_5, off=BETWEEN_TOOLS, forced_tools=False)
    return _5


def _parsed(model: str) -> tuple[str | None, tuple[int, int] | None]:
    """Family and version: `claude-opus-4-5-20251101`, `claude-3-7-sonnet-20250219` and such."""
    _, claude, rest = model.lower().rpartition("claude-")
    if not claude:
        return None, None
    for mark in "@.:":
        rest = rest.replace(mark, "-")
    words = rest.split("-")
    family = next((word for word in words if word in _FAMILIES), None)
    for position, word in enumerate(words):
        if _is_number(word):
            following = words[position + 1] if position + 1 < len(words) else ""
            return family, (int(word), int(following) if _is_number(following) else 0)
    return family, None


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 2  # a date is longer


def _rank(effort: Effort) -> int:
    return _LEVELS.index(effort) if effort in _LEVELS else 0
