"""The models that the Anthropic stand-in has, and how the listing shows them."""

from dataclasses import dataclass
from typing import Final

# What the listing gives for a release date it does not know.
_EPOCH: Final = "1970-01-01T00:00:00Z"

_EXTENDED: Final = frozenset({"enabled", "disabled"})


@dataclass(frozen=True, slots=True)
class AnthropicModel:
    """A model with its limits in tokens, and what the Messages API lets it do.

    `thinking` names the `thinking.type` values it takes; `thinks` is whether it thinks without
    being asked, `hides_thinking` whether the text of it is left out unless asked for, `notes`
    whether what it says before a tool call is a thinking block too. A `bound` model refuses
    its thinking blocks in another conversation than theirs. It reads the blocks of models of
    an earlier `generation`, and its own.
    """

    id: str
    display_name: str
    line: str
    created_at: str = _EPOCH
    max_input_tokens: int = 1_000_000
    max_tokens: int = 128_000
    thinking: frozenset[str] = frozenset({"adaptive", "disabled"})
    thinks: bool = True
    hides_thinking: bool = True
    notes: bool = False
    bound: bool = False
    generation: int = 4
    forced_tools: bool = True
    sampling: bool = False
    prefill: bool = False
    system_turns: bool = True

    @property
    def effort(self) -> bool:
        """Whether it takes `output_config.effort`."""
        return "adaptive" in self.thinking


# Names, limits and dates from https://platform.claude.com/docs/en/about-claude/models/overview,
# November 2026; newest first, as the API lists them. What each takes is from the pages "What's
# new" of each and from
# https://platform.claude.com/docs/en/build-with-claude/thinking-troubleshooting.
MODELS: Final = (
    AnthropicModel("claude-haiku-5-5", "Claude Haiku 5.5", "haiku", bound=True, generation=5),
    AnthropicModel(
        "claude-sonnet-5-5",
        "Claude Sonnet 5.5",
        "sonnet",
        thinking=frozenset({"adaptive", "between_tools"}),
        notes=True,
        bound=True,
        generation=5,
        forced_tools=False,
    ),
    AnthropicModel(
        "claude-opus-5-5",
        "Claude Opus 5.5",
        "opus",
        thinking=frozenset({"adaptive"}),
        notes=True,
        bound=True,
        generation=5,
        forced_tools=False,
    ),
    AnthropicModel(
        "claude-fable-5-1",
        "Claude Fable 5.1",
        "fable",
        thinking=frozenset({"adaptive"}),
        notes=True,
        bound=True,
        generation=6,
        forced_tools=False,
    ),
    AnthropicModel("claude-opus-5", "Claude Opus 5", "opus", "2026-07-24T00:00:00Z"),
    AnthropicModel(
        "claude-sonnet-5",
        "Claude Sonnet 5",
        "sonnet",
        "2026-06-30T00:00:00Z",
        generation=3,
        system_turns=False,
    ),
    AnthropicModel(
        "claude-opus-4-8",
        "Claude Opus 4.8",
        "opus",
        "2026-05-28T00:00:00Z",
        thinks=False,
        generation=2,
    ),
    AnthropicModel(
        "claude-haiku-4-5-20251001",
        "Claude Haiku 4.5",
        "haiku",
        "2025-10-15T00:00:00Z",
        max_input_tokens=200_000,
        max_tokens=64_000,
        thinking=_EXTENDED,
        thinks=False,
        hides_thinking=False,
        generation=1,
        sampling=True,
        prefill=True,
        system_turns=False,
    ),
    AnthropicModel(
        "claude-sonnet-4-5-20250929",
        "Claude Sonnet 4.5",
        "sonnet",
        "2025-09-29T00:00:00Z",
        max_input_tokens=200_000,
        max_tokens=64_000,
        thinking=_EXTENDED,
        thinks=False,
        hides_thinking=False,
        generation=1,
        sampling=True,
        prefill=True,
        system_turns=False,
    ),
)

# Names without a date that mean one with a date.
ALIASES: Final = {
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
}

# The efforts at which a model that may do without thinking must think
# (https://platform.claude.com/docs/en/build-with-claude/thinking).
MUST_THINK: Final = frozenset({"xhigh", "max"})


def misbehaving(name: str) -> AnthropicModel:
    """A model that is named for a fault: it takes whatever any model takes."""
    return AnthropicModel(
        name,
        name,
        "fault",
        thinking=frozenset({"adaptive", "enabled", "disabled"}),
        thinks=False,
        sampling=True,
    )


def entry(model: AnthropicModel) -> dict[str, object]:
    """The model as the listing shows it."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": model.created_at,
        "line": model.line,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": model.max_input_tokens,
        "max_tokens": model.max_tokens,
        "capabilities": _capabilities(model),
    }


def _capabilities(model: AnthropicModel) -> dict[str, object]:
    yes = {"supported": True}
    effort = {"supported": model.effort}
    kinds = ("adaptive", "between_tools", "disabled", "enabled")
    return {
        "batch": yes,
        "citations": yes,
        "code_execution": yes,
        "context_management": yes,
        "effort": {**effort, "low": effort, "medium": effort, "high": effort, "max": effort},
        "image_input": yes,
        "pdf_input": yes,
        "server_tools": {"supported": True, "code_execution": yes, "web_search": yes},
        "structured_outputs": yes,
        "thinking": {
            "supported": True,
            "types": {kind: {"supported": kind in model.thinking} for kind in kinds},
        },
    }
