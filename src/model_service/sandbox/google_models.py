"""The models that the Google stand-in has, and how the listing shows them."""

from dataclasses import dataclass
from typing import Final

_TEXT: Final = ("generateContent", "countTokens", "createCachedContent", "batchGenerateContent")


@dataclass(frozen=True, slots=True)
class GoogleModel:
    """A model with its limits in tokens. `name` lacks the `models/` it has on the wire.

    `levels` are the thinking levels it takes, `may_not_think` whether it takes a thinking
    budget of 0, `prefill` whether a conversation may end with the beginning of the answer,
    `candidates` whether it gives more than one, `call_ids` whether its calls have ids, `signs`
    whether it wants the signatures of its calls back. `dimensions` are those of an embedding.
    """

    name: str
    display_name: str
    description: str
    input_token_limit: int = 1_048_576
    output_token_limit: int = 65_536
    methods: tuple[str, ...] = _TEXT
    thinking: bool = True
    version: str = "001"
    levels: frozenset[str] = frozenset({"LOW", "MEDIUM", "HIGH"})
    may_not_think: bool = False
    prefill: bool = False
    candidates: bool = False
    call_ids: bool = True
    signs: bool = True
    dimensions: int = 3072

    @property
    def generates(self) -> bool:
        """Whether it answers, rather than embeds."""
        return "generateContent" in self.methods


_ALL_LEVELS: Final = frozenset({"MINIMAL", "LOW", "MEDIUM", "HIGH"})

# Names and limits from https://ai.google.dev/gemini-api/docs/models, November 2026; thinking
# from https://ai.google.dev/gemini-api/docs/thinking. Prefill went with 3.6, more than one
# candidate with 3.7.
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
    GoogleModel(
        "gemini-3.6-flash",
        "Gemini 3.6 Flash",
        "Frontier intelligence at speed.",
        levels=_ALL_LEVELS,
        candidates=True,
    ),
    GoogleModel(
        "gemini-3.5-flash-lite",
        "Gemini 3.5 Flash-Lite",
        "Cost-efficient model for high volumes.",
        levels=_ALL_LEVELS,
        may_not_think=True,
        prefill=True,
        candidates=True,
        call_ids=False,
    ),
    GoogleModel(
        "gemini-3.1-pro-preview",
        "Gemini 3.1 Pro Preview",
        "Preview of Gemini 3.1 Pro.",
        version="3.1-pro-preview-02-2026",
        prefill=True,
        candidates=True,
        call_ids=False,
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


def misbehaving(name: str) -> GoogleModel:
    """A model that is named for a fault: it takes whatever any model takes, and embeds too."""
    return GoogleModel(
        name,
        name,
        "Made to fail.",
        methods=(*_TEXT, "embedContent"),
        levels=_ALL_LEVELS,
        may_not_think=True,
        prefill=True,
        candidates=True,
        signs=False,
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
    if model.generates:
        shown |= {"temperature": 1, "topP": 0.95, "topK": 64, "maxTemperature": 2}
    if model.thinking:
        shown["thinking"] = True
    return shown
