"""Tables that hold sealed records, as whoever re-encrypts them sees them."""

from base64 import b64encode
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

#: What every record starts with: format version 1 and cipher suite 1 (docs/vault-format.md).
_VERSION_AND_SUITE = bytes((1, 1))


def term_prefix(term: int) -> str:
    """The 8 characters that every stored record of `term` starts with, and no other.

    Version, suite and term are 6 bytes, which base64 writes as exactly 8 characters: a record's
    term can be seen in SQL, and indexed, without a column that could disagree with it.
    """
    return b64encode(_VERSION_AND_SUITE + term.to_bytes(4)).decode("ascii")


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A record of an old term: where it is, the text stored, and the same value sealed anew.

    `resealed` is None when the stored text does not open; then it can only be left alone.
    """

    row_id: UUID
    stored: str
    resealed: str | None = field(repr=False)


class SealedTable(Protocol):
    """One table of sealed records. A record's place (its associated data) never changes here."""

    @property
    def name(self) -> str:
        """The table, in reports."""
        ...

    @property
    def kind(self) -> str:
        """What a row is, as the audit trail's subjects call it: `key` in `key:<id>`."""
        ...

    async def count(self, term: int) -> int:
        """How many records of that term there are; for reports."""
        ...

    async def holds(self, term: int) -> bool:
        """Whether there is any record of that term; fast however many there are."""
        ...

    async def batch(self, term: int, after: UUID | None, limit: int) -> Sequence[SealedRow]:
        """Records of that term in order of id, sealed anew under the active term.

        Rows that somebody is changing at this moment are left out.
        """
        ...

    async def replace(self, rows: Sequence[SealedRow]) -> Collection[UUID]:
        """Store the records sealed anew where the old text is still the one stored.

        Gives the ids of those that were replaced.
        """
        ...
