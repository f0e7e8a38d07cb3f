"""Giving key values out: recorded and counted durably first, many at once.

Requests that arrive while a batch is under way form the next batch. One batch is one question
and one transaction whatever its size: read the ciphertexts, then, once they have opened, count
the uses, make sure that each key is still usable, and record each request, also those that get
nothing. A lone request waits for nobody.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from model_service.kernel.audit import AuditEvent, AuditTrail, Decision, Purpose
from model_service.kernel.caller import Caller, current_caller
from model_service.kernel.errors import (
    AuditUnavailable,
    DatabaseUnavailable,
    IntegrityFailure,
    KeyInactive,
    NotFound,
    ServiceError,
)
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock
from model_service.kernel.unit import Transactions
from model_service.keys.domain import KeyStore, SealedKey, Use, audit_subject

#: Most reveals in one batch; keeps the event loop's share of decryption near a millisecond.
MAX_BATCH: Final = 128
#: Most reveals that wait for their batch: seconds of work. More are told to come back.
MOST_WAITING: Final = 4096
#: Times that a key is read which somebody changes between reading and counting.
LOOKS: Final = 3
#: Seconds that a batch may take, should somebody hold the lock on one of its rows.
BATCH_SECONDS: Final = 4.0
#: Seconds after which a caller is told to come back, wherever in the queue it is.
ANSWER_SECONDS: Final = 6.0

Outcome = Secret[str] | ServiceError
"""What becomes of asking for a key: its value, or why it stays in."""


class Opener(Protocol):
    """Opens a stored key; raises `IntegrityFailure`."""

    def __call__(self, sealed: SealedKey) -> Secret[str]:
        """The key's value."""
        ...


class _Request(NamedTuple):
    """Somebody who wants a value. The batch runs in a task of its own, which is nobody's."""

    key_id: UUID
    purpose: Purpose
    caller: Caller
    answer: asyncio.Future[Secret[str]]


class _Changed(Exception):
    """Keys are no longer as they were read; nothing was counted or recorded."""

    def __init__(self, keys: Sequence[UUID]) -> None:
        super().__init__(keys)
        self.keys = keys


