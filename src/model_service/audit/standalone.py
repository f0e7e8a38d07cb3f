"""Checks an export of the audit trail with nothing but this file, Python and `cryptography`.

    python standalone.py export.jsonl public.pem [--checkpoint kept-earlier.jsonl]

It proves that each record is one that the holder of the signing key wrote, in this order, with
none left out between the first and the last. Compared with a checkpoint kept from an earlier
export it proves too that the end was not cut off and the trail not replaced. The format is
described in docs/audit-trail.md. This file imports nothing of the service, and works on an
export of any length in the same memory.

Exit status: 0 when everything is right, 2 when something is not (with the number of the first
record that is wrong, or of the first of the segment that it is in), 1 when it could not be
checked: a file that cannot be read, or checkpoints none of which concerns the export.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SIGNED_PREFIX: Final = b"model-service audit v1\n"
NO_HASH: Final = "00" * 32
#: Longest line of an export, in bytes; a record has 16 texts of bounded length.
MAX_LINE: Final = 65_536


class Wrong(Exception):
    """Something in the export is not as it was written; `seq` is where."""

    def __init__(self, seq: int, what: str) -> None:
        """`seq` is the number of the first record concerned."""
        super().__init__(f"record {seq}: {what}")
        self.seq = seq


class NothingCompared(ValueError):
    """Checkpoints were given to compare the export with, and none of them concerns it."""


class Verifier:
    """Takes the lines of an export in their order."""

    def __init__(self, public_key: Ed25519PublicKey, kept: Mapping[int, str] | None = None) -> None:
        """`kept` are the hashes that checkpoints of an earlier export name, by their numbers."""
        self._public_key = public_key
        self._kept = kept
        self.compared = 0
        self._digest = hashlib.sha256()
        self._segment_start = 1
        self._is_first_line = True
        self.seq = 0
        self.hash = NO_HASH
        self.first_seq = 1
        self.checkpoints = 0

    def take(self, line: bytes) -> None:
        """Go on by one line, which ends with its newline.

        Raises:
            Wrong: it is not the line that was written there.
        """
        content = self._parse(line)
        if "signed" in content:
            self._take_signed(content)
        else:
            self._take_record(content, line)
        self._is_first_line = False
        if self._kept is not None and self.seq in self._kept:
            self.compared += 1
            if self._kept[self.seq] != self.hash:
                raise Wrong(self.seq, "the trail is another one than the checkpoint kept earlier")

    def finish(self) -> None:
        """The export ends here.

        Raises:
            Wrong: there should be more.
            NothingCompared: checkpoints were kept, but none of a record that is here.
        """
        if self.seq >= self._segment_start:
            raise Wrong(self._segment_start, "no checkpoint covers the records from here on")
        if self._is_first_line or self.checkpoints == 0:
            raise Wrong(self.seq + 1, "the export holds no records")
        if self._kept is None:
            return
        latest = max(self._kept, default=0)
        if latest > self.seq:
            raise Wrong(self.seq + 1, f"missing; a checkpoint kept earlier goes up to {latest}")
        if self.compared == 0:
            raise NothingCompared(
                f"nothing was compared: the export begins with record {self.first_seq}, and what"
                f" was kept earlier has no checkpoint from {self.first_seq - 1} on"
            )

    def require_signed(self, content: dict[str, Any]) -> dict[str, Any]:
        """What a line with a signature says.

        Raises:
            Wrong: it was not signed with this key.
        """
        signed = content["signed"]
        document = json.dumps(
            signed, ensure_ascii=False, sort_keys=True, separators=(",", ":")
        ).encode()
        try:
            self._public_key.verify(bytes.fromhex(content["signature"]), SIGNED_PREFIX + document)
        except (InvalidSignature, KeyError, TypeError, ValueError):
            raise Wrong(self.seq + 1, "a checkpoint is not signed with this key") from None
        checked: dict[str, Any] = signed
        return checked

    def _take_record(self, content: dict[str, Any], line: bytes) -> None:
        expected = self.seq + 1
        if content.get("seq") != expected:
            found = content.get("seq")
            raise Wrong(expected, f"expected here, but record {found} follows")
        if content.get("prevHash") != self.hash:
            raise Wrong(expected, "does not follow the one before it")
        self.seq = expected
        self.hash = content.get("hash", "")
        self._digest.update(line)

    def _take_signed(self, content: dict[str, Any]) -> None:
        signed = self.require_signed(content)
        if self._is_first_line:
            # Where the export begins: everything before was in another one, or pruned.
            self.seq, self.hash = signed["seq"], signed["hash"]
            self._segment_start = self.first_seq = self.seq + 1
            return
        if signed["kind"] != "checkpoint" or signed["firstSeq"] != self._segment_start:
            raise Wrong(self._segment_start, "the checkpoint of the records from here is missing")
        if signed["seq"] != self.seq:
            raise Wrong(min(self.seq, signed["seq"]) + 1, "missing, or one too many")
        if signed["hash"] != self.hash or signed["digest"] != self._digest.hexdigest():
            span = f"{self._segment_start} to {self.seq}"
            raise Wrong(self._segment_start, f"the records {span} are not those that were signed")
        self._digest = hashlib.sha256()
        self._segment_start = self.seq + 1
        self.checkpoints += 1

    def _parse(self, line: bytes) -> dict[str, Any]:
        if len(line) <= MAX_LINE and line.endswith(b"\n"):
            try:
                content = json.loads(line)
            except ValueError:
                content = None
            if isinstance(content, dict):
                return content
        raise Wrong(self.seq + 1, "the line is not one of an export")


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, the too long ones in pieces, which are lines of no export."""
    return iter(lambda: file.readline(MAX_LINE + 1), b"")


def verify(
    lines: Iterable[bytes], public_key: Ed25519PublicKey, kept: Iterable[bytes] | None = None
) -> Verifier:
    """Check an export; `kept` are lines of an earlier one, of which the checkpoints count.

    Raises:
        Wrong: something is not as it was written.
        NothingCompared: `kept` holds no checkpoint of a record in the export.
    """
    verifier = Verifier(public_key, None if kept is None else _hashes(kept, Verifier(public_key)))
    for line in lines:
        verifier.take(line)
    verifier.finish()
    return verifier


def _hashes(kept: Iterable[bytes], opener: Verifier) -> dict[int, str]:
    found: dict[int, str] = {}
    for line in kept:
        if line.startswith(b'{"signed":'):
            signed = opener.require_signed(json.loads(line))
            found[signed["seq"]] = signed["hash"]
    if not found:
        raise NothingCompared("what was kept earlier holds no checkpoint")
    return found


def main(arguments: Sequence[str]) -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(description="Check an export of the audit trail.")
    parser.add_argument("export", type=Path, help="what `model-service audit export` wrote")
    parser.add_argument("public_key", type=Path, help="the public key, a PEM file")
    parser.add_argument("--checkpoint", type=Path, help="an earlier export, or a line of it")
    options = parser.parse_args(arguments)
    try:
        public_key = load_pem_public_key(options.public_key.read_bytes())
        if not isinstance(public_key, Ed25519PublicKey):
            raise ValueError("the public key is not an Ed25519 key")
        with ExitStack() as files:
            export = files.enter_context(options.export.open("rb"))
            kept = options.checkpoint and files.enter_context(options.checkpoint.open("rb"))
            found = verify(read_lines(export), public_key, kept and read_lines(kept))
    except Wrong as wrong:
        sys.stdout.write(f"WRONG: {wrong}\n")
        return 2
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        f"right: records {found.first_seq} to {found.seq}, {found.checkpoints} checkpoints\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
