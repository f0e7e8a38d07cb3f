"""What is registered, in memory."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from model_service.gateway.snapshot import STALENESS_BOUND, Registered, Snapshot, SnapshotModel
from model_service.kernel.errors import DatabaseUnavailable
from tests.unit.gateway.keys import model


class Models:
    """`ModelSource` in memory."""

    def __init__(self, *models: SnapshotModel) -> None:
        self.models = {one.id: one for one in models}
        self.asked: list[UUID | None] = []

    async def all(self) -> Sequence[SnapshotModel]:
        self.asked.append(None)
        return list(self.models.values())

    async def one(self, model_id: UUID) -> SnapshotModel | None:
        self.asked.append(model_id)
        return self.models.get(model_id)


def test_the_default_is_found_by_that_word_while_it_is_active() -> None:
    usual = model("usual", is_default=True)
    assert Snapshot.of([model("a"), usual]).find("default") is usual
    off = model("usual", is_default=True, is_active=False)
    assert Snapshot.of([off]).find("default") is None


def test_a_model_that_is_called_default_is_that_one() -> None:
    named = model("default")
    assert Snapshot.of([named, model("usual", is_default=True)]).find("default") is named


async def test_a_notice_of_one_model_reads_that_one_alone() -> None:
    first, second = model("first"), model("second")
    source = Models(first, second)
    registered = Registered(source, lambda: 0.0)
    await registered.load()
    renamed = model("renamed", id=first.id)
    source.models[first.id] = renamed
    await registered.on_change(str(first.id))
    snapshot = registered.current()
    assert snapshot.find("first") is None
    assert snapshot.find("renamed") is renamed
    assert snapshot.find("second") is second
    assert source.asked == [None, first.id]


async def test_a_deleted_model_is_gone() -> None:
    only = model()
    source = Models(only)
    registered = Registered(source, lambda: 0.0)
    await registered.load()
    source.models.clear()
    await registered.on_change(str(only.id))
    assert registered.current().find("m") is None


async def test_when_anything_may_have_changed_all_are_read() -> None:
    source = Models(model())
    registered = Registered(source, lambda: 0.0)
    await registered.on_change(None)
    assert registered.current().find("m") is not None


async def test_a_snapshot_too_old_to_be_believed_is_not_used() -> None:
    age = STALENESS_BOUND
    registered = Registered(Models(model()), lambda: age)
    await registered.load()
    assert registered.current().find("m") is not None
    age += 1
    with pytest.raises(DatabaseUnavailable):
        registered.current()
