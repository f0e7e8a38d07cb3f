"""Embeddings as the Gemini API gives them (https://ai.google.dev/api/embeddings)."""

from collections.abc import Mapping, Sequence

from model_service.sandbox import script
from model_service.sandbox.google_errors import Refused
from model_service.sandbox.google_models import GoogleModel
from model_service.sandbox.google_rules import section
from model_service.sandbox.google_signatures import parts_of


def embed(asked: Mapping[str, object], model: GoogleModel) -> tuple[list[float], int]:
    """The embedding of a content, and how many tokens it has. Raises Refused."""
    parts = parts_of(section(asked, "content"))
    if not parts:
        raise Refused("* EmbedContentRequest.content: contents is not specified\n")
    name = asked.get("model")
    if name is not None and name != f"models/{model.name}":
        raise Refused(f"* EmbedContentRequest.model: unexpected model name {name}\n")
    settings = {**section(asked, "embedContentConfig"), **asked}
    size = settings.get("outputDimensionality", model.dimensions)
    if not isinstance(size, int) or not 1 <= size <= model.dimensions:
        raise Refused(
            "* EmbedContentRequest.output_dimensionality: output_dimensionality must be in the "
            f"range [1, {model.dimensions}].\n"
        )
    if settings.get("title") and settings.get("taskType") != "RETRIEVAL_DOCUMENT":
        raise Refused(
            "* EmbedContentRequest.title: title may only be set for the task type "
            "RETRIEVAL_DOCUMENT.\n"
        )
    text = "\n".join(str(part.get("text", "")) for part in parts)
    media = sum("inlineData" in part or "fileData" in part for part in parts)
    return script.vector(text, size), max(1, script.count(text) + script.MEDIA_TOKENS * media)


def embed_batch(
    asked: Sequence[Mapping[str, object]], model: GoogleModel
) -> tuple[list[list[float]], int]:
    """The embeddings of several contents, and how many tokens all have. Raises Refused."""
    if not asked:
        raise Refused("* BatchEmbedContentsRequest.requests: requests is not specified\n")
    for index, one in enumerate(asked):
        if "model" not in one:
            raise Refused(
                f"* BatchEmbedContentsRequest.requests[{index}].model: model is not specified\n"
            )
    made = [embed(one, model) for one in asked]
    return [values for values, _ in made], sum(tokens for _, tokens in made)
