"""Segments: files of a fixed size that hold a journal's records one after another.

A segment is a header and then records until the first place that is not one. The header ends
with a mark, the offset up to which everything is drained. A record is

    crc32 of all that follows | kind and length | ticket | payload
    4 bytes                     4 bytes           8        length

in little-endian order, the kind in the uppermost byte of the length. A segment is written full
of zeros when it is made, and no record starts with as many of them, so that the end is plain.
"""

import mmap
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

#: A call was begun.
BEGUN: Final = 1
#: A call is over: its usage event.
EVENT: Final = 2

#: Bytes of a record before its payload.
RECORD_BYTES: Final = 16
#: Longest record in bytes, its header included; also what an unfinished call is promised.
MOST_RECORD: Final = 8_192
#: Offset of the first record.
START: Final = 128

_HEAD: Final = Struct("<8sIQ")
_MAGIC: Final = b"MSUSAGE1"
_MARK_AT: Final = 64
_MARK: Final = Struct("<QI")
_CRC: Final = Struct("<I")
_REST: Final = Struct("<IQ")
_RECORD: Final = Struct("<IIQ")
_CRC_BITS: Final = Struct("<II")
_KIND_SHIFT: Final = 24
_LENGTH: Final = (1 << _KIND_SHIFT) - 1
_SUFFIX: Final = ".segment"
_ZEROS: Final = bytes(1 << 18)
#: Bytes read at a time.
_CHUNK: Final = 1 << 18
#: The same where it is done all the time: little enough for memory that was just used to be used
#: again, which is several times as fast as fresh one.
_OWN_CHUNK: Final = 1 << 16

pack_crc: Final = _CRC.pack
pack_rest: Final = _REST.pack
crc32: Final = zlib.crc32
#: What is added to a payload's length, by kind.
BEGUN_BITS: Final = BEGUN << _KIND_SHIFT
EVENT_BITS: Final = EVENT << _KIND_SHIFT
_LEAST_BITS: Final = BEGUN_BITS
_MOST_BITS: Final = EVENT_BITS | _LENGTH


def segment_path(directory: Path, number: int) -> Path:
    """Where a segment lies."""
    return directory / f"{number:010d}{_SUFFIX}"


def segment_paths(directory: Path) -> list[Path]:
    """The segments in a directory, oldest first."""
    return sorted(path for path in directory.iterdir() if path.suffix == _SUFFIX)


@dataclass(slots=True)
class Segment:
    """One being written to, or waiting for that, by the process that made it."""

    number: int
    path: Path
    size: int
    file: int
    """Its descriptor, for writing it through to the disk; -1 once closed."""
    view: mmap.mmap
    end: int = START
    """Up to where it is written."""
    drained: int = START
    """Up to where it is drained."""
    pending: dict[int, bytes] = field(default_factory=dict)
    """The calls begun in it that are not over: payloads by ticket."""
    is_damaged: bool = False
    """Whether something in it could not be read again."""

    @classmethod
    def create(cls, directory: Path, number: int, size: int) -> "Segment":
        """A new one. All its room is taken on the disk, so that writing to it cannot fail.

        It is filled with zeros, not only allocated: what was never written is converted at its
        first write, within the file system's own journal, which others may be holding up.

        Raises:
            OSError: it does not fit on the disk, or cannot be made; nothing is left behind.
        """
        path = segment_path(directory, number)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, size)
            _fill(file, size)
            os.pwrite(file, _HEAD.pack(_MAGIC, size, number), 0)
            os.fsync(file)
            sync_directory(directory)
            return cls(number, path, size, file, mmap.mmap(file, size))
        except BaseException:
            os.close(file)
            path.unlink()
            raise

    @classmethod
    def none(cls, directory: Path, size: int) -> "Segment":
        """What stands for one while none can be made: it is full, and nowhere on the disk."""
        nothing = mmap.mmap(-1, mmap.PAGESIZE)
        return cls(0, segment_path(directory, 0), size, -1, nothing, end=size, drained=size)

    def sync(self) -> None:
        """Write what it holds through to the disk. Raises OSError. Takes as long as that does."""
        if self.number == 0:
            return
        if hasattr(os, "fdatasync"):
            os.fdatasync(self.file)  # on Linux that covers what was written through the mapping
        else:
            self.view.flush()
            os.fsync(self.file)

    def close(self) -> None:
        """Let go of the file. Has no effect the second time."""
        self.view.close()
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


def sync_directory(directory: Path) -> None:
    """Make durable which files a directory has. Raises OSError."""
    file = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _fill(file: int, size: int) -> None:
    """Write zeros. Raises OSError."""
    at = 0
    while at < size:
        at += os.pwrite(file, _ZEROS[: size - at], at)


