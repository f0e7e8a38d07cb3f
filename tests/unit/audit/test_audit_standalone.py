"""The stand-alone verifier, on exports made up and altered in every way."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.audit import signing
from model_service.audit.domain import GENESIS, Head, SealKind
from model_service.audit.segment import Segment
from model_service.audit.signing import AuditKeys
from model_service.audit.standalone import (
    NothingCompared,
    Verifier,
    Wrong,
    main,
    read_lines,
    verify,
)
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


def test_an_anchor_in_the_midst_stands_for_no_records() -> None:
    lines = exported(3, 2)
    checkpoint = KEYS.require_signed_line(lines[-1])
    lines[-1] = signing.line(KEYS.sign(replace(checkpoint, kind=SealKind.ANCHOR)))
    with pytest.raises(Wrong, match="checkpoint of the records from here is missing") as wrong:
        check(lines)
    assert wrong.value.seq == 4


@pytest.mark.parametrize("changes", [{"digest": "00" * 32}, {"hash": "00" * 32}])
def test_a_signed_checkpoint_of_other_records_covers_none_of_these(changes: Any) -> None:
    lines = exported(3, 2)
    checkpoint = KEYS.require_signed_line(lines[-1])
    lines[-1] = signing.line(KEYS.sign(replace(checkpoint, **changes)))
    with pytest.raises(Wrong, match="the records 4 to 5 are not those that were signed") as wrong:
        check(lines)
    assert wrong.value.seq == 4


def test_a_line_may_be_as_long_as_the_longest_and_no_longer() -> None:
    content = json.dumps({"seq": 2}).encode()
    longest = content + b" " * (65_536 - len(content) - 1) + b"\n"
    with pytest.raises(Wrong, match="but record 2 follows"):
        check([longest])
    with pytest.raises(Wrong, match="not one of an export"):
        check([content + b" " * (65_536 - len(content)) + b"\n"])


def test_a_file_is_read_in_lines_the_too_long_ones_in_pieces() -> None:
    pieces = list(read_lines(io.BytesIO(b"a\n" + b"x" * 65_538 + b"\nb")))
    assert pieces == [b"a\n", b"x" * 65_537, b"x\n", b"b"]


class Files:
    """An export, a later one and the public key, as files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("export.jsonl", b"".join(exported(3)))
        self.write("later.jsonl", b"".join(exported(3, 2)))
        self.write("public.pem", KEYS.public_pem)

    def write(self, name: str, content: bytes) -> None:
        (self.directory / name).write_bytes(content)

    def check(self, *names: str) -> int:
        return main([name if name[:2] == "--" else str(self.directory / name) for name in names])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_the_command_says_what_is_right(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert files.check("later.jsonl", "public.pem") == 0
    assert files.check("later.jsonl", "public.pem", "--checkpoint", "export.jsonl") == 0
    said = "right: records 1 to 5, 2 checkpoints\n"
    assert capsys.readouterr() == (said * 2, "")


def test_the_command_names_what_is_wrong(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert files.check("export.jsonl", "public.pem", "--checkpoint", "later.jsonl") == 2
    said = "WRONG: record 4: missing; a checkpoint kept earlier goes up to 5\n"
    assert capsys.readouterr() == (said, "")


def test_the_command_says_what_it_cannot_check(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Ed448PrivateKey.generate().public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files.write("other.pem", pem)
    assert files.check("export.jsonl", "other.pem") == 1
    assert capsys.readouterr() == ("", "the public key is not an Ed25519 key\n")
    assert files.check("nowhere.jsonl", "public.pem") == 1
    assert files.check("export.jsonl", "public.pem", "--checkpoint", "nowhere.jsonl") == 1
    assert files.check("export.jsonl", "public.pem", "--checkpoint", "public.pem") == 1
    out, said = capsys.readouterr()
    assert out == ""
    assert [line.count("nowhere.jsonl") for line in said.splitlines()] == [1, 1, 0]
    assert said.endswith("what was kept earlier holds no checkpoint\n")


def test_the_command_asks_for_an_export_and_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "export, public_key" in capsys.readouterr().err
