"""The keyring: the data keys of every term, and how a process comes to hold them."""

import os
from typing import Final, NamedTuple

from typing_extensions import override

from model_service.kernel.errors import (
    AlreadyExists,
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
from model_service.kernel.secret import Secret
from model_service.vault.encoding import decode_text, encode_text
from model_service.vault.envelope import (
    MAX_U32,
    AssociatedData,
    Envelope,
    open_envelope,
    seal_envelope,
)
from model_service.vault.primitives import KEY_BYTES
from model_service.vault.wrap import (
    SCRYPT_KIND,
    KeyWrapper,
    ScryptParams,
    ScryptWrapper,
    require_strong,
    wrap_aad,
)

#: AES-GCM with random IVs is good for 2^32 encryptions under one key (NIST SP 800-38D, section
#: 8.3). Each record has a key of its own, so a term could seal far more; the limit is kept per
#: term all the same, as the point long before which operators should have changed terms.
SEALS_PER_TERM_LIMIT: Final = 2**32
#: Every wrap tried costs one scrypt, so a database full of wraps must not delay the start.
MAX_WRAPS: Final = 8


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
        self._terms = terms

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
        return seal_envelope(deks[active].reveal(), active, aad, encode_text(plaintext)).text()

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

    async def reload(self, store: KeyringStore) -> None:
        """Take in terms other processes added, activated or destroyed; costs no scrypt.

        Raises `SecretMismatch` when this process's wrap was deleted meanwhile.
        """
        async with store.exclusive() as session:
            rows = await session.load()
        self._terms = await _unwrap_terms(rows, self._wrapper)

    async def add_term(self, store: KeyringStore) -> int:
        """Make a new term the active one and give its number; the former stays for decrypting.

        Raises `Conflict` while the keyring has a second wrap, which this process cannot wrap
        the new data key under.
        """
        async with store.exclusive() as session:
            before = await session.load()
            if [wrap.wrap_id for wrap in before.wraps] != [self.wrap_id]:
                raise Conflict("The master secret is being rotated; finish that first")
            current = await _unwrap_terms(before, self._wrapper)
            term = max(current.states) + 1
            await session.set_term_state(current.active, TermState.DECRYPT_ONLY)
            await _store_new_term(session, term, self._wrapper)
            after = await session.load()
        self._terms = await _unwrap_terms(after, self._wrapper)
        return term

    async def add_wrap(self, store: KeyringStore, secret: Secret[str]) -> str:
        """Wrap every data key under `secret` too and give the new wrap's id.

        The wraps stored before stay valid. Costs one scrypt and one for each of them. Raises
        `StartupFault` for a short secret, `AlreadyExists` when it opens the keyring already,
        `Conflict` when the keyring has as many wraps as it may have.
        """
        require_strong(secret, "The new ENCRYPTION_SECRET")
        added = await ScryptWrapper.create(secret)
        async with store.exclusive() as session:
            rows = await session.load()
            if len(rows.wraps) >= MAX_WRAPS:
                raise Conflict("The keyring has too many wraps; finish the rotation first")
            if await _wrapper_for(rows, secret) is not None:
                raise AlreadyExists("This secret opens the keyring already")
            terms = await _unwrap_terms(rows, self._wrapper)
            await session.add_wrap(added.row())
            await session.add_term_keys(
                tuple([await _wrapped(term, dek, added) for term, dek in terms.deks.items()])
            )
        return added.wrap_id


async def open_keyring(
    store: KeyringStore, secret: Secret[str], previous: Secret[str] | None = None
) -> Keyring:
    """Open the stored keyring, or make the first one; one scrypt when there is one wrap.

    `previous` is tried after `secret`, so that a process can restart with a new secret
    before or after the new wrap is staged. The store's lock is held while rows are read or
    made, not while an existing wrap's secret is stretched: processes start side by side.

    Raises:
        StartupFault: a secret is too short or not UTF-8.
        KeyringMissing: records are stored but no keyring is.
        SecretMismatch: no stored wrap belongs to either secret.
        KeyringCorrupt: what is stored cannot be a keyring, or does not open.
    """
    require_strong(secret, "ENCRYPTION_SECRET")
    if previous is not None:
        require_strong(previous, "ENCRYPTION_SECRET_PREVIOUS")
    async with store.exclusive() as session:
        rows = await session.load()
        if not rows.wraps:
            return await _first_keyring(session, rows, secret)
    wrapper = await _wrapper_for(rows, secret)
    if wrapper is None and previous is not None:
        wrapper = await _wrapper_for(rows, previous)
    if wrapper is None:
        raise SecretMismatch(
            "ENCRYPTION_SECRET does not match the keyring in the database: start with the secret"
            " the keyring was made with, or set it as ENCRYPTION_SECRET_PREVIOUS while rotating"
        )
    return Keyring(wrapper, await _unwrap_terms(rows, wrapper))


async def _first_keyring(
    session: KeyringSession, rows: KeyringRows, secret: Secret[str]
) -> Keyring:
    if await session.records_exist():
        raise KeyringMissing
    if rows.terms:
        raise KeyringCorrupt("keyring corrupt: terms are stored without a wrap")
    wrapper = await ScryptWrapper.create(secret)
    await session.add_wrap(wrapper.row())
    await _store_new_term(session, 1, wrapper)
    return Keyring(wrapper, await _unwrap_terms(await session.load(), wrapper))


async def _store_new_term(session: KeyringSession, term: int, wrapper: KeyWrapper) -> None:
    if term > MAX_U32:
        raise Conflict("The keyring has no term numbers left")
    dek = Secret(os.urandom(KEY_BYTES))
    await session.add_term(TermRow(term, TermState.ACTIVE), (await _wrapped(term, dek, wrapper),))


async def _wrapped(term: int, dek: Secret[bytes], wrapper: KeyWrapper) -> TermKeyRow:
    wrapped = await wrapper.wrap(dek, wrap_aad(wrapper.wrap_id, term))
    return TermKeyRow(term, wrapper.wrap_id, wrapped)


async def _wrapper_for(rows: KeyringRows, secret: Secret[str]) -> KeyWrapper | None:
    """The wrapper of the newest wrap that belongs to `secret`, if any does.

    Every wrap's parameters are checked before the first is derived.
    """
    for wrap in _scrypt_wraps(rows):
        try:
            return await ScryptWrapper.derive(secret, wrap)
        except SecretMismatch:
            continue
    return None


def _scrypt_wraps(rows: KeyringRows) -> list[WrapRow]:
    """The wraps a secret may belong to, newest first, all within bounds."""
    if len(rows.wraps) > MAX_WRAPS:
        raise KeyringCorrupt(f"keyring corrupt: more than {MAX_WRAPS} wraps are stored")
    wraps = [wrap for wrap in reversed(rows.wraps) if wrap.kind == SCRYPT_KIND]
    if not wraps:
        raise KeyringCorrupt("keyring corrupt: no stored wrap is of a kind known to this release")
    for wrap in wraps:
        ScryptParams.parse(wrap)
    return wraps


async def _unwrap_terms(rows: KeyringRows, wrapper: KeyWrapper) -> TermKeys:
    """Every data key that may still be used; raises `KeyringCorrupt` unless all of them open."""
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
