"""The rows in which a keyring is stored: the seam between `vault` (meaning) and `db` (SQL)."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class TermState(StrEnum):
    """What a term's data key may still be used for."""

    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class WrapRow:
    """One way of unwrapping the keyring: a wrapping key's public parameters.

    `kind` names the wrapper (`scrypt`), `params` what it needs to derive its key again
    (JSON-able), `check_value` lets a wrong secret be told from a corrupt keyring.
    """

    wrap_id: str
    kind: str
    params: Mapping[str, int | str]
    check_value: bytes


@dataclass(frozen=True, slots=True)
class TermRow:
    """One data-key generation, numbered from 1."""

    term: int
    state: TermState


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


class KeyringSession(Protocol):
    """One transaction on the stored keyring; nothing is kept unless it ends cleanly."""

    async def load(self) -> KeyringRows:
        """All rows: wraps oldest first, terms and term keys in ascending order of term."""
        ...

    async def records_exist(self) -> bool:
        """Whether any record encrypted under a keyring is stored."""
        ...

    async def add_wrap(self, wrap: WrapRow) -> None:
        """Store a new wrap."""
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


class KeyringStore(Protocol):
    """Where the keyring is stored."""

    def exclusive(self) -> AbstractAsyncContextManager[KeyringSession]:
        """A transaction that no other process's keyring transaction overlaps."""
        ...
