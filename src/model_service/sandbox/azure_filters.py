"""What Azure's content filters add to answers and errors.

After https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from model_service.sandbox.delivery import Mark

Chunk = dict[str, Any]  # Any: JSON on its way out

_CATEGORIES: Final = ("hate", "self_harm", "sexual", "violence")
_REFUSED: Final = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management "
    "policy. Please modify your prompt and retry. To learn more about our content filtering "
    "policies please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766"
)


def results(*, filtered: bool = False) -> dict[str, object]:
    """What the filters found in an answer: nothing, or violence."""
    found: dict[str, object] = {
        name: {"filtered": False, "severity": "safe"} for name in _CATEGORIES
    }
    if filtered:
        found["violence"] = {"filtered": True, "severity": "medium"}
    return found


def prompt_results() -> list[dict[str, object]]:
    """What the filters found in the prompt: nothing."""
    jailbreak = {"jailbreak": {"filtered": False, "detected": False}}
    return [{"prompt_index": 0, "content_filter_results": {**results(), **jailbreak}}]


def refused_prompt() -> dict[str, object]:
    """The error for a prompt that the filters do not let through."""
    return {
        "message": _REFUSED,
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {
                **results(filtered=True),
                "jailbreak": {"filtered": False, "detected": False},
            },
        },
    }


def annotated(completion: Mapping[str, Any]) -> Chunk:
    """A whole completion with what the filters found."""
    return {
        **_plain(completion),
        "choices": [_choice(choice) for choice in completion["choices"]],
        "prompt_filter_results": prompt_results(),
    }


def annotated_chunks(
    chunks: Iterator[tuple[Chunk, Mark]], *, afterwards: bool
) -> Iterator[tuple[Chunk, Mark]]:
    """The chunks with what the filters found.

    The first is about the prompt alone and has no choices. `afterwards` is the asynchronous
    filter, whose findings come in chunks of their own, with a choice but no delta.
    """
    first: Chunk = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
    yield {**first, "prompt_filter_results": prompt_results()}, Mark.OPENING
    reported = False
    for chunk, mark in chunks:
        if afterwards and mark is Mark.FINISH and not reported:
            reported = True
            found = {
                "index": 0,
                "finish_reason": None,
                "content_filter_results": results(),
                "content_filter_offsets": {"check_offset": 0, "start_offset": 0, "end_offset": 1},
            }
            yield {**first, "choices": [found]}, Mark.FINISH
        choices = chunk["choices"]
        if not afterwards:
            choices = [_choice(choice) for choice in choices]
        yield {**_plain(chunk), "choices": choices}, mark


def _plain(content: Mapping[str, Any]) -> Chunk:
    """Without what Azure does not say."""
    return {name: value for name, value in content.items() if name != "service_tier"}


def _choice(choice: Mapping[str, Any]) -> Chunk:
    filtered = choice["finish_reason"] == "content_filter"
    spoken = choice.get("message") or choice.get("delta") or {}
    found = results(filtered=filtered) if filtered or spoken.get("content") else {}
    return {**choice, "content_filter_results": found}
