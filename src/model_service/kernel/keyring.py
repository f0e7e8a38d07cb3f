"""The rows in which a keyring is stored: the seam between `vault` (meaning) and `db` (SQL)."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

#: `exposed_through` of a wrap whose own secret leaked: every term, also those to come. The
#: largest number that a record's term field holds.
LEAKED: Final = 2**32 - 1


class TermState(StrEnum):
    """What a term's data key may still be used for."""

    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class WrapRow:
    """One way of unwrapping the keyring: a wrapping key's public parameters.

    `kind` names the wrapper (`scrypt`), `params` what it needs to derive its key again
    (JSON-able), `check_value` lets a wrong secret be told from a corrupt keyring. A wrap made
    because the secret before it leaked has `exposed_through`: the last term whose data key
    whoever has that secret may have. At the wrap of the leaked secret itself it is the highest
    possible term. `created_at` is None until it is stored.
    """

    wrap_id: str
    kind: str
    params: Mapping[str, int | str]
    check_value: bytes
    exposed_through: int | None = None
    created_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TermRow:
    """One data-key generation, numbered from 1.

    `seals` counts the records sealed under it so far. `retired_for` is how many seconds ago it
    ceased to be the active one, by the database's clock; None for one that did not.
    """

    term: int
    state: TermState
    seals: int = field(default=0, compare=False)
    retired_for: float | None = field(default=None, compare=False)
    created_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TermKeyRow:
    """A term's data key, encrypted under one wrap."""

    term: int
    wrap_id: str
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class KeyringRows:
    """Everything stored about the keyring."""

    wraps: tuple[WrapRow, ...]
    terms: tuple[TermRow, ...]
    term_keys: tuple[TermKeyRow, ...]


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """A process that holds the keyring, as it last said so itself.

    `name` is its host and process id. It opened the keyring with `wrap_id`, seals under
    `active_term` and opens what any term up to `newest_term` sealed. `is_live` is false when
    it has said nothing for too long to be running.
    """

    instance_id: UUID
    name: str
    wrap_id: str
    active_term: int
    newest_term: int
    started_at: datetime
    seen_at: datetime
    is_live: bool


@dataclass(frozen=True, slots=True)
class Beat:
    """What a process says of itself every few seconds.

    `seals` is how many records it sealed under each term since it last said so.
    """

    instance_id: UUID
    name: str
    wrap_id: str
    active_term: int
    newest_term: int
    seals: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class KeyringMark:
    """What a process is told in return: enough to see whether its keyring is out of date."""

    wrap_ids: frozenset[str]
    states: Mapping[int, TermState]
    seals: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class TermStatus:
    """A term and how many records of it each table holds."""

    row: TermRow
    records: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class KeyringStatus:
    """How far a rotation has come.

    `exposed` are the terms of which somebody with a leaked secret may have the data key.
    """

    wraps: tuple[WrapRow, ...]
    instances: tuple[InstanceRow, ...]
    terms: tuple[TermStatus, ...]
    exposed: tuple[int, ...]


class KeyringSession(Protocol):
    """One transaction on the stored keyring; nothing is kept unless it ends cleanly."""

    async def load(self) -> KeyringRows:
        """All rows: wraps oldest first, terms and term keys in ascending order of term."""
        ...

    async def records_exist(self) -> bool:
        """Whether any record encrypted under a keyring is stored."""
        ...

    async def instances(self) -> tuple[InstanceRow, ...]:
        """The processes that hold the keyring, by name; those long gone are left out."""
        ...

    async def add_wrap(self, wrap: WrapRow) -> None:
        """Store a new wrap, as the newest one whatever the clocks say."""
        ...

    async def expose(self, wrap_id: str, *, through: int) -> None:
        """Note at a wrap that the secret before it leaked, with the data keys up to a term."""
        ...

    async def delete_wrap(self, wrap_id: str) -> None:
        """Forget a wrap and every data key under it."""
        ...

    async def add_term_keys(self, keys: tuple[TermKeyRow, ...]) -> None:
        """Store data keys of stored terms under a stored wrap: a new wrap for an old keyring."""
        ...

    async def add_term(self, term: TermRow, keys: tuple[TermKeyRow, ...]) -> None:
        """Store a new term with its data key under each wrap."""
        ...

    async def set_term_state(self, term: int, state: TermState) -> None:
        """Change what a term may be used for; DESTROYED deletes its data key under every wrap."""
        ...

    async def fence(self) -> bool:
        """Keep every sealed record from being stored until this transaction ends.

        False when one is being stored at this moment: try again later. What is stored after a
        term was destroyed under the fence cannot be a record of that term: the database
        refuses it.
        """
        ...

    async def beat(self, beat: Beat) -> KeyringMark:
        """Note that a process is alive and what it uses, and count what it sealed."""
        ...


class KeyringStore(Protocol):
    """Where the keyring is stored."""

    def exclusive(self) -> AbstractAsyncContextManager[KeyringSession]:
        """A transaction that no other process's keyring transaction overlaps."""
        ...

    def shared(self) -> AbstractAsyncContextManager[KeyringSession]:
        """A transaction beside those of other processes: for reading and for beats."""
        ...

    def turn(self) -> AbstractAsyncContextManager[bool]:
        """A transaction in which at most one process re-encrypts; False: another has the turn."""
        ...

    async def leave(self, instance_id: UUID) -> None:
        """Note that a process has ended."""
        ...
