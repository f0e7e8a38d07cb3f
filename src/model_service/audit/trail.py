"""Writing to the trail: together with what is recorded, or in batches, but never later."""

import asyncio
import os
import re
import socket
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.audit import chain, store
from model_service.audit.domain import ANSWER_SECONDS, Entry
from model_service.audit.signing import AuditKeys
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent
from model_service.kernel.caller import Caller, current_caller
from model_service.kernel.errors import AuditUnavailable, DatabaseUnavailable
from model_service.kernel.types import Clock, uuid7

log = structlog.get_logger(__name__)

#: Most records that are appended at once outside of transactions: about 5 ms of work.
MAX_BATCH: Final = 256
#: Longest text in a record; user ids and key names are shorter, all else is far shorter.
MAX_TEXT: Final = 512

#: Texts whose redacted form is kept: callers and reasons are few and come again and again.
KNOWN_TEXTS: Final = 4096

#: Request ids that this service makes by itself; any other is a caller's wording.
_OUR_REQUEST_ID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
)

#: What this service names by an id it made: no credential, though somebody may store the very
#: id as a key's value to have it masked from then on. Users' ids are others' wording.
_OUR_ID: Final = re.compile(
    r"(?!user:)[a-z-]{1,32}:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)

Pending = tuple[Entry, bytes]
"""What is to be recorded, with its canonical form: made before any lock is held."""

_Waiting = tuple[list[Pending], asyncio.Future[None]]


def instance_name() -> str:
    """This process, as its records name it."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Trail:
    """`AuditTrail` on the chain in the database.

    Records made inside a transaction are its last work before the commit, so that the lock on
    the chain's head is the last one taken and held for a moment only. Records made outside of
    one are committed in batches: those that arrive while a batch is under way form the next.
    """

    def __init__(
        self,
        database: Database,
        keys: AuditKeys,
        clock: Clock,
        redact: Callable[[str], str],
        instance: str,
    ) -> None:
        """`redact` takes credentials out of what callers can word: ids, subject, reason."""
        self._database = database
        self._keys = keys
        self._clock = clock
        self._redact = redact
        self._known_clean = lru_cache(KNOWN_TEXTS)(lambda text: storable(redact(text)))
        self._instance = instance
        self._waiting: list[tuple[list[Pending], asyncio.Future[None]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def record(self, *events: AuditEvent) -> None:
        """Record events, all or none, in this order; see `kernel.audit.AuditTrail`.

        Raises:
            AuditUnavailable: they could not be recorded in time. Inside a transaction this is
                raised when it ends.
        """
        caller, now = current_caller(), self._clock.now()
        entries = [self._entry(event, event.caller or caller, now) for event in events]
        records = [(entry, chain.canonical(entry)) for entry in entries]
        if records and not self._join(records):
            await self._committed(records)

    async def check(self) -> None:
        """Show that the trail can be written.

        Raises:
            AuditUnavailable: it cannot.
        """
        try:
            await store.require_writable(self._database)
        except (DBAPIError, DatabaseUnavailable) as error:
            raise AuditUnavailable from error

    async def close(self) -> None:
        """Finish the batches under way."""
        if self._worker is not None:
            await asyncio.wait([self._worker])

    async def _committed(self, records: list[Pending]) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((records, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._serve())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await answer
        except TimeoutError as error:
            raise AuditUnavailable from error

    async def _serve(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            try:
                async with self._database.transaction():
                    self._join([record for records, _ in batch for record in records])
            except Exception as error:  # noqa: BLE001 - handed to each caller, who handles it
                # Who came meanwhile has waited as long, and would now wait for the same.
                _settle(batch + self._waiting, error)
                self._waiting = []
            else:
                _settle(batch, None)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and size < MAX_BATCH:
            batch.append(self._waiting.pop(0))
            size += len(batch[-1][0])
        return batch

    def _join(self, records: list[Pending]) -> bool:
        """Make the records part of the transaction under way; False when there is none."""
        ending = self._database.finale(self._ending)
        if ending is None:
            return False
        ending.records += records
        return True

    def _ending(self) -> "_Ending":
        return _Ending(self._keys.chain.reveal())

    def _entry(self, event: AuditEvent, caller: Caller, now: datetime) -> Entry:
        known = self._known_clean
        return Entry(
            uuid7(),
            now,
            event.type,
            event.phase.value,
            known(caller.actor),
            caller.on_behalf_of and known(caller.on_behalf_of),
            event.subject and self._subject(event.subject),
            event.provider,
            event.purpose,
            caller.request_id and self._request_id(caller.request_id),
            caller.client,
            event.decision.value,
            event.reason and known(event.reason),
            event.ciphertext_sha256,
            event.term,
            self._instance,
        )

    def _subject(self, text: str) -> str:
        return text if _OUR_ID.fullmatch(text) else self._known_clean(text)

    def _request_id(self, text: str) -> str:
        if _OUR_REQUEST_ID.fullmatch(text):
            return text
        return storable(self._redact(text))


class _Ending:
    """The records of one transaction, appended right before it is committed."""

    seconds = ANSWER_SECONDS

    def __init__(self, chain_key: bytes) -> None:
        self._chain_key = chain_key
        self.records: list[Pending] = []

    async def run(self, connection: AsyncConnection) -> None:
        if not self.records:
            return
        entries, contents = zip(*self.records, strict=True)
        head = await store.lock_head(connection)
        await store.append(connection, entries, chain.heads(self._chain_key, head, contents))

    def failure(self, cause: BaseException) -> AuditUnavailable:
        origin = cause.orig if isinstance(cause, DBAPIError) else cause
        log.error(
            "audit trail cannot be written",
            error_type=type(origin).__name__,
            code=getattr(origin, "sqlstate", None),
        )
        return AuditUnavailable()


def storable(text: str) -> str:
    """The text as both PostgreSQL and JSON can hold it, and not endless."""
    if text.isascii() and "\0" not in text:
        return text[:MAX_TEXT]
    return text[:MAX_TEXT].encode(errors="replace").decode().replace("\0", "\ufffd")


def _settle(batch: list[_Waiting], failure: Exception | None) -> None:
    for _, answer in batch:
        if answer.done():  # the caller has gone
            continue
        if failure is None:
            answer.set_result(None)
        else:
            unavailable = AuditUnavailable()
            unavailable.__cause__ = failure
            answer.set_exception(unavailable)
