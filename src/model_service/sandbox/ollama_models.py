"""The models that the Ollama stand-in has pulled, and how the listing shows them."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """A pulled model; `size` is in bytes on disk, `digest` the SHA-256 of its manifest.

    `capabilities` are those that `ollama show` names; `dimensions` are those of an embedding.
    """

    name: str
    size: int
    digest: str
    family: str
    parameter_size: str
    quantization_level: str = "Q4_K_M"
    modified_at: str = "2026-11-02T09:30:12.409490317Z"
    capabilities: frozenset[str] = frozenset({"completion"})
    dimensions: int = 768


MODELS: Final = (
    OllamaModel(
        name="gemma4:latest",
        size=9_608_350_245,
        digest="c6eb396dbd5992bbe3f5cdb947e8bbc0ee413d7c17e2beaae69f5d569cf982eb",
        family="gemma4",
        parameter_size="8.0B",
        capabilities=frozenset({"completion", "vision", "tools", "thinking"}),
    ),
    OllamaModel(
        name="gemma3:latest",
        size=3_338_801_804,
        digest="a2af6cc3eb7fa8be8504abaf9b04e88f17a119ec3f04a3addf55f92841195f5a",
        family="gemma3",
        parameter_size="4.3B",
        capabilities=frozenset({"completion", "vision"}),
    ),
    OllamaModel(
        name="llama3.2:latest",
        size=2_019_393_189,
        digest="a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
        family="llama",
        parameter_size="3.2B",
        capabilities=frozenset({"completion", "tools"}),
    ),
    OllamaModel(
        name="nomic-embed-text:latest",
        size=274_302_450,
        digest="0a109f422b47e3a30ba2b10eca18548e944e8a23073ee3f3e947efcf3c45e59f",
        family="nomic-bert",
        parameter_size="137M",
        quantization_level="F16",
        capabilities=frozenset({"embedding"}),
    ),
)


def misbehaving(name: str) -> OllamaModel:
    """A model that is named for a fault: it can do whatever any model can."""
    return OllamaModel(
        name=name,
        size=1,
        digest="0" * 64,
        family="fault",
        parameter_size="1B",
        capabilities=frozenset({"completion", "vision", "tools", "thinking", "embedding"}),
    )


def entry(model: OllamaModel) -> dict[str, object]:
    """The model as the listing shows it."""
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified_at,
        "size": model.size,
        "digest": model.digest,
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": model.family,
            "families": [model.family],
            "parameter_size": model.parameter_size,
            "quantization_level": model.quantization_level,
        },
    }
