"""Log probabilities: Google's results, and the form of OpenAI's chat completions."""

from typing import Any

from model_service.providers.chat import Document


def read_logprobs(result: object) -> Document | None:
    """A `logprobsResult` in the intermediate form; None when it holds nothing of use."""
    if not isinstance(result, dict):
        return None
    chosen, tops = result.get("chosenCandidates"), result.get("topCandidates")
    if not isinstance(chosen, list) or not chosen:
        return None
    steps = tops if isinstance(tops, list) else []
    content = []
    for index, candidate in enumerate(chosen):
        entry = _entry(candidate)
        if entry is None:
            return None
        step = steps[index] if index < len(steps) else None
        others = step.get("candidates") if isinstance(step, dict) else None
        entry["top_logprobs"] = [
            other
            for other in map(_entry, others if isinstance(others, list) else ())
            if other is not None
        ]
        content.append(entry)
    return {"content": content}


def _entry(candidate: object) -> dict[str, Any] | None:
    if not isinstance(candidate, dict):
        return None
    token, probability = candidate.get("token", ""), candidate.get("logProbability", 0.0)
    if not isinstance(token, str) or not isinstance(probability, int | float):
        return None
    return {"token": token, "logprob": probability, "bytes": list(token.encode())}


def written_logprobs(logprobs: Document) -> Document | None:
    """The other way."""
    content = logprobs.get("content")
    if not isinstance(content, list) or not content:
        return None
    return {
        "chosenCandidates": [_candidate(entry) for entry in content],
        "topCandidates": [
            {"candidates": [_candidate(other) for other in entry.get("top_logprobs") or ()]}
            for entry in content
        ],
    }


def _candidate(entry: Document) -> Document:
    return {"token": entry.get("token", ""), "logProbability": entry.get("logprob", 0.0)}
