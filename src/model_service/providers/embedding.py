"""The typed intermediate form of an embedding call."""

from dataclasses import dataclass


@dataclass(slots=True)
class EmbeddingRequest:
    """Texts, or lists of token numbers, to be embedded.

    `base64`: the caller wants vectors as base64 of little-endian 32-bit floats. `single`: the
    caller's dialect has one input and one vector. `task_type` and `title` are Google's.
    """

    model: str
    inputs: list[str | list[int]]
    dimensions: int | None = None
    base64: bool = False
    single: bool = False
    user: str | None = None
    task_type: str | None = None
    title: str | None = None


@dataclass(slots=True)
class EmbeddingAnswer:
    """Vectors in the order of the inputs; `tokens` is None where the provider does not say."""

    vectors: list[list[float]]
    tokens: int | None = None
