"""Words of the Messages API that several modules here use.

Sources: https://platform.claude.com/docs/en/api/messages, .../build-with-claude/streaming,
.../build-with-claude/handling-stop-reasons
"""

from typing import Final

from model_service.providers.base import Headers
from model_service.providers.chat import FinishReason

#: The name of the dialect, and the origin of its signatures.
NAME: Final = "anthropic"

MESSAGES_PATH: Final = "/v1/messages"
COUNT_PATH: Final = "/v1/messages/count_tokens"

#: The smallest budget for thinking that the API takes, in tokens.
LEAST_BUDGET: Final = 1024

#: This version takes sampling parameters for the models that have them; 2026-10-21 takes none.
VERSION_HEADER: Final[Headers] = (("anthropic-version", "2023-06-01"),)

#: What a `stop_reason` means. One that is not here ended the answer by itself.
STOP_REASONS: Final = {
    "end_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "tool_use": FinishReason.TOOL_CALLS,
    "pause_turn": FinishReason.PAUSE,
    "refusal": FinishReason.REFUSAL,
}

#: The `stop_reason` for the end of another provider's answer.
WRITTEN_REASONS: Final = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.REFUSAL: "refusal",
    FinishReason.STOP_SEQUENCE: "stop_sequence",
    FinishReason.PAUSE: "pause_turn",
}

# Tiers are in OpenAI's words between the dialects.
_TIERS: Final = {"standard": "default", "priority": "priority", "batch": "batch"}
_WRITTEN_TIERS: Final = {tier: ours for ours, tier in _TIERS.items()}


def read_tier(usage: object) -> str | None:
    """The service tier that a `usage` object names."""
    tier = usage.get("service_tier") if isinstance(usage, dict) else None
    return _TIERS.get(tier) if isinstance(tier, str) else None


def paid_tier(usage: object) -> str | None:
    """The same, but None for the usual one."""
    tier = read_tier(usage)
    return None if tier == "default" else tier


def write_tier(tier: str | None) -> str | None:
    """The tier for a `usage` object, where Anthropic has such a one."""
    return None if tier is None else _WRITTEN_TIERS.get(tier)
