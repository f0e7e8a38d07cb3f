"""The stand-alone verifier, on exports made up and altered in every way."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.audit import signing
from model_service.audit.domain import GENESIS, Head, SealKind
from model_service.audit.segment import Segment
from model_service.audit.signing import AuditKeys
from model_service.audit.standalone import NothingCompared, Verifier, Wrong, verify
from model_service.kernel.secret import Secret
from tests.audit_trails import CHAIN_KEY, SIGNING_KEY, START, entry, linked

KEYS = AuditKeys(Secret(CHAIN_KEY), SIGNING_KEY)
NOW = START + timedelta(hours=1)


def exported(*sizes: int, start: Head = GENESIS, keys: AuditKeys = KEYS) -> list[bytes]:
    """Segments of so many records, each with its checkpoint, behind `start`."""
    segment = Segment(CHAIN_KEY, start)
    lines = []
    for size in sizes:
        first = segment.head.seq + 1
        entries = [entry(n) for n in range(first, first + size)]
        lines += [segment.take(record) for record in linked(entries, segment.head)]
        checkpoint = segment.checkpoint(NOW)
        lines.append(signing.line(keys.sign(checkpoint)))
        segment.close(checkpoint)
    return lines


def check(lines: list[bytes], kept: list[bytes] | None = None) -> Verifier:
    return verify(lines, KEYS.public, kept)


def altered(line: bytes, **fields: Any) -> bytes:
    content = json.loads(line) | fields
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_an_export_as_it_was_written_is_right() -> None:
    found = check(exported(3, 1, 5))
    assert (found.first_seq, found.seq, found.checkpoints) == (1, 9, 3)


def test_an_export_may_begin_behind_a_checkpoint_or_an_anchor() -> None:
    whole = exported(3, 4)
    found = check(whole[3:])
    assert (found.first_seq, found.seq) == (4, 7)
    checkpoint = KEYS.require_signed_line(whole[3])
    anchor = signing.line(KEYS.sign(replace(checkpoint, kind=SealKind.ANCHOR)))
    assert check([anchor, *whole[4:]]).first_seq == 4


EXPORT = exported(2, 2)

ALTERATIONS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int]] = {
    "edited": (lambda x: [x[0], altered(x[1], reason="forged"), *x[2:]], 1),
    "edited with its hash": (lambda x: [x[0], altered(x[1], hash="ab" * 32), *x[2:]], 3),
    "removed": (lambda x: [x[0], *x[2:]], 2),
    "removed at the start": (lambda x: x[1:], 1),
    "swapped": (lambda x: [x[1], x[0], *x[2:]], 1),
    "repeated": (lambda x: [x[0], *x], 2),
    "inserted": (lambda x: [x[0], altered(x[0], seq=2), *x[1:]], 2),
    "spaced otherwise": (lambda x: [x[0].replace(b'":', b'": '), *x[1:]], 1),
    "checkpoint removed": (lambda x: [*x[:3], *x[4:]], 1),
    "last checkpoint removed": (lambda x: x[:-1], 4),
    "checkpoint repeated": (lambda x: [*x[:4], *x[3:]], 4),
    "checkpoint altered": (lambda x: [*x[:3], x[3].replace(b'"seq":3', b'"seq":2'), *x[4:]], 4),
    "signature altered": (lambda x: [*x[:3], x[3].replace(b'e":"', b'e":"00'), *x[4:]], 4),
    "last record of a segment removed": (lambda x: [*x[:2], *x[3:]], 3),
    "cut in a line": (lambda x: [*x[:1], x[1][:40]], 2),
    "not JSON": (lambda x: [*x[:1], b"nonsense\n", *x[1:]], 2),
    "not an object": (lambda x: [*x[:1], b"[]\n", *x[1:]], 2),
    "empty": (lambda x: [], 1),
    "only a checkpoint": (lambda x: x[3:4], 4),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_every_alteration_is_found_where_it_is(name: str) -> None:
    alter, seq = ALTERATIONS[name]
    with pytest.raises(Wrong) as wrong:
        check(alter(exported(3, 2)))
    assert wrong.value.seq == seq


def test_a_segment_signed_with_another_key_is_not_taken() -> None:
    stranger = AuditKeys(Secret(CHAIN_KEY), Ed25519PrivateKey.generate())
    with pytest.raises(Wrong, match="not signed with this key"):
        check(exported(3, keys=stranger))


def test_an_end_that_was_cut_off_shows_against_a_checkpoint_kept_earlier() -> None:
    whole = exported(3, 2)
    assert check(whole, kept=whole).seq == 5
    assert check(whole[:4]).seq == 3, "by itself it is the beginning of a right trail"
    with pytest.raises(Wrong, match="goes up to 5") as wrong:
        check(whole[:4], kept=[whole[-1]])
    assert wrong.value.seq == 4


def test_another_trail_of_the_same_key_shows_against_a_checkpoint_kept_earlier() -> None:
    kept = exported(3)[-1]
    other = exported(2, 3)
    with pytest.raises(Wrong, match="another one") as wrong:
        check(altered_trail(), kept=[kept])
    assert wrong.value.seq == 3
    assert check(other, kept=[kept]).seq == 5, "the same records, signed at other places"


def altered_trail() -> list[bytes]:
    segment = Segment(CHAIN_KEY, GENESIS)
    entries = [entry(n, actor="somebody else") for n in range(1, 4)]
    lines = [segment.take(record) for record in linked(entries)]
    return [*lines, signing.line(KEYS.sign(segment.checkpoint(NOW)))]


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (lambda x: [], "holds no checkpoint"),
        (lambda x: x[:3], "holds no checkpoint"),
        (lambda x: x[:4], "begins with record 6, .* no checkpoint from 5 on"),
    ],
    ids=["empty", "only records", "only checkpoints before the export"],
)
def test_where_nothing_could_be_compared_the_answer_is_not_right(
    kept: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    whole = exported(3, 2, 4)
    with pytest.raises(NothingCompared, match=said):
        check(whole[6:], kept=kept(whole))


def test_the_checkpoint_that_an_export_begins_behind_is_compared() -> None:
    whole = exported(3, 2, 4)
    assert check(whole[6:], kept=whole[:7]).compared == 1
    with pytest.raises(Wrong, match="another one"):
        check(whole[3:], kept=altered_trail()[-1:])


def test_a_kept_checkpoint_of_a_stranger_is_refused() -> None:
    stranger = AuditKeys(Secret(CHAIN_KEY), Ed25519PrivateKey.generate())
    with pytest.raises(Wrong, match="not signed with this key"):
        check(exported(3), kept=exported(3, keys=stranger))


@settings(max_examples=100)
@given(st.data())
def test_no_byte_of_an_export_can_be_changed(data: Any) -> None:
    lines = EXPORT
    whole = b"".join(lines)
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    changed = whole[:place] + bytes([byte]) + whole[place + 1 :]
    changed_lines = changed.splitlines(keepends=True)
    try:
        found = check(changed_lines)
    except Wrong:
        return
    # The case of hex digits in a signature, and the like, say the same thing.
    assert [json.loads(line).get("signed") for line in changed_lines] == [
        json.loads(line).get("signed") for line in lines
    ]
    assert found.seq == 4
