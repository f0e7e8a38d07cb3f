"""The keyring: the data keys of every term, and how a process comes to hold them."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from typing_extensions import override

from model_service.kernel.errors import (
    Conflict,
    IntegrityFailure,
    KeyringCorrupt,
    KeyringMissing,
    SecretMismatch,
)
from model_service.kernel.keyring import (
    KeyringRows,
    KeyringSession,
    KeyringStore,
    TermKeyRow,
    TermRow,
    TermState,
    WrapRow,
)
from model_service.kernel.sealed import term_prefix
from model_service.kernel.secret import Secret
from model_service.vault.encoding import decode_text, encode_text
from model_service.vault.envelope import (
    MAX_U32,
    AssociatedData,
    Envelope,
    open_envelope,
    seal_envelope,
)
from model_service.vault.kms import KMS_KIND
from model_service.vault.primitives import KEY_BYTES
from model_service.vault.transit import TRANSIT_KIND
from model_service.vault.unlock import ScryptUnlocker, Unlocker
from model_service.vault.wrap import SCRYPT_KIND, KeyWrapper, wrap_aad

#: AES-GCM with random IVs is good for 2^32 encryptions under one key (NIST SP 800-38D, section
#: 8.3). Each record has a key of its own, so a term could seal far more; the limit is kept per
#: term all the same, as the point long before which operators should have changed terms.
SEALS_PER_TERM_LIMIT: Final = 2**32
#: Every wrap tried costs one scrypt, so a database full of wraps must not delay the start.
MAX_WRAPS: Final = 8
_KNOWN_KINDS: Final = frozenset({SCRYPT_KIND, TRANSIT_KIND, KMS_KIND})


class TermKeys(NamedTuple):
    """The data keys a process holds; replaced as a whole when the keyring changes."""

    active: int
    states: dict[int, TermState]
    deks: dict[int, Secret[bytes]]


class Keyring:
    """Seals under the active term's data key, opens under the one the record names.

    Made by `open_keyring`. It keeps its wrapper, so that terms added by another process can
    be taken in without stretching the secret again.
    """

    def __init__(self, wrapper: KeyWrapper, terms: TermKeys) -> None:
        self._wrapper = wrapper
        self._hold(terms)
        self._seals: Counter[int] = Counter()

    @override
    def __repr__(self) -> str:
        return f"<Keyring wrap={self.wrap_id} active={self.active_term}>"

    @property
    def wrap_id(self) -> str:
        """The wrap this process opened the keyring with."""
        return self._wrapper.wrap_id

    @property
    def active_term(self) -> int:
        """The term new records are sealed under."""
        return self._terms.active

    @property
    def states(self) -> dict[int, TermState]:
        """Every term and what its data key may be used for."""
        return dict(self._terms.states)

    def seal(self, aad: AssociatedData, plaintext: Secret[str]) -> str:
        """The text to store for `plaintext` at the place `aad` names.

        Raises `InvalidInput` when either holds lone surrogates.
        """
        active, _, deks = self._terms
        text = seal_envelope(deks[active].reveal(), active, aad, encode_text(plaintext)).text()
        self._seals[active] += 1
        return text

    def open(self, stored: str, aad: AssociatedData) -> Secret[str]:
        """The plaintext of a stored record, under the term the record names and no other.

        Raises `IntegrityFailure` when it was altered, moved, or belongs to a term that is
        destroyed or not in this keyring.
        """
        envelope = Envelope.parse(stored)
        dek = self._terms.deks.get(envelope.term)
        if dek is None:
            if envelope.term in self._terms.states:
                raise IntegrityFailure("A stored record belongs to a destroyed term")
            raise IntegrityFailure("A stored record belongs to an unknown term")
        return decode_text(open_envelope(dek.reveal(), envelope.term, envelope, aad))

    @property
    def newest_term(self) -> int:
        """The last term whose records this process opens."""
        return max(self._terms.deks)

    def knows_terms_of(self, stored: Iterable[str]) -> bool:
        """Whether this process has heard of the term of each record, as far as it has one."""
        return all(text.startswith(self._prefixes) for text in stored)

    def names_destroyed(self, stored: Iterable[str]) -> bool:
        """Whether any of the records belongs to a term that this process knows is destroyed."""
        return any(text.startswith(self._destroyed) for text in stored)

    def take_seals(self) -> Mapping[int, int]:
        """How many records were sealed under each term since this was last asked."""
        taken, self._seals = self._seals, Counter()
        return taken

    def give_back(self, seals: Mapping[int, int]) -> None:
        """Count these again: they were taken but could not be noted."""
        self._seals.update(seals)

    async def reload(self, store: KeyringStore) -> None:
        """Take in terms other processes added, activated or destroyed; costs no scrypt.

        Raises `SecretMismatch` when this process's wrap was deleted meanwhile.
        """
        async with store.exclusive() as session:
            await self.take_in(await session.load())

    async def take_in(self, rows: KeyringRows) -> None:
        """As `reload`, from rows that were loaded already; only new data keys are unwrapped."""
        self._hold(await _unwrap_terms(rows, self._wrapper, held=self._terms.deks))

    async def verify(self, rows: KeyringRows) -> None:
        """Unwrap every data key anew, before this process's wrap is all that is left of them.

        Raises `KeyringCorrupt` unless all of them open, `SecretMismatch` as `reload`.
        """
        self._hold(await _unwrap_terms(rows, self._wrapper))

    def _hold(self, terms: TermKeys) -> None:
        self._terms = terms
        self._prefixes = tuple(term_prefix(term) for term in terms.states)
        destroyed = [t for t, state in terms.states.items() if state is TermState.DESTROYED]
        self._destroyed = tuple(term_prefix(term) for term in destroyed)

    async def keys_under(self, wrapper: KeyWrapper) -> tuple[TermKeyRow, ...]:
        """Every data key this process holds, wrapped under another wrapper."""
        deks = self._terms.deks.items()
        return tuple([await wrapped_key(term, dek, wrapper) for term, dek in deks])

    async def fresh_key(self, term: int) -> TermKeyRow:
        """A data key made for a new term, under this process's wrap.

        Raises `Conflict` when there are no numbers left.
        """
        if term > MAX_U32:
            raise Conflict("The keyring has no term numbers left")
        return await wrapped_key(term, Secret(os.urandom(KEY_BYTES)), self._wrapper)


async def open_keyring(
    store: KeyringStore, secret: Secret[str], previous: Secret[str] | None = None
) -> Keyring:
    """As `unlock_keyring`, with a master secret and perhaps the one before it."""
    unlockers = [ScryptUnlocker(secret)]
    if previous is not None:
        unlockers.append(ScryptUnlocker(previous, "ENCRYPTION_SECRET_PREVIOUS"))
    return await unlock_keyring(store, unlockers)


async def unlock_keyring(store: KeyringStore, unlockers: Sequence[Unlocker]) -> Keyring:
    """Open the stored keyring, or make the first one; one scrypt when there is one wrap.

    The first unlocker is the one configured; the others are tried after it, so that a process
    can restart with a new secret before or after the new wrap is staged. The store's lock is
    held while rows are read or made, not while an existing wrap's secret is stretched:
    processes start side by side.

    Raises:
        StartupFault: a secret is too short or not UTF-8.
        KeyringMissing: records are stored but no keyring is.
        SecretMismatch: no stored wrap belongs to any of them.
        KeyringCorrupt: what is stored cannot be a keyring, or does not open.
        WrappingUnavailable: the service that keeps a wrapping key cannot be asked.
    """
    for unlocker in unlockers:
        unlocker.require_usable()
    async with store.exclusive() as session:
        rows = await session.load()
        if not rows.wraps:
            return await _first_keyring(session, rows, unlockers[0])
    for unlocker in unlockers:
        wrapper = await wrapper_for(rows, unlocker)
        if wrapper is not None:
            return Keyring(wrapper, await _unwrap_terms(rows, wrapper))
    raise SecretMismatch(unlockers[0].mismatch)


async def _first_keyring(session: KeyringSession, rows: KeyringRows, unlocker: Unlocker) -> Keyring:
    if await session.records_exist():
        raise KeyringMissing
    if rows.terms:
        raise KeyringCorrupt("keyring corrupt: terms are stored without a wrap")
    wrapper = await unlocker.create()
    await session.add_wrap(wrapper.row())
    first = await wrapped_key(1, Secret(os.urandom(KEY_BYTES)), wrapper)
    await session.add_term(TermRow(1, TermState.ACTIVE), (first,))
    return Keyring(wrapper, await _unwrap_terms(await session.load(), wrapper))


async def wrapped_key(term: int, dek: Secret[bytes], wrapper: KeyWrapper) -> TermKeyRow:
    """What is stored of a term's data key under one wrap."""
    wrapped = await wrapper.wrap(dek, wrap_aad(wrapper.wrap_id, term))
    return TermKeyRow(term, wrapper.wrap_id, wrapped)


