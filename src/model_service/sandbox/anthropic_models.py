"""The models that the Anthropic stand-in has, and how the listing shows them."""

from dataclasses import dataclass
from typing import Final

# What the listing gives for a release date it does not know.
_EPOCH: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class AnthropicModel:
    """A model with its limits in tokens, and what the Messages API lets it do.

    `thinking` names the `thinking.type` values it takes.
    """

    id: str
    display_name: str
    line: str
    created_at: str = _EPOCH
    max_input_tokens: int = 1_000_000
    max_tokens: int = 128_000
    thinking: frozenset[str] = frozenset({"adaptive", "disabled"})
    prefill: bool = False
    system_turns: bool = True


_EXTENDED: Final = frozenset({"enabled", "disabled"})

# Names, limits and dates from https://platform.claude.com/docs/en/about-claude/models/overview,
# November 2026; newest first, as the API lists them.
MODELS: Final = (
    AnthropicModel("claude-haiku-5-5", "Claude Haiku 5.5", "haiku"),
    AnthropicModel(
        "claude-sonnet-5-5",
        "Claude Sonnet 5.5",
        "sonnet",
        thinking=frozenset({"adaptive", "between_tools"}),
    ),
    AnthropicModel("claude-opus-5-5", "Claude Opus 5.5", "opus", thinking=frozenset({"adaptive"})),
    AnthropicModel(
        "claude-fable-5-1", "Claude Fable 5.1", "fable", thinking=frozenset({"adaptive"})
    ),
    AnthropicModel("claude-opus-5", "Claude Opus 5", "opus", "2026-07-24T00:00:00Z"),
    AnthropicModel(
        "claude-sonnet-5",
        "Claude Sonnet 5",
        "sonnet",
        "2026-06-30T00:00:00Z",
        system_turns=False,
    ),
    AnthropicModel("claude-opus-4-8", "Claude Opus 4.8", "opus", "2026-05-28T00:00:00Z"),
    AnthropicModel(
        "claude-haiku-4-5-20251001",
        "Claude Haiku 4.5",
        "haiku",
        "2025-10-15T00:00:00Z",
        max_input_tokens=200_000,
        max_tokens=64_000,
        thinking=_EXTENDED,
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
        prefill=True,
        system_turns=False,
    ),
)

# Names without a date that mean one with a date.
ALIASES: Final = {
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
}


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
    effort = {"supported": "adaptive" in model.thinking}
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
