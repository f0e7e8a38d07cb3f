"""The base models that the Azure stand-in has, and the deployments of them."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class AzureModel:
    """A base model; times in seconds since 1970, `retires` None when not announced."""

    id: str
    created: int
    chat: bool = True
    retires: int | None = None


# Azure names a base model with the date of its version.
MODELS: Final = (
    AzureModel("gpt-5.5-2026-04-23", 1776902400),
    AzureModel("gpt-5.4-mini-2026-03-17", 1773705600),
    AzureModel("gpt-5-2025-08-07", 1754524800),
    AzureModel("gpt-4.1-2025-04-14", 1744588800),
    AzureModel("text-embedding-3-large", 1706140800, chat=False),
)

# Calls name a deployment. Each is called as its model, with and without the date.
DEPLOYMENTS: Final = {
    "gpt-5.5": "gpt-5.5-2026-04-23",
    "gpt-5.4-mini": "gpt-5.4-mini-2026-03-17",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    **{model.id: model.id for model in MODELS},
}


def entry(model: AzureModel) -> dict[str, object]:
    """How the listing shows a model."""
    return {
        "status": "succeeded",
        "capabilities": {
            "fine_tune": False,
            "inference": True,
            "completion": False,
            "chat_completion": model.chat,
            "embeddings": not model.chat,
        },
        "lifecycle_status": "generally-available",
        "deprecation": {"inference": model.retires},
        "id": model.id,
        "created": model.created,
        "created_at": model.created,
        "owned_by": "system",
        "object": "model",
    }