async def wrapper_for(rows: KeyringRows, unlocker: Unlocker) -> KeyWrapper | None:
    """The wrapper of the newest wrap that belongs to `unlocker`, if any does.

    Every wrap's parameters are checked before the first is opened.
    """
    for wrap in _wraps_of(rows, unlocker):
        wrapper = await unlocker.open(wrap)
        if wrapper is not None:
            return wrapper
    return None


def _wraps_of(rows: KeyringRows, unlocker: Unlocker) -> list[WrapRow]:
    """The wraps that may be the unlocker's, newest first, all within bounds."""
    if len(rows.wraps) > MAX_WRAPS:
        raise KeyringCorrupt(f"keyring corrupt: more than {MAX_WRAPS} wraps are stored")
    if not any(wrap.kind in _KNOWN_KINDS for wrap in rows.wraps):
        raise KeyringCorrupt("keyring corrupt: no stored wrap is of a kind known to this release")
    wraps = [wrap for wrap in reversed(rows.wraps) if wrap.kind == unlocker.kind]
    for wrap in wraps:
        unlocker.check(wrap)
    return wraps


async def _unwrap_terms(
    rows: KeyringRows, wrapper: KeyWrapper, *, held: Mapping[int, Secret[bytes]] | None = None
) -> TermKeys:
    """Every data key that may still be used; raises `KeyringCorrupt` unless all of them open.

    Those that are held already are taken as they are: a wrapper may have to ask a server.
    """
    if wrapper.wrap_id not in [wrap.wrap_id for wrap in rows.wraps]:
        raise SecretMismatch(
            "ENCRYPTION_SECRET does not match any more: the wrap of this process was deleted;"
            " restart it with the new secret"
        )
    states = {row.term: row.state for row in rows.terms}
    if any(not 1 <= term <= MAX_U32 for term in states):
        raise KeyringCorrupt("keyring corrupt: a term has an impossible number")
    active = [term for term, state in states.items() if state is TermState.ACTIVE]
    if len(active) != 1:
        raise KeyringCorrupt(f"keyring corrupt: {len(active)} terms are active instead of one")
    stored = {row.term: row.wrapped for row in rows.term_keys if row.wrap_id == wrapper.wrap_id}
    deks = {}
    for term, state in states.items():
        if state is TermState.DESTROYED:
            continue
        if term not in stored:
            raise KeyringCorrupt(f"keyring corrupt: the data key of term {term} is missing")
        if held is not None and term in held:
            deks[term] = held[term]
        else:
            deks[term] = await _unwrapped(term, stored[term], wrapper)
    return TermKeys(active[0], states, deks)


async def _unwrapped(term: int, wrapped: bytes, wrapper: KeyWrapper) -> Secret[bytes]:
    try:
        dek = await wrapper.unwrap(wrapped, wrap_aad(wrapper.wrap_id, term))
    except IntegrityFailure as failure:
        raise KeyringCorrupt(
            f"keyring corrupt: the data key of term {term} does not open"
        ) from failure
    if len(dek) != KEY_BYTES:
        raise KeyringCorrupt(f"keyring corrupt: the data key of term {term} has the wrong length")
    return dek
