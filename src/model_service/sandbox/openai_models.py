"""The models that the OpenAI stand-in has, and what each of them takes.

Names and shutdown dates from the models and deprecations pages, efforts from the reasoning
guide and the models' pages, November 2026.
"""

from dataclasses import dataclass, replace
from typing import Final

from model_service.sandbox.faults import PREFIX


@dataclass(frozen=True, slots=True)
class OpenAIModel:
    """An entry of the listing; `created` in seconds since 1970, `shutdown_date` as YYYY-MM-DD."""

    id: str
    created: int
    owned_by: str = "system"
    shutdown_date: str | None = None


# `created` of what came after gpt-5.4 is midnight UTC of the day of its release.
MODELS: Final = (
    OpenAIModel("gpt-6.2-astra", 1794873600),
    OpenAIModel("gpt-6.2-sol", 1794873600),
    OpenAIModel("gpt-6.1-sol", 1790640000),
    OpenAIModel("gpt-6-luna", 1790035200),
    OpenAIModel("gpt-5.5", 1776902400),
    OpenAIModel("gpt-5.4-mini", 1773705600),
    OpenAIModel("gpt-5", 1754425777, shutdown_date="2026-12-11"),
    OpenAIModel("gpt-5-mini", 1754425928, shutdown_date="2026-12-11"),
    OpenAIModel("gpt-4.1", 1744316542, shutdown_date="2027-01-14"),
    OpenAIModel("gpt-4o-mini", 1721172741, shutdown_date="2027-01-14"),
    OpenAIModel("text-embedding-3-large", 1705953180),
    OpenAIModel("text-embedding-3-small", 1705948997),
)

# An answer names the snapshot that gave it.
SNAPSHOTS: Final = {
    "gpt-5.5": "gpt-5.5-2026-04-23",
    "gpt-5.4-mini": "gpt-5.4-mini-2026-03-17",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one model takes.

    `efforts` are the reasoning efforts it takes, none for a model that does not reason;
    `effort` is what it does unless told. `tools_while_reasoning` is whether Chat Completions
    lets it call functions when it reasons. `dimensions` is the length of its embeddings, 0 for
    none. `window` and `output` are in tokens. `cache_writes` is whether what is written to the
    prompt cache is billed.
    """

    chat: bool = True
    efforts: tuple[str, ...] = ()
    effort: str = "none"
    tools_while_reasoning: bool = True
    dimensions: int = 0
    window: int = 400_000
    output: int = 128_000
    cache_writes: bool = False

    @property
    def reasons(self) -> bool:
        """Whether this is a reasoning model."""
        return bool(self.efforts)


_GPT_5: Final = ("minimal", "low", "medium", "high")
_WITH_NONE: Final = ("none", "low", "medium", "high", "xhigh")
_TO_MAX: Final = ("low", "medium", "high", "xhigh", "max")

_GPT_6: Final = Abilities(
    efforts=_TO_MAX,
    effort="medium",
    tools_while_reasoning=False,
    window=1_050_000,
    cache_writes=True,
)
_PLAIN: Final = Abilities(window=1_047_576, output=32_768)

# By the beginning of the name; the longest that fits counts.
_ABILITIES: Final = {
    "": _PLAIN,
    "gpt-6": _GPT_6,
    "gpt-6-luna": replace(_GPT_6, efforts=("none", *_TO_MAX)),
    "gpt-6-sol": replace(_GPT_6, efforts=("none", *_TO_MAX)),
    "gpt-5.6": replace(_GPT_6, efforts=("none", *_TO_MAX)),
    "gpt-5.5": Abilities(efforts=_WITH_NONE, effort="medium", tools_while_reasoning=False),
    "gpt-5.4": Abilities(efforts=_WITH_NONE, tools_while_reasoning=False),
    "gpt-5": Abilities(efforts=_GPT_5, effort="medium"),
    "o": Abilities(efforts=("low", "medium", "high"), effort="medium", window=200_000),
    "gpt-4.1": _PLAIN,
    "gpt-4o": Abilities(window=128_000, output=16_384),
    "text-embedding-3-large": Abilities(chat=False, dimensions=3072, window=8192),
    "text-embedding-3-small": Abilities(chat=False, dimensions=1536, window=8192),
    # Models that misbehave do so wherever they are called.
    PREFIX: replace(_PLAIN, dimensions=1536),
}


def abilities(model: str) -> Abilities:
    """What a model takes, by its name."""
    fits = [stem for stem in _ABILITIES if model.startswith(stem)]
    return _ABILITIES[max(fits, key=len)]
