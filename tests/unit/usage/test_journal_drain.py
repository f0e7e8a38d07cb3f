"""What is in the journal gets to where usage is kept: once, in order to delete it, always."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from model_service.kernel.errors import DatabaseUnavailable, JournalFull, StartupFault
from model_service.usage.delivery import Refused
from model_service.usage.drain import Drainer
from model_service.usage.metering import REFUSED_FILE, Metering
from model_service.usage.segments import START, marked, read_part
from tests.usage_journals import SEGMENT, MemorySink, begun, event, event_id


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest_asyncio.fixture
async def metering(tmp_path: Path, sink: MemorySink) -> AsyncIterator[Metering]:
    metering = Metering.open(tmp_path / "journal", sink, segment_bytes=SEGMENT)
    yield metering
    sink.available = True
    await metering.close()


def _call(metering: Metering, first: int, count: int = 1) -> None:
    for number in range(first, first + count):
        metering.journal.finish(metering.journal.begin(begun(number)), event(number))


async def test_events_are_stored_as_they_were_told(metering: Metering, sink: MemorySink) -> None:
    _call(metering, 1)
    await metering.drainer.drain()
    stored = sink.events[event_id(1)]
    assert (stored.output_tokens, stored.request_id, str(stored.cost)) == (11, "req-1", "0.000123")


async def test_each_event_is_told_once(metering: Metering, sink: MemorySink) -> None:
    for start in range(0, 3000, 700):
        _call(metering, start, 700)
        await metering.drainer.drain()
        await metering.drainer.drain()
    assert set(sink.told.values()) == {1}
    assert len(sink.told) == 3500


async def test_a_call_under_way_is_not_told(metering: Metering, sink: MemorySink) -> None:
    ticket = metering.journal.begin(begun(1))
    await metering.drainer.drain()
    assert not sink.told
    metering.journal.finish(ticket, event(1))
    await metering.drainer.drain()
    assert sink.events[event_id(1)].status == 200


async def test_a_drained_segment_is_deleted(metering: Metering) -> None:
    _call(metering, 0, 2000)
    assert len(metering.journal.kept) > 5
    await metering.drainer.drain()
    segments = sorted(metering.holding.path.glob("*.segment"))
    assert metering.journal.kept == []
    assert metering.journal.current.path in segments
    assert len(segments) <= 2 + len(metering.journal._ready) + len(metering.journal._spares)


async def test_a_long_call_is_stored_though_its_segment_is_long_gone(
    metering: Metering, sink: MemorySink
) -> None:
    ticket = metering.journal.begin(begun(0))
    first = metering.journal.current.path
    for start in range(1, 2000, 500):
        _call(metering, start, 500)
        await metering.drainer.drain()
    assert not first.exists()
    metering.journal.finish(ticket, event(0))
    await metering.drainer.drain()
    assert sink.told[event_id(0)] == 1


async def test_without_the_database_nothing_is_lost_and_memory_holds_one_part(
    metering: Metering, sink: MemorySink
) -> None:
    sink.available = False
    _call(metering, 0, 3000)
    with pytest.raises(DatabaseUnavailable):
        await metering.drainer.drain()
    assert metering.drainer.undrained_events == 3000
    sink.available = True
    await metering.drainer.drain()
    assert (len(sink.told), metering.drainer.undrained_events) == (3000, 0)
    assert sink.largest <= 512


async def test_much_is_told_in_few_batches(tmp_path: Path, sink: MemorySink) -> None:
    metering = Metering.open(tmp_path / "journal", sink)
    _call(metering, 0, 10_000)
    await metering.close()
    assert set(sink.told.values()) == {1}
    assert len(sink.told) == 10_000
    assert sink.batches <= 3
    assert sink.largest <= 4_500


async def test_batches_are_small_after_one_could_not_be_stored_and_grow_again(
    tmp_path: Path, sink: MemorySink
) -> None:
    metering = Metering.open(tmp_path / "journal", sink)
    _call(metering, 0, 6_000)
    sink.available = False
    await metering.drainer._attempt()
    sink.available = True
    sizes = []
    tell = metering.delivery.tell

    async def counted(payloads: Sequence[bytes]) -> None:
        sizes.append(len(payloads))
        await tell(payloads)

    metering.delivery.tell = counted  # type: ignore[method-assign]
    await metering.close()
    assert sum(sizes) == len(sink.told) == 6_000
    assert sizes[0] < 512
    assert sizes[:-1] == sorted(sizes[:-1])
    assert max(sizes) > 1_500


async def test_a_segment_with_a_length_that_makes_no_sense_is_kept_for_the_operator(
    metering: Metering, sink: MemorySink, tmp_path: Path
) -> None:
    _call(metering, 0, 2)
    current = metering.journal.current
    third = read_part(current.path, START).records[2]
    current.view[third.end - len(third.payload) - 9] = 0x55  # its kind
    await metering.drainer.drain()
    assert sorted(sink.told) == [event_id(0), event_id(1)]
    _call(metering, 2, 600)
    await metering.drainer.drain()
    assert len(sink.told) == 602
    assert len(list((tmp_path / "journal" / "damaged").iterdir())) == 1


async def test_an_event_altered_where_it_waits_does_not_hold_up_others(
    metering: Metering, sink: MemorySink
) -> None:
    _call(metering, 0, 3)
    current = metering.journal.current
    second = read_part(current.path, START).records[1]
    current.view[second.end - 1] ^= 0x55
    await metering.drainer.drain()
    assert sorted(sink.told) == [event_id(1), event_id(2)]
    assert metering.delivery.set_aside == 1


async def test_how_far_it_is_drained_is_written_down(metering: Metering) -> None:
    _call(metering, 0, 3)
    await metering.drainer.drain()
    current = metering.journal.current
    assert marked(current.path) == metering.journal.end_of(current)
    assert metering.journal.undrained_bytes == 0


async def test_the_job_waits_longer_each_time_the_database_is_away(
    metering: Metering, sink: MemorySink
) -> None:
    drainer = Drainer(
        metering.journal, metering.holding, metering.delivery, interval=0.2, chance=lambda: 1.0
    )
    _call(metering, 0)
    sink.available = False
    waits = [await drainer._attempt() for _ in range(7)]
    assert waits == [0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    sink.available = True
    assert await drainer._attempt() == 0.2


async def test_the_age_of_the_oldest_event_counts_from_when_all_was_stored(
    metering: Metering, sink: MemorySink
) -> None:
    now = [100.0]
    drainer = Drainer(metering.journal, metering.holding, metering.delivery, now=lambda: now[0])
    await drainer.drain()
    now[0] = 110.0
    assert drainer.oldest_seconds == 0.0
    _call(metering, 0)
    assert drainer.oldest_seconds == 10.0
    await drainer.drain()
    assert drainer.oldest_seconds == 0.0


async def test_an_event_that_cannot_be_stored_does_not_hold_up_others(
    metering: Metering, sink: MemorySink, tmp_path: Path
) -> None:
    sink.poison = {event_id(3), event_id(7)}
    _call(metering, 0, 10)
    await metering.drainer.drain()
    assert len(sink.told) == 8
    lines = (tmp_path / "journal" / REFUSED_FILE).read_bytes().splitlines()
    refused = [orjson.loads(orjson.loads(line)["payload"])[3] for line in lines]
    assert refused == ["req-3", "req-7"]
    assert metering.delivery.set_aside == 2


async def test_a_store_that_takes_nothing_sets_nothing_aside(
    metering: Metering, sink: MemorySink, tmp_path: Path
) -> None:
    sink.poison = {event_id(number) for number in range(10)}
    _call(metering, 0, 10)
    with pytest.raises(Refused):
        await metering.drainer.drain()
    assert not (tmp_path / "journal" / REFUSED_FILE).exists()
    sink.poison = set()
    await metering.drainer.drain()
    assert len(sink.told) == 10


async def test_a_lone_event_that_cannot_be_stored_waits_for_one_that_can(
    metering: Metering, sink: MemorySink
) -> None:
    sink.poison = {event_id(0)}
    _call(metering, 0)
    with pytest.raises(Refused):
        await metering.drainer.drain()
    _call(metering, 1)
    await metering.drainer.drain()
    assert (metering.delivery.set_aside, len(sink.told)) == (1, 1)


async def test_what_is_no_event_is_set_aside(metering: Metering, sink: MemorySink) -> None:
    metering.journal.note(b"[1]")
    _call(metering, 1)
    await metering.drainer.drain()
    assert (metering.delivery.set_aside, len(sink.told)) == (1, 1)


async def test_a_segment_that_was_altered_is_kept_for_the_operator(
    metering: Metering, sink: MemorySink, tmp_path: Path
) -> None:
    _call(metering, 0, 3)
    metering.journal.current.view[200] ^= 0x55
    _call(metering, 3, 600)
    await metering.drainer.drain()
    assert len(list((tmp_path / "journal" / "damaged").iterdir())) == 1
    assert len(sink.told) >= 602


async def test_a_drain_cut_short_is_done_again(metering: Metering, sink: MemorySink) -> None:
    heard, go_on = asyncio.Event(), asyncio.Event()
    keep = sink.keep

    async def slow(events: Any) -> None:
        await keep(events)
        heard.set()
        await go_on.wait()

    sink.keep = slow  # type: ignore[method-assign]
    _call(metering, 0, 5)
    task = asyncio.create_task(metering.drainer.drain())
    await heard.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    sink.keep = keep  # type: ignore[method-assign]
    await metering.drainer.drain()
    assert set(sink.told.values()) == {2}
    assert metering.drainer.undrained_events == 0


async def test_a_clean_end_stores_everything_and_leaves_nothing(
    tmp_path: Path, sink: MemorySink
) -> None:
    metering = Metering.open(tmp_path / "journal", sink, segment_bytes=SEGMENT)
    _call(metering, 0, 1000)
    await metering.close()
    assert len(sink.told) == 1000
    assert not metering.holding.path.exists()


async def test_an_end_without_the_database_leaves_all_for_the_next_start(
    tmp_path: Path, sink: MemorySink
) -> None:
    sink.available = False
    metering = Metering.open(tmp_path / "journal", sink, segment_bytes=SEGMENT)
    _call(metering, 0, 1000)
    await metering.close()
    sink.available = True
    again = Metering.open(tmp_path / "journal", sink, segment_bytes=SEGMENT)
    await again.adopter.adopt()
    await again.close()
    assert (len(sink.told), set(sink.told.values())) == (1000, {1})


async def test_an_end_does_not_wait_for_ever(tmp_path: Path, sink: MemorySink) -> None:
    async def hang(events: Any) -> None:
        await asyncio.Event().wait()

    sink.keep = hang  # type: ignore[method-assign]
    metering = Metering.open(tmp_path / "journal", sink, segment_bytes=SEGMENT)
    _call(metering, 0)
    await metering.close(seconds=0.05)
    assert metering.holding.path.exists()


async def test_readiness_says_when_usage_is_stored_late(
    metering: Metering, sink: MemorySink
) -> None:
    assert await metering.check() is None
    _call(metering, 0)
    metering.drainer._caught_up -= 31
    assert await metering.check() == "behind"


async def test_readiness_fails_when_calls_cannot_be_accounted_for(metering: Metering) -> None:
    metering.upkeep.stop()
    with pytest.raises(JournalFull):
        await metering.check()


async def test_a_place_that_cannot_be_written_is_a_fault_of_the_start(
    tmp_path: Path, sink: MemorySink
) -> None:
    (tmp_path / "journal").write_text("in the way")
    with pytest.raises(StartupFault, match="journal"):
        Metering.open(tmp_path / "journal", sink)
