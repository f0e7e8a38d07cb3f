"""Embeddings, counting, and the listing of models."""

import base64
import struct
from collections.abc import Sequence
from typing import Any, Final

from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.scenario import Check, Drive, Scenario
from tests.conformance.gateway.wishes import User, Wish


def _embeds(texts: str | list[str], **more: Any) -> Drive:
    async def drive(cell: Cell) -> list[list[float]]:
        return await cell.door.embed(await cell.embedder(), texts, **more)

    return drive


def _gives_vectors(count: int, size: int | None = None) -> Check:
    def check(vectors: Sequence[Sequence[float]], _: Cell) -> None:
        assert len(vectors) == count
        assert len({tuple(vector) for vector in vectors}) == count
        sizes = {len(vector) for vector in vectors}
        assert len(sizes) == 1
        assert size is None or sizes == {size}
        assert min(sizes) > 0

    return check


async def _embeds_both_ways(cell: Cell) -> tuple[str, list[list[float]]]:
    model = await cell.embedder()
    return await cell.door.embed_packed(model, "hello"), await cell.door.embed(model, "hello")


def _is_the_same(answers: tuple[str, list[list[float]]], _: Cell) -> None:
    packed, vectors = answers
    data = base64.b64decode(packed)
    unpacked = struct.unpack(f"<{len(data) // 4}f", data)
    assert all(abs(a - b) < 1e-6 for a, b in zip(unpacked, vectors[0], strict=True))


async def _counts(cell: Cell) -> int:
    name = await cell.registered.name(cell.upstream, cell.upstream.talks)
    return await cell.door.count(name, Wish([User("one two three")]))


def _counted(tokens: int, _: Cell) -> None:
    assert tokens >= 3


async def _lists(cell: Cell) -> tuple[str, list[str]]:
    name = await cell.registered.name(cell.upstream, cell.upstream.talks)
    return name, await cell.door.models()


def _is_listed(answer: tuple[str, list[str]], _: Cell) -> None:
    name, names = answer
    assert name in names
    assert len(names) == len(set(names))


async def _retrieves(cell: Cell) -> tuple[str, str]:
    name = await cell.registered.name(cell.upstream, cell.upstream.talks)
    return name, await cell.door.model(name)


def _is_found(answer: tuple[str, str], _: Cell) -> None:
    name, found = answer
    assert found == name


SCENARIOS: Final = (
    Scenario("embedding", "Embedding", _embeds("hello"), _gives_vectors(1), azure=True),
    Scenario("embeddings", "Several embeddings", _embeds(["a", "b", "c"]), _gives_vectors(3)),
    Scenario(
        "embedding-size",
        "Embedding of a given size",
        _embeds("hello", dimensions=256),
        _gives_vectors(1, 256),
    ),
    Scenario("embedding-base64", "Embedding in base64", _embeds_both_ways, _is_the_same),
    Scenario("count", "Count tokens", _counts, _counted),
    Scenario("models", "List models", _lists, _is_listed, azure=True),
    Scenario("model", "Retrieve a model", _retrieves, _is_found),
)
