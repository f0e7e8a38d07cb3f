"""How Gemini's models are asked to think, family by family.

Sources: https://ai.google.dev/gemini-api/docs/generate-content/thinking (levels from Gemini 3
on, budgets for 2.5) and https://ai.google.dev/gemini-api/docs/openai (which effort is which).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from model_service.providers.chat import ChatRequest, Document, Effort, ReasoningRequest
from model_service.providers.translation import Notes

_NEWEST: Final = (99, 0)

# Google's own table for OpenAI's efforts; the budgets are for 2.5, which knows no levels.
_BUDGETS: Final = {
    Effort.MINIMAL: 1024,
    Effort.LOW: 1024,
    Effort.MEDIUM: 8192,
    Effort.HIGH: 24576,
    Effort.XHIGH: 32768,
    Effort.MAX: 32768,
}
# No model has a level above HIGH as of November 2026, though there is a word for one.
_LEVELS: Final = {
    Effort.MINIMAL: "LOW",
    Effort.LOW: "LOW",
    Effort.MEDIUM: "MEDIUM",
    Effort.HIGH: "HIGH",
    Effort.XHIGH: "HIGH",
    Effort.MAX: "HIGH",
}
_DYNAMIC: Final = -1


@dataclass(frozen=True, slots=True)
class Family:
    """What a model's name tells of it. A name that is not known counts as the newest."""

    version: tuple[int, int]
    is_gemini: bool
    is_pro: bool
    is_flash: bool
    is_lite: bool

    @property
    def has_levels(self) -> bool:
        """Whether thinking goes by levels."""
        return self.version >= (3, 0)

    @property
    def has_budgets(self) -> bool:
        """Whether a budget in tokens is taken (for old callers' sake, up to Gemini 3)."""
        return (2, 5) <= self.version < (4, 0)

    @property
    def thinks(self) -> bool:
        """Whether it thinks at all."""
        return self.version >= (2, 5)

    @property
    def has_minimal(self) -> bool:
        """Whether there is a level at which it hardly thinks; Flash lost it with 3.7."""
        return self.is_lite or (self.is_flash and (3, 0) <= self.version <= (3, 6))

    @property
    def signs_calls(self) -> bool:
        """Whether calls of the turn under way have to come back signed."""
        return self.is_gemini and self.version >= (3, 0)

    @property
    def takes_prefill(self) -> bool:
        """Whether the contents may end with the beginning of the answer; that went with 3.6."""
        return self.is_gemini and self.version < (3, 6)

    @property
    def takes_media_results(self) -> bool:
        """Whether results of functions may hold images and files."""
        return self.version >= (3, 0)

    @property
    def validates_calls(self) -> bool:
        """Whether arguments can be held to their schema while the model is free not to call."""
        return self.is_gemini and self.version >= (2, 5)

    @property
    def budget_range(self) -> tuple[int, int]:
        """Least and most thinking tokens, other than none."""
        if self.is_pro:
            return 128, 32768
        return (512, 24576) if self.is_lite else (1, 24576)


@lru_cache(maxsize=1024)
def family_of(model: str) -> Family:
    """The family of a model, by its name at the provider."""
    name = model.rpartition("/")[2].lower()
    is_gemini = not name.startswith(("gemma", "learnlm"))
    return Family(
        version=_version(name.removeprefix("gemini-")) if name.startswith("gemini-") else _NEWEST,
        is_gemini=is_gemini,
        is_pro="pro" in name.split("-"),
        is_flash="flash" in name.split("-"),
        is_lite="lite" in name.split("-"),
    )


def _version(rest: str) -> tuple[int, int]:
    major, _, minor = rest.partition("-")[0].partition(".")
    if not (major.isascii() and major.isdigit() and len(major) < 4):
        return _NEWEST  # `gemini-flash-latest`
    return int(major), int(minor) if minor.isascii() and minor.isdigit() and len(minor) < 4 else 0


def thinking_config(request: ChatRequest, family: Family, notes: Notes) -> Document | None:
    """The `thinkingConfig` for a request; None leaves it to the model.

    Raises:
        CallFailed: the model cannot think in that way.
    """
    reasoning = request.reasoning
    if reasoning is None:
        return None
    if not family.thinks:
        if reasoning.effort not in (None, Effort.NONE) or reasoning.budget:
            notes.refuse("reasoning", "this model does not think")
        return None
    config = _amount(reasoning, family, notes)
    visible = reasoning.visible
    if visible is None and reasoning.detail is not None:
        visible = True
    if visible is not None and reasoning.effort is not Effort.NONE:
        config["includeThoughts"] = visible
    if reasoning.detail not in (None, "auto"):
        notes.drop("reasoning.detail")  # there is one kind of summary
    return config or None


def _amount(reasoning: ReasoningRequest, family: Family, notes: Notes) -> Document:
    effort, budget = reasoning.effort, reasoning.budget
    if effort is Effort.NONE or budget == 0:
        return _none(family, notes)
    if effort is not None:
        return (
            {"thinkingLevel": _level(effort, family)}
            if family.has_levels
            else _budget(_BUDGETS[effort], family)
        )
    if budget is not None:
        if family.has_budgets:
            return _budget(budget, family)
        return {"thinkingLevel": _level(_effort(budget), family)}
    if reasoning.adaptive and not family.has_levels:
        return {"thinkingBudget": _DYNAMIC}
    return {}


def _none(family: Family, notes: Notes) -> Document:
    if family.has_levels:
        if family.has_minimal:
            return {"thinkingLevel": "MINIMAL"}
    elif not family.is_pro:
        return {"thinkingBudget": 0}
    notes.refuse("reasoning", "this model cannot be kept from thinking")
    return {}


def _level(effort: Effort, family: Family) -> str:
    if effort is Effort.MINIMAL and family.has_minimal:
        return "MINIMAL"
    if effort is Effort.MEDIUM and family.is_pro and family.version == (3, 0):
        return "HIGH"  # Gemini 3 Pro has LOW and HIGH alone, and this is Google's choice
    return _LEVELS[effort]


def _budget(tokens: int, family: Family) -> Document:
    if family.has_levels:
        return {"thinkingBudget": tokens}
    least, most = family.budget_range
    return {"thinkingBudget": min(max(tokens, least), most)}


def _effort(budget: int) -> Effort:
    """The effort that a budget is closest to from below, by the same table."""
    if budget < _BUDGETS[Effort.MEDIUM]:
        return Effort.LOW
    return Effort.MEDIUM if budget < _BUDGETS[Effort.HIGH] else Effort.HIGH
