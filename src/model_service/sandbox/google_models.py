"""The models that the Google stand-in has, and how the listing shows them."""

from dataclasses import dataclass
from typing import Final

_TEXT: Final = ("generateContent", "countTokens", "createCachedContent", "batchGenerateContent")


@dataclass(frozen=True, slots=True)
class GoogleModel:
    """A model with its limits in tokens. `name` lacks the `models/` it has on the wire."""

    name: str
    display_name: str
    description: str
    input_token_limit: int = 1_048_576
    output_token_limit: int = 65_536
    methods: tuple[str, ...] = _TEXT
    thinking: bool = True
    version: str = "001"


# Names and limits from https://ai.google.dev/gemini-api/docs/models, November 2026.
MODELS: Final = (
    GoogleModel(
        "gemini-4-argon",
        "Gemini 4 Argon",
        "Most capable model, for complex coding, agentic, math and science tasks.",
        output_token_limit=1_048_576,
    ),
    GoogleModel(
        "gemini-3.8-flash",
        "Gemini 3.8 Flash",
        "Fast model for long-horizon software engineering and agents.",
    ),
    GoogleModel("gemini-3.6-flash", "Gemini 3.6 Flash", "Frontier intelligence at speed."),
    GoogleModel(
        "gemini-3.5-flash-lite",
        "Gemini 3.5 Flash-Lite",
        "Cost-efficient model for high volumes.",
    ),
    GoogleModel(
        "gemini-3.1-pro-preview",
        "Gemini 3.1 Pro Preview",
        "Preview of Gemini 3.1 Pro.",
        version="3.1-pro-preview-02-2026",
    ),
    GoogleModel(
        "gemini-embedding-2",
        "Gemini Embedding 2",
        "Multimodal embeddings.",
        input_token_limit=8192,
        output_token_limit=1,
        methods=("embedContent", "countTextTokens", "countTokens", "asyncBatchEmbedContent"),
        thinking=False,
    ),
)


def entry(model: GoogleModel) -> dict[str, object]:
    """The model as the listing shows it."""
    shown: dict[str, object] = {
        "name": f"models/{model.name}",
        "version": model.version,
        "displayName": model.display_name,
        "description": model.description,
        "inputTokenLimit": model.input_token_limit,
        "outputTokenLimit": model.output_token_limit,
        "supportedGenerationMethods": model.methods,
    }
    if "generateContent" in model.methods:
        shown |= {"temperature": 1, "topP": 0.95, "topK": 64, "maxTemperature": 2}
    if model.thinking:
        shown["thinking"] = True
    return shown
