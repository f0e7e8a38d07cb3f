"""A segment: what is signed of its records, and which checkpoints are none of it."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from model_service.audit import chain, seals, signing
from model_service.audit.api import PageOfRecords
from model_service.audit.domain import GENESIS, Checkpoint, SealKind
from model_service.audit.segment import Segment
from model_service.audit.signing import AuditKeys
from model_service.kernel.errors import AuditBroken
from model_service.kernel.secret import Secret
from tests.audit_trails import CHAIN_KEY, SIGNING_KEY, START, entry, linked

KEYS = AuditKeys(Secret(CHAIN_KEY), SIGNING_KEY)
NOW = START + timedelta(hours=1)
RECORDS = linked([entry(n) for n in (1, 5, 3)])


def taken(count: int = 3) -> Segment:
    segment = Segment(CHAIN_KEY, GENESIS)
    for record in RECORDS[:count]:
        segment.take(record)
    return segment


def test_what_is_signed_says_where_the_segment_is_and_what_is_in_it() -> None:
    segment = taken()
    assert (segment.first_seq, segment.head) == (1, RECORDS[2].head)
    assert segment.checkpoint(NOW) == Checkpoint(
        kind=SealKind.CHECKPOINT,
        first_seq=1,
        seq=3,
        hash=RECORDS[2].hash.hex(),
        digest=hashlib.sha256(b"".join(map(chain.line, RECORDS))).hexdigest(),
        time=NOW,
        last_time=START + timedelta(seconds=5),
        key_id="",
    )


def test_of_no_records_nothing_is_signed() -> None:
    with pytest.raises(ValueError, match="without records"):
        Segment(CHAIN_KEY, GENESIS).checkpoint(NOW)


def test_the_next_segment_begins_with_nothing_of_the_one_before() -> None:
    segment = taken(2)
    segment.close(segment.checkpoint(NOW))
    assert segment.first_seq == 3
    segment.take(RECORDS[2])
    following = segment.checkpoint(NOW)
    assert (following.first_seq, following.seq) == (3, 3)
    assert following.last_time == START + timedelta(seconds=3), "an earlier one than before"
    assert following.digest == hashlib.sha256(chain.line(RECORDS[2])).hexdigest()


@pytest.mark.parametrize(
    ("changes", "seq", "said"),
    [
        ({"first_seq": 2}, 1, "from here on is missing"),
        ({"first_seq": 0}, 1, "from here on is missing"),
        ({"seq": 4}, 4, "is missing, says its checkpoint"),
        ({"seq": 2}, 4, "is missing, says its checkpoint"),
        ({"hash": "00" * 32}, 1, "not those of their checkpoint"),
        ({"digest": "00" * 32}, 1, "not those of their checkpoint"),
    ],
)
def test_a_checkpoint_of_others_does_not_close_it(
    changes: dict[str, object], seq: int, said: str
) -> None:
    segment = taken()
    with pytest.raises(AuditBroken, match=said) as broken:
        segment.close(replace(segment.checkpoint(NOW), **changes))  # type: ignore[arg-type]
    assert broken.value.seq == seq
    segment.close(segment.checkpoint(NOW))


def test_a_record_numbered_as_one_before_was_inserted() -> None:
    segment = taken()
    with pytest.raises(AuditBroken, match="inserted") as broken:
        segment.take(RECORDS[2])
    assert broken.value.seq == 3


def test_a_record_must_name_the_one_before_it() -> None:
    segment = taken(2)
    with pytest.raises(AuditBroken, match="does not follow") as broken:
        segment.take(RECORDS[2]._replace(prev_hash=bytes(32)))
    assert broken.value.seq == 3


# --- signatures ------------------------------------------------------------------------------


def test_the_signing_key_is_named_by_sixteen_digits_of_its_public_part_s_digest() -> None:
    digest = hashlib.sha256(SIGNING_KEY.public_key().public_bytes_raw()).hexdigest()
    assert KEYS.key_id == digest[:16]
    assert KEYS.sign(taken().checkpoint(NOW)).checkpoint.key_id == KEYS.key_id


def test_the_keys_show_neither_of_the_two() -> None:
    assert "Ed25519" not in repr(KEYS)
    assert repr(CHAIN_KEY) not in repr(KEYS)


def test_what_is_signed_is_filed_where_it_belongs() -> None:
    signed = KEYS.sign(taken().checkpoint(NOW))
    document, signature = signed.document, signed.signature
    assert KEYS.require_signed("checkpoint", 3, document, signature) == signed.checkpoint
    for kind, seq in (("anchor", 3), ("checkpoint", 4)):
        with pytest.raises(AuditBroken, match=f"the {kind} belongs elsewhere"):
            KEYS.require_signed(kind, seq, document, signature)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"[]", b"{}", b'{"signed":1,"signature":"00"}', b'{"signed":{},"signature":"00"}',
        b'{"signed":{"kind":"checkpoint"},"signature":"00"}',
        b'{"signed":{"kind":"checkpoint","seq":1},"signature":"zz"}',
        b'{"signed":{"kind":"checkpoint","seq":1},"signature":5}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_checkpoint_is_told_as_that(line: bytes) -> None:
    with pytest.raises(AuditBroken, match="the checkpoint given is not one"):
        KEYS.require_signed_line(line)


def test_a_line_of_another_key_is_not_signed() -> None:
    stranger = AuditKeys(Secret(CHAIN_KEY), Ed25519PrivateKey.generate())
    line = signing.line(stranger.sign(taken().checkpoint(NOW)))
    with pytest.raises(AuditBroken, match="not signed with the audit key") as broken:
        KEYS.require_signed_line(line)
    assert broken.value.seq == 3


def test_what_is_stored_is_compared_with_what_was_kept_elsewhere() -> None:
    signed = KEYS.sign(taken().checkpoint(NOW))
    seals.require_same(signed, signed.checkpoint)
    with pytest.raises(AuditBroken, match="the checkpoint is missing"):
        seals.require_same(None, signed.checkpoint)
    with pytest.raises(AuditBroken, match="another one") as broken:
        seals.require_same(signed, replace(signed.checkpoint, hash="00" * 32))
    assert broken.value.seq == 3


# --- pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cursor", "before"),
    [
        (None, None),
        ("0", 0),
        ("127", 127),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", 2**63 - 1),
        ("9999999999999999999", 2**63 - 1),
    ],
)
def test_a_cursor_beyond_every_number_asks_for_the_newest(
    cursor: str | None, before: int | None
) -> None:
    assert PageOfRecords(cursor=cursor).before() == before
