"""Giving key values out: counted durably first, many at once.

Requests that arrive while a batch is under way form the next batch. One batch is two
statements whatever its size: read the ciphertexts, then, once they have opened, count the
uses and make sure that each key is still usable. A lone request waits for nobody.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from model_service.kernel.errors import KeyInactive, NotFound
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock
from model_service.keys.domain import KeyStore, SealedKey, Use

#: Most reveals in one batch; keeps the event loop's share of decryption near a millisecond.
MAX_BATCH = 128


class Opener(Protocol):
    """Opens a stored key; raises `IntegrityFailure`."""

    def __call__(self, sealed: SealedKey) -> Secret[str]:
        """The key's value."""
        ...


class RevealDesk:
    """Where key values are asked for."""

    def __init__(
        self,
        store: KeyStore,
        opener: Opener,
        clock: Clock,
        on_reveal: Callable[[str], None],
        on_failure: Callable[[UUID], None],
    ) -> None:
        """`on_reveal` hears of each value given out, `on_failure` of each that did not open."""
        self._store = store
        self._open = opener
        self._clock = clock
        self._on_reveal = on_reveal
        self._on_failure = on_failure
        self._waiting: list[tuple[UUID, asyncio.Future[Secret[str]]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def reveal(self, key_id: UUID) -> Secret[str]:
        """The key's value, its use counted.

        Raises:
            NotFound: there is no such key.
            KeyInactive: it is inactive or expired.
            IntegrityFailure: what is stored does not open.
            DatabaseUnavailable: the use cannot be counted; the value stays in.
        """
        answer: asyncio.Future[Secret[str]] = asyncio.get_running_loop().create_future()
        self._waiting.append((key_id, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._serve())
        return await answer

    async def close(self) -> None:
        """Wait for the batch under way."""
        if self._worker is not None:
            await asyncio.wait([self._worker])

    async def _serve(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            wanted = [(key_id, answer) for key_id, answer in batch if not answer.done()]
            if not wanted:
                continue
            try:
                outcomes = await self._reveal_all(Counter(key_id for key_id, _ in wanted))
            except Exception as error:  # noqa: BLE001 - handed to each caller, who handles it
                outcomes = dict.fromkeys((key_id for key_id, _ in wanted), error)
            for key_id, answer in wanted:
                _settle(answer, outcomes[key_id])

    async def _reveal_all(self, wanted: Counter[UUID]) -> dict[UUID, Secret[str] | Exception]:
        outcomes: dict[UUID, Secret[str] | Exception] = dict.fromkeys(
            wanted, NotFound("No such key")
        )
        now = self._clock.now()
        uses = []
        for sealed in await self._store.get_sealed(list(wanted)):
            key = sealed.key
            outcome = outcomes[key.id] = self._open_usable(sealed)
            if isinstance(outcome, Secret):
                uses.append(Use(key.id, key.key_version, wanted[key.id]))
        if uses:
            counted = await self._store.count_uses(uses, now)
            for use in uses:
                if use.key_id not in counted:
                    outcomes[use.key_id] = KeyInactive()
        return outcomes

    def _open_usable(self, sealed: SealedKey) -> Secret[str] | Exception:
        try:
            if not sealed.key.is_usable(self._clock.now()):
                return KeyInactive()
            value = self._open(sealed)
        except Exception as failure:  # noqa: BLE001 - one odd row must not hold up its whole batch
            self._on_failure(sealed.key.id)
            return failure
        self._on_reveal(value.reveal())
        return value


def _settle(answer: asyncio.Future[Secret[str]], outcome: Secret[str] | Exception) -> None:
    if answer.done():  # the caller has gone
        return
    if isinstance(outcome, Secret):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)
