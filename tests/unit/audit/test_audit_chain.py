"""The chain: its one text, its links, and that no change of it goes unseen."""

import hashlib
import hmac
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.audit import chain
from model_service.audit.domain import GENESIS, AuditRecord, Entry, Head
from model_service.kernel.errors import AuditBroken
from tests.audit_trails import CHAIN_KEY, START, entry, linked

_TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_ENTRIES = st.builds(
    lambda number, **fields: entry(number, **fields),
    st.integers(0, 10**6),
    time=st.integers(-(10**12), 10**12).map(lambda ms: START + timedelta(milliseconds=ms)),
    actor=_TEXTS.map(lambda text: text or "system"),
    on_behalf_of=_TEXTS,
    subject=_TEXTS,
    reason=_TEXTS,
    request_id=_TEXTS,
    ciphertext_sha256=_TEXTS,
    term=st.none() | st.integers(0, 2**32 - 1),
)


def walked(records: list[AuditRecord], start: Head = GENESIS) -> Head:
    head = start
    for record in records:
        head = chain.follow(CHAIN_KEY, head, record)
    return head


@given(_ENTRIES)
def test_the_canonical_text_is_sorted_json_without_spaces_in_utf_8(made: Entry) -> None:
    text = chain.canonical(made)
    content = json.loads(text)
    again = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert text == again.encode()
    assert len(content) == len(Entry._fields), "every field is there, also when it is null"


@given(_ENTRIES, _ENTRIES)
def test_two_texts_are_equal_only_for_equal_entries(one: Entry, other: Entry) -> None:
    assert (chain.canonical(one) == chain.canonical(other)) is (one == other)


def test_times_of_any_zone_are_written_in_utc() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert chain.format_time(datetime(2026, 1, 31, 12, 0, 0, 5000, east)) == (
        "2026-01-31T06:30:00.005Z"
    )


def test_the_hash_is_an_hmac_over_number_former_hash_and_text() -> None:
    one, two = linked([entry(1), entry(2)])
    message = (2).to_bytes(8, "big") + one.hash + chain.canonical(two.entry)
    assert two.hash == hmac.new(CHAIN_KEY, message, hashlib.sha256).digest()
    assert (one.seq, one.prev_hash) == (1, bytes(32))
    assert two.prev_hash == one.hash


@given(st.lists(_ENTRIES, max_size=8), st.integers(0, 2**62))
def test_a_chain_as_it_was_written_is_followed_to_its_end(entries: list[Entry], seq: int) -> None:
    start = Head(seq, hashlib.sha256(str(seq).encode()).digest())
    records = linked(entries, start)
    assert walked(records, start) == (records[-1].head if records else start)


@given(st.lists(_ENTRIES, min_size=2, max_size=8), st.data())
def test_every_change_is_found_where_it_begins(entries: list[Entry], data: Any) -> None:
    records = linked([made._replace(id=entry(n).id) for n, made in enumerate(entries)])
    place = data.draw(st.integers(0, len(records) - 2))
    kind = data.draw(st.sampled_from(["edit", "delete", "swap", "insert", "repeat"]))
    if kind == "edit":
        forged = records[place].entry._replace(reason="forged by somebody")
        records[place] = records[place]._replace(entry=forged)
    elif kind == "delete":
        del records[place]
    elif kind == "swap":
        records[place], records[place + 1] = records[place + 1], records[place]
    elif kind == "insert":
        forged = records[place]._replace(entry=entry(99, reason="never happened"))
        records[place:] = [
            forged,
            *(record._replace(seq=record.seq + 1) for record in records[place:]),
        ]
    else:
        records.insert(place + 1, records[place])
    with pytest.raises(AuditBroken) as broken:
        walked(records)
    expected = place + 1
    assert broken.value.seq == expected
    assert f"audit record {expected}: " in broken.value.message


@pytest.mark.parametrize("field", Entry._fields)
def test_every_field_is_part_of_the_hash(field: str) -> None:
    (record,) = linked([entry(1)])
    value = getattr(record.entry, field)
    other: Any = {
        "id": entry(2).id,
        "time": record.entry.time + timedelta(milliseconds=1),
        "term": 7,
    }.get(field, f"{value}-other")
    with pytest.raises(AuditBroken):
        walked([record._replace(entry=record.entry._replace(**{field: other}))])


@pytest.mark.parametrize("part", ["hash", "prev_hash"])
def test_an_altered_hash_is_found(part: str) -> None:
    first, second = linked([entry(1), entry(2)])
    with pytest.raises(AuditBroken) as broken:
        walked([first, AuditRecord(**second._asdict() | {part: bytes(32)})])
    assert broken.value.seq == 2


def test_a_chain_of_another_key_is_not_taken() -> None:
    (record,) = linked([entry(1)])
    with pytest.raises(AuditBroken):
        chain.follow(bytes(32), GENESIS, record)


def test_a_line_holds_the_record_whole() -> None:
    first, second = linked([entry(1), entry(2)])
    line = chain.line(second)
    content = json.loads(line)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert (content.pop("seq"), content.pop("prevHash")) == (2, first.hash.hex())
    assert content.pop("hash") == second.hash.hex()
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert text.encode() == chain.canonical(second.entry)
