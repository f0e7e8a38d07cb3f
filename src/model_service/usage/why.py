"""What led to an answer, where nothing out of the ordinary did."""

from typing import Any

from model_service.usage.domain import UsageEvent


def explained(event: UsageEvent) -> dict[str, Any]:
    """Why the call went as it did: what was noted, and for the rest what the event itself says."""
    asked = event.fallback_from
    plain: dict[str, Any] = {
        "candidates": [event.model] if asked is None else [asked, event.model],
        "skipped": [],
        "attempts": event.attempts,
        "answeredBy": {
            "model": event.model,
            "provider": event.provider,
            "upstreamModel": event.upstream_model,
        },
        "key": None if event.key_id is None else str(event.key_id),
        "priceVersion": event.price_version,
        "reservation": None,
        "errorClass": event.error_class,
    }
    return plain | dict(event.why or {})
