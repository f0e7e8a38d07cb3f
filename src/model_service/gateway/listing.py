"""Which models there are, in each family's own words."""

from collections.abc import Sequence
from typing import Any

from model_service.gateway.snapshot import SnapshotModel

Document = dict[str, Any]
"""A JSON object."""


def listing(family: str, models: Sequence[SnapshotModel]) -> Document:
    """All models that the caller may use: the default first, then by name."""
    ordered = sorted(models, key=lambda model: (not model.is_default, model.name))
    entries = [entry(family, model) for model in ordered]
    if family == "google":
        return {"models": entries}
    if family == "anthropic":
        return {
            "data": entries,
            "has_more": False,
            "first_id": entries[0]["id"] if entries else None,
            "last_id": entries[-1]["id"] if entries else None,
        }
    return {"object": "list", "data": entries}


def entry(family: str, model: SnapshotModel) -> Document:
    """One model."""
    if family == "google":
        return _google(model)
    if family == "anthropic":
        return {
            "type": "model",
            "id": model.name,
            "display_name": model.name,
            "created_at": model.created_at.isoformat().replace("+00:00", "Z"),
        }
    return {
        "id": model.name,
        "object": "model",
        "created": int(model.created_at.timestamp()),
        "owned_by": model.provider.value.lower(),
    }


def _google(model: SnapshotModel) -> Document:
    embeds = model.capabilities.get("embeddings") is True
    methods = ["embedContent"] if embeds else ["generateContent", "streamGenerateContent"]
    document: Document = {
        "name": f"models/{model.name}",
        "version": "1",
        "displayName": model.name,
        "outputTokenLimit": model.target.max_tokens,
        "supportedGenerationMethods": [*methods, "countTokens"],
    }
    if model.description:
        document["description"] = model.description
    if model.context_window is not None:
        document["inputTokenLimit"] = model.context_window
    return document