def mark(path: Path, offset: int) -> None:
    """Say in a segment that everything before `offset` is drained. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        packed = offset.to_bytes(8, "little")
        os.pwrite(file, _MARK.pack(offset, crc32(packed)), _MARK_AT)
    finally:
        os.close(file)


def marked(path: Path) -> int:
    """Up to where a segment is drained; its start when that cannot be told. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(file, _MARK.size, _MARK_AT)
    finally:
        os.close(file)
    if len(data) < _MARK.size:
        return START
    offset, crc = _MARK.unpack(data)
    return offset if offset >= START and crc == crc32(data[:8]) else START


class Record(NamedTuple):
    """One record as it was read; `end` is the offset behind it."""

    kind: int
    ticket: int
    payload: bytes
    end: int


@dataclass(slots=True)
class Part:
    """Records that follow one another in a segment."""

    records: list[Record]
    end: int
    """Where to go on."""
    is_last: bool
    """Whether no record follows."""
    is_torn: bool = False
    """Whether the last record was begun and not whole, as when the process was killed."""
    damaged: int = 0
    """How often something was left out that no such death explains: bytes were altered."""


def read_part(path: Path, start: int, stop: int | None = None, most: int = 512) -> Part:
    """Up to `most` records of a segment from an offset on, and before `stop` if given.

    A record that is not whole is left out when another one follows within the length that a record
    may have, wherever its own, which may be what was altered, says that it ends; else the segment
    ends there.

    Raises:
        OSError: it cannot be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(file, _CHUNK, start)
    finally:
        os.close(file)
    is_all = len(data) < _CHUNK
    if stop is not None and start + len(data) >= stop:
        data, is_all = data[: stop - start], True
    part = Part([], start, is_last=False)
    at = 0
    while len(part.records) < most:
        if len(data) - at < MOST_RECORD and not is_all:
            break
        record = _record(data, at, start)
        if record is None:
            if at and not is_all and len(data) - at < 2 * MOST_RECORD:
                break  # what may follow is not all here
            following = _following(data, at, start)
            if following is None:
                part.is_last = True
                part.is_torn = any(data[at : at + RECORD_BYTES])
                break
            part.damaged += 1
            at = following
            continue
        part.records.append(record)
        at = record.end - start
    part.end = start + at
    if part.is_last and stop is None:
        part.damaged += _has_more(path, part.end + MOST_RECORD)
    return part


def read_own(path: Path, start: int, stop: int, payloads: list[bytes]) -> int:
    """Add the payloads of events that this process itself wrote, in about a third of a microsecond.

    It takes what is in its own memory for what it wrote: no checksum is looked at. The answer is
    where to go on: `start` when what is there makes no sense, so that `read_part` must look at it.

    Raises:
        OSError: it cannot be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(file, min(_OWN_CHUNK, stop - start), start)
    finally:
        os.close(file)
    at, size, add, unpack = 0, len(data), payloads.append, _CRC_BITS.unpack_from
    while at + RECORD_BYTES <= size:
        bits = unpack(data, at)[1]
        behind = at + RECORD_BYTES + (bits & _LENGTH)
        if behind > size:
            break
        if bits >= EVENT_BITS:
            if bits > _MOST_BITS:
                break
            add(data[at + RECORD_BYTES : behind])
        elif bits < BEGUN_BITS:
            break
        at = behind
    return start + at


def _record(data: bytes, at: int, start: int) -> Record | None:
    """The record at an offset of the data; None when there is no whole one."""
    behind = _behind(data, at)
    if behind is None:
        return None
    crc, bits, ticket = _RECORD.unpack_from(data, at)
    if crc != crc32(data[at + 4 : behind]):
        return None
    return Record(bits >> _KIND_SHIFT, ticket, data[at + RECORD_BYTES : behind], start + behind)


def _following(data: bytes, at: int, start: int) -> int | None:
    """Where the next whole record stands behind one that is not; None when there is none near."""
    for place in range(at + RECORD_BYTES, min(at + MOST_RECORD, len(data)) + 1):
        if _record(data, place, start) is not None:
            return place
    return None


def _behind(data: bytes, at: int) -> int | None:
    """Where the record at an offset ends, going by its length; None when that makes no sense."""
    if len(data) - at < RECORD_BYTES:
        return None
    bits: int = _RECORD.unpack_from(data, at)[1]
    size = RECORD_BYTES + (bits & _LENGTH)
    if not _LEAST_BITS <= bits <= _MOST_BITS or size > MOST_RECORD or at + size > len(data):
        return None
    return at + size


def _has_more(path: Path, offset: int) -> bool:
    """Whether anything was written from an offset on, where there should be nothing."""
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(_CHUNK):
            if chunk != _ZEROS[: len(chunk)]:
                return True
    return False