class RevealDesk:
    """Where key values are asked for."""

    def __init__(
        self,
        store: KeyStore,
        transactions: Transactions,
        trail: AuditTrail,
        opener: Opener,
        clock: Clock,
        on_reveal: Callable[[str], None],
        on_failure: Callable[[UUID], None],
    ) -> None:
        """`on_reveal` hears of each value given out, `on_failure` of each that did not open."""
        self._store = store
        self._transactions = transactions
        self._trail = trail
        self._open = opener
        self._clock = clock
        self._on_reveal = on_reveal
        self._on_failure = on_failure
        self._waiting: list[_Request] = []
        self._worker: asyncio.Task[None] | None = None

    async def reveal(self, key_id: UUID, purpose: Purpose) -> Secret[str]:
        """The key's value, its use recorded and, but for a lease, counted.

        Raises:
            NotFound: there is no such key.
            KeyInactive: it is inactive or expired.
            IntegrityFailure: what is stored does not open.
            AuditUnavailable: it cannot be recorded; the value stays in.
            DatabaseUnavailable: the use cannot be counted, or too many wait; the value stays in.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise DatabaseUnavailable("Too many keys are being asked for")
        answer: asyncio.Future[Secret[str]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(key_id, purpose, current_caller(), answer))
        if self._worker is None or self._worker.done():
            # Without the caller's context, so that no batch joins somebody's transaction.
            self._worker = asyncio.create_task(self._serve(), context=Context())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError as error:
            raise DatabaseUnavailable from error

    async def close(self) -> None:
        """Wait for the batch under way."""
        if self._worker is not None:
            await asyncio.wait([self._worker])

    async def _serve(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            wanted = [request for request in batch if not request.answer.done()]
            if not wanted:
                continue
            try:
                async with asyncio.timeout(BATCH_SECONDS):
                    outcomes = await self._reveal_all(wanted)
            except TimeoutError:
                _fail(wanted, DatabaseUnavailable())
            except Exception as error:  # noqa: BLE001 - handed to each caller, who handles it
                if isinstance(error, AuditUnavailable):
                    # Who came meanwhile has waited as long, and would now wait for the same.
                    wanted += self._waiting
                    self._waiting = []
                _fail(wanted, error)
            else:
                _answer(wanted, outcomes)

    async def _reveal_all(self, requests: Sequence[_Request]) -> Mapping[UUID, Outcome]:
        # A lease is no use: the calls that are made with it are, and the gateway counts them.
        wanted: Counter[UUID] = Counter(dict.fromkeys((one.key_id for one in requests), 0))
        wanted.update(one.key_id for one in requests if one.purpose is not Purpose.LEASE)
        found, outcomes = await self._look(wanted)
        looks = 1
        while True:
            try:
                async with self._transactions.transaction():
                    missed = await self._count(wanted, found, outcomes)
                    if missed and looks < LOOKS:
                        raise _Changed(missed)
                    outcomes |= dict.fromkeys(missed, KeyInactive())
                    await self._trail.record(*_events(requests, found, outcomes))
                return outcomes
            except _Changed as changed:
                # What holds is what is there now. It is read outside of a transaction, because
                # learning of a new data key takes a lock that is held until the end of one.
                again, changes = await self._look(changed.keys)
                found, outcomes = found | again, outcomes | changes
                looks += 1

    async def _look(
        self, wanted: Collection[UUID]
    ) -> tuple[dict[UUID, SealedKey], dict[UUID, Outcome]]:
        """The keys as they are stored, and what becomes of asking for them."""
        found = {sealed.key.id: sealed for sealed in await self._store.get_sealed(list(wanted))}
        outcomes: dict[UUID, Outcome] = dict.fromkeys(wanted, NotFound("No such key"))
        outcomes |= {key_id: self._open_usable(sealed) for key_id, sealed in found.items()}
        return found, outcomes

    async def _count(
        self,
        wanted: Counter[UUID],
        found: Mapping[UUID, SealedKey],
        outcomes: Mapping[UUID, Outcome],
    ) -> list[UUID]:
        """Count the uses of those that opened; gives the keys that are no longer as found."""
        uses = [
            Use(key_id, sealed.key.key_version, wanted[key_id])
            for key_id, sealed in found.items()
            if isinstance(outcomes[key_id], Secret)
        ]
        if not uses:
            return []
        counted = await self._store.count_uses(uses, self._clock.now())
        return [use.key_id for use in uses if use.key_id not in counted]

    def _open_usable(self, sealed: SealedKey) -> Outcome:
        if not sealed.key.is_usable(self._clock.now()):
            return KeyInactive()
        try:
            value = self._open(sealed)
        except IntegrityFailure as failure:
            self._on_failure(sealed.key.id)
            return failure
        self._on_reveal(value.reveal())
        return value


def _events(
    requests: Sequence[_Request],
    found: Mapping[UUID, SealedKey],
    outcomes: Mapping[UUID, Outcome],
) -> list[AuditEvent]:
    """One event for each request, and one more for each key that did not open."""
    events = []
    broken = set()
    for key_id, purpose, caller, _ in requests:
        outcome = outcomes[key_id]
        is_broken = isinstance(outcome, IntegrityFailure)
        subject = audit_subject(key_id)
        provider = found[key_id].key.provider.value if key_id in found else None
        if is_broken and key_id not in broken:
            broken.add(key_id)
            events.append(does_not_open(found[key_id], caller))
        events.append(
            AuditEvent(
                type="key.lease" if purpose is Purpose.LEASE else "key.reveal",
                subject=subject,
                provider=provider,
                purpose=purpose.value,
                caller=caller,
                decision=Decision.ALLOW if isinstance(outcome, Secret) else Decision.DENY,
                reason=None if isinstance(outcome, Secret) else reason(outcome),
            )
        )
    return events


def does_not_open(sealed: SealedKey, caller: Caller | None = None) -> AuditEvent:
    """What is recorded of a stored key that does not open."""
    return AuditEvent(
        type="integrity.failure",
        subject=audit_subject(sealed.key.id),
        provider=sealed.key.provider.value,
        decision=Decision.DENY,
        reason="does_not_open",
        caller=caller,
    )


def reason(error: ServiceError) -> str:
    """Why something was refused, in a fixed word."""
    return "does_not_open" if isinstance(error, IntegrityFailure) else error.code


def _answer(requests: Sequence[_Request], outcomes: Mapping[UUID, Outcome]) -> None:
    for request in requests:
        outcome = outcomes[request.key_id]
        if request.answer.done():  # the caller has gone
            continue
        if isinstance(outcome, Secret):
            request.answer.set_result(outcome)
        else:
            request.answer.set_exception(outcome)


def _fail(requests: Sequence[_Request], error: Exception) -> None:
    for request in requests:
        if not request.answer.done():
            request.answer.set_exception(error)
