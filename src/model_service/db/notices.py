"""Change notices: telling every process at once what one of them changed.

A writer calls `notify` inside its transaction. That raises the topic's version and sends
`topic:version:id` over PostgreSQL's LISTEN/NOTIFY when, and only if, the transaction commits.
Every process listens on a connection of its own. Because a notice may be lost (a broken
connection, a pooler in between), versions are polled too: whoever finds one that it was not
told of takes everything of that topic as changed.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.db.engine import CONNECT_TIMEOUT, is_passing
from model_service.db.tables import change_versions
from model_service.kernel.errors import ServiceError
from model_service.kernel.secret import Secret

log = structlog.get_logger(__name__)

CHANNEL: Final = "model_service"
#: Seconds between looks at the versions, and that a look may take. Together with the way of
#: one change they stay within the second in which a revocation must have reached everybody.
POLL_INTERVAL: Final = 0.5
POLL_TIMEOUT: Final = 2.0
#: Seconds between attempts to connect again, after one that came to nothing.
RECONNECT_INTERVAL: Final = 0.5
#: What the tables' own triggers (migration 0008) give as the subject of several changes at once.
EVERYTHING: Final = "*"
#: More changes than this waiting for one topic are taken up as one: everything may have changed.
MOST_WAITING: Final = 256

OnChange = Callable[[str | None], Awaitable[None]]
"""Takes up a change of what has that id; None: anything of the topic may have changed."""


async def notify(connection: AsyncConnection, topic: str, subject: str) -> None:
    """Tell every process, once the connection's transaction commits, that `subject` changed.

    Call it last in the transaction: writers of one topic take turns from here to the commit,
    so that versions are committed in their order.
    """
    raised = (
        insert(change_versions)
        .values(topic=topic, version=1)
        .on_conflict_do_update(
            index_elements=[change_versions.c.topic],
            set_={"version": change_versions.c.version + 1},
        )
        .returning(change_versions.c.version)
    )
    version = await connection.scalar(raised)
    await connection.execute(select(func.pg_notify(CHANNEL, f"{topic}:{version}:{subject}")))


@dataclass(slots=True)
class _Topic:
    """What is known of a topic; `seen` None: nothing, so everything has to be looked at."""

    on_change: list[OnChange] = field(default_factory=list)
    seen: int | None = None
    confirmed_at: float | None = None
    waiting: deque[str | None] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None
    failed: bool = False

    @property
    def is_taken_up(self) -> bool:
        """Whether nothing that was heard of is still to be handed over."""
        is_idle = self.worker is None or self.worker.done()
        return is_idle and not self.waiting and not self.failed


class Notices:
    """Hears of changes, and hands them to who subscribed. A job: see `background`."""

    def __init__(self, url: Secret[str]) -> None:
        self._url = url
        self._topics: dict[str, _Topic] = {}

    def subscribe(self, topic: str, on_change: OnChange) -> None:
        """Hear of a topic's changes, one after the other and in their order.

        The first call is with None, when listening begins: what was read before may be old
        already. Should `on_change` raise a `ServiceError` it is called again with None.
        """
        self._topics.setdefault(topic, _Topic()).on_change.append(on_change)

    def age(self, topic: str) -> float:
        """Seconds since every change of the topic committed by then was known to be taken up.

        Counted from the beginning of `run` until then; 0 before, so that a command, which never
        listens, is not kept from working.
        """
        confirmed_at = self._topics[topic].confirmed_at
        return 0.0 if confirmed_at is None else time.monotonic() - confirmed_at

    async def run(self) -> None:
        """Listen and poll until cancelled; connect again whenever the connection is lost."""
        for topic in self._topics.values():
            if topic.confirmed_at is None:
                topic.confirmed_at = time.monotonic()
        try:
            while True:
                began = time.monotonic()
                try:
                    await self._listen()
                except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
                    if not is_passing(e):
                        raise
                    log.warning("change notices interrupted", error_type=type(e).__name__)
                # One that lived is made again at once: a revocation may have been missed.
                if time.monotonic() - began < RECONNECT_INTERVAL:
                    await asyncio.sleep(RECONNECT_INTERVAL)
        finally:
            await self._stop_workers()

    async def _listen(self) -> None:
        connection = await asyncpg.connect(
            self._url.reveal(),
            timeout=CONNECT_TIMEOUT,
            command_timeout=POLL_TIMEOUT,
            server_settings={"application_name": "model-service notices"},
        )
        cut = asyncio.Event()
        connection.add_termination_listener(lambda _: cut.set())
        try:
            # Listening first: what is committed after the versions are read is then heard of.
            await connection.add_listener(CHANNEL, self._heard)
            while True:
                started = time.monotonic()
                await self._compare(connection)
                self._confirm(started)
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_INTERVAL):
                        await cut.wait()
        finally:
            connection.terminate()

    async def _compare(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg carries no types
        rows = await connection.fetch("SELECT topic, version FROM change_versions")
        versions = {row["topic"]: row["version"] for row in rows}
        for name, topic in self._topics.items():
            version = versions.get(name, 0)
            if topic.seen != version or topic.failed:
                topic.seen, topic.failed = version, False
                self._hand_over(name, topic, None)

    def _confirm(self, moment: float) -> None:
        for topic in self._topics.values():
            if topic.is_taken_up:
                topic.confirmed_at = moment

    def _heard(self, _: object, __: int, ___: str, payload: object) -> None:
        name, _sep, rest = str(payload).partition(":")
        version, _sep, subject = rest.partition(":")
        topic = self._topics.get(name)
        if topic is None or not version.isdigit() or topic.seen is None:
            return
        if int(version) == topic.seen + 1:
            topic.seen += 1
            self._hand_over(name, topic, None if subject == EVERYTHING else subject)
        elif int(version) > topic.seen:
            topic.seen = int(version)
            self._hand_over(name, topic, None)

    def _hand_over(self, name: str, topic: _Topic, subject: str | None) -> None:
        if subject is None or len(topic.waiting) >= MOST_WAITING:
            topic.waiting.clear()
            subject = None
        topic.waiting.append(subject)
        if topic.worker is None or topic.worker.done():
            topic.worker = asyncio.create_task(self._work(name, topic))

    async def _work(self, name: str, topic: _Topic) -> None:
        while topic.waiting:
            subject = topic.waiting.popleft()
            for on_change in topic.on_change:
                try:
                    await on_change(subject)
                except ServiceError as error:
                    topic.failed = True
                    log.warning("a change was not taken up; again", subject=name, code=error.code)
                except Exception as error:  # noqa: BLE001 - one subscriber's fault is not others'
                    topic.failed = True
                    log.error("a subscriber failed", subject=name, error_type=type(error).__name__)

    async def _stop_workers(self) -> None:
        workers = [topic.worker for topic in self._topics.values() if topic.worker is not None]
        for worker in workers:
            worker.cancel()
        for worker in workers:
            with suppress(asyncio.CancelledError):
                await worker
