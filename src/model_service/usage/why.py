"""What led to an answer: what was noted on the way, and for the rest what the event itself says."""

from collections.abc import Sequence
from typing import Any

from model_service.usage.domain import UsageEvent


def explained(event: UsageEvent) -> dict[str, Any]:
    """Why the call went as it did: its steps in order, and what they come to."""
    noted = dict(event.why or {})
    steps: Sequence[dict[str, Any]] = noted.get("steps", ())
    asked = event.model if event.fallback_from is None else event.fallback_from
    considered = [step.get("skipped") or step.get("model") for step in steps]
    plain: dict[str, Any] = {
        "candidates": list(dict.fromkeys(filter(None, (asked, *considered, event.model)))),
        "skipped": [
            {"model": step["skipped"], "reason": step.get("reason")}
            for step in steps
            if "skipped" in step
        ],
        "attempts": event.attempts,
        "answeredBy": None
        if event.status >= 400
        else {
            "model": event.model,
            "provider": event.provider,
            "upstreamModel": event.upstream_model,
        },
        "key": None if event.key_id is None else str(event.key_id),
        "priceVersion": event.price_version,
        "reservation": None,
        "errorClass": event.error_class,
    }
    return plain | noted
