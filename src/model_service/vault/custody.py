"""The whole of secret rotation as operators do it: status, new secret, new term, after a leak."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from model_service.kernel.errors import Conflict
from model_service.kernel.keyring import LEAKED, KeyringStatus, KeyringStore, TermRow, TermStatus
from model_service.kernel.sealed import SealedTable
from model_service.vault.keyring import Keyring, wrapper_for
from model_service.vault.rewrap import Rewrapper
from model_service.vault.rotation import SecretRotation, Witnesses, exposed_terms
from model_service.vault.terms import TermRotation
from model_service.vault.unlock import Unlocker
from model_service.vault.watch import KeyringWatch

#: Seconds to wait for running processes: twice as long as one that died is taken for alive.
PATIENCE: Final = 60.0
#: Seconds between two looks at what they say.
_LOOK: Final = 0.2
#: Times that a term is tried to be destroyed while records are being stored.
_TRIES: Final = 50


class Custody:
    """The steps of `model-service secret`, over the keyring that the command opened."""

    def __init__(
        self,
        keyring: Keyring,
        store: KeyringStore,
        watch: KeyringWatch,
        tables: Sequence[SealedTable],
        witnesses: Witnesses,
    ) -> None:
        self.secrets = SecretRotation(keyring, store, witnesses)
        self._keyring = keyring
        self._store = store
        self._watch = watch
        self._tables = tables
        self._terms = TermRotation(keyring, store, witnesses)
        self._rewrapper = Rewrapper(
            tables, keyring, store, self._terms, witnesses.trail, lambda *_: None
        )

    async def status(self) -> KeyringStatus:
        """Wraps, who uses which, and terms with their records."""
        async with self._store.shared() as session:
            rows = await session.load()
            instances = await session.instances()
        return KeyringStatus(
            wraps=rows.wraps,
            instances=instances,
            terms=tuple([TermStatus(row, await self._records(row)) for row in rows.terms]),
            exposed=tuple(exposed_terms(rows)),
        )

    async def is_to_replace(self, configured: Unlocker) -> bool:
        """Whether staging this key is what comes next after a leak.

        It is while the key opens nothing yet, or was staged before anybody spoke of a leak.

        Raises:
            WrappingUnavailable: the service that keeps the key cannot be asked.
        """
        async with self._store.shared() as session:
            rows = await session.load()
        known = await wrapper_for(rows, configured)
        if known is None:
            return True
        former = [wrap for wrap in rows.wraps[:-1] if wrap.exposed_through != LEAKED]
        return known.wrap_id == rows.wraps[-1].wrap_id and bool(former)

    async def change_term(self) -> int:
        """Add a term, wait until every running process knows it, activate it, give its number.

        Raises:
            Conflict: the master secret is being rotated, or a process does not take the term
                in. Run again, this goes on with the same term.
        """
        term = await self._terms.add()
        await _until_none(
            lambda: self._terms.strangers(term), f"do not take in the new term {term}"
        )
        await self._terms.activate(term)
        return term

    async def renew(self, on_moved: Callable[[int], None]) -> tuple[int, ...]:
        """After a leak: a new term, all records moved to it, the exposed terms destroyed.

        `on_moved` hears how many records were moved with each batch. Gives the exposed terms
        that are not destroyed: for good those with records that do not open (`unopened_of`),
        the others for as long as records are being stored without a pause. Run again after an
        interruption, it goes on where it was.

        Raises:
            Conflict: the old secret is still in use; or as `change_term`.
            DatabaseUnavailable, AuditUnavailable: run it again.
        """
        await self.secrets.finalize()
        await self._keyring.reload(self._store)
        # Again, should somebody have activated one meanwhile that was exposed by then.
        while self._keyring.active_term in (exposed := await self._exposed()):
            await self.change_term()
        await _until_none(self._terms.laggards, "still seal under an exposed term")
        async with self._watch.present():
            for _ in range(_TRIES):
                await self._rewrapper.finish(on_moved)
                exposed = await self._not_destroyed(exposed)
                if all(self.unopened_of(term) for term in exposed):
                    break
                await asyncio.sleep(_LOOK)
        return exposed

    def unopened_of(self, term: int) -> int:
        """How many records of a term were met by `renew` that do not open."""
        return self._rewrapper.unopened_of(term)

    async def _exposed(self) -> tuple[int, ...]:
        async with self._store.shared() as session:
            return tuple(exposed_terms(await session.load()))

    async def _not_destroyed(self, exposed: Sequence[int]) -> tuple[int, ...]:
        return tuple(
            [term for term in exposed if not await self._terms.destroy(term, self._tables, after=0)]
        )

    async def _records(self, row: TermRow) -> dict[str, int]:
        return {table.name: await table.count(row.term) for table in self._tables}


async def _until_none(names: Callable[[], Awaitable[list[str]]], what: str) -> None:
    """Wait until no running process is named any more.

    Raises:
        Conflict: some still are after a minute, though they run.
    """
    deadline = time.monotonic() + PATIENCE
    while remaining := await names():
        if time.monotonic() > deadline:
            raise Conflict(
                f"{len(remaining)} running instances {what}: {', '.join(remaining)}. Look at their"
                " logs, restart them, then run this again"
            )
        await asyncio.sleep(_LOOK)
