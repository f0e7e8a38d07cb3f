"""Why a choice ended, in the words of OpenAI and of the vendors."""

from typing import Final

from model_service.providers.chat import Document, FinishReason
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.openai_faults import OpenAIFaults

_FAULTS: Final = OpenAIFaults()

# A word that is not here says nothing more than that the model stopped.
_REASONS: Final = {
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral: the context window's end
    "model_context_window_exceeded": FinishReason.LENGTH,  # Z.ai
    "repetition_truncation": FinishReason.LENGTH,  # DeepSeek
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "safety": FinishReason.CONTENT_FILTER,
    "sensitive": FinishReason.CONTENT_FILTER,  # Z.ai
    "refusal": FinishReason.REFUSAL,
}

#: Ends that are failures of the provider: what came before is not a whole answer.
_FAILURES: Final = frozenset(
    (
        "error",  # OpenRouter, Mistral
        "insufficient_system_resource",  # DeepSeek
        "network_error",  # Z.ai
        "abort",  # SGLang, vLLM
    )
)


def finish_reason(word: str) -> FinishReason:
    """The reason that the word is for.

    Raises:
        CallFailed: it says that the provider failed.
    """
    if word in _FAILURES:
        raise CallFailed(
            Fault(
                FaultKind.UPSTREAM,
                f"The provider ended its answer with '{word}'",
                code="incomplete_answer",
            )
        )
    return _REASONS.get(word, FinishReason.STOP)


def choice_error(choice: Document) -> CallFailed | None:
    """The error that OpenRouter puts into a choice."""
    error = choice.get("error")
    if not error:
        return None
    return CallFailed(_FAULTS.fault(200, {"error": error}))
