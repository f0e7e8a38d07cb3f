"""Giving a journal's events to where they are kept, whatever one of them is like."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import orjson
import structlog

from model_service.kernel.errors import Unavailable
from model_service.usage.domain import UsageEvent, UsageSink
from model_service.usage.records import parse_event

log = structlog.get_logger(__name__)

#: Events read from their records before others get a turn on the event loop.
_TURN: Final = 32
#: Events told at a time once they were read. A sink puts them into words on the event loop.
_MANY: Final = 256

Item = TypeVar("Item")
Told = tuple[bytes, UsageEvent]
"""A payload and the event that it says."""


class Refused(Unavailable):
    """The store of usage takes no event at all"""


class Delivery:
    """Tells a sink of events.

    An event that the sink refuses though it takes others is set aside in a file, so that it
    neither is lost nor holds up those behind it.
    """

    def __init__(self, sink: UsageSink, refused: Path) -> None:
        """`refused` is the file for what the sink does not take: one JSON object a line."""
        self._sink = sink
        self._refused = refused
        self.delivered = 0
        """Events kept so far."""
        self.set_aside = 0
        """Events refused so far."""
        self._refused_at: int | None = None

    async def tell(self, payloads: Sequence[bytes]) -> None:
        """Have the events of all of them kept; on return they are, or are set aside.

        Raises:
            DatabaseUnavailable, Refused: they could not be kept now; tell the same again.
        """
        refusal = await self._try(self._sink.keep_payloads, payloads)
        if refusal is not None:
            log.warning("usage events are read one by one", error_type=type(refusal).__name__)
            await self.tell_each(payloads)

    async def tell_each(
        self,
        payloads: Sequence[bytes],
        parse: Callable[[bytes], UsageEvent] = parse_event,
    ) -> None:
        """Do the same, but read each of them here: where not all are like any other.

        Raises:
            DatabaseUnavailable, Refused: they could not be kept now; tell the same again.
        """
        for start in range(0, len(payloads), _MANY):
            told: list[Told] = []
            unreadable: list[bytes] = []
            for number, payload in enumerate(payloads[start : start + _MANY], 1):
                try:
                    told.append((payload, parse(payload)))
                except ValueError:
                    unreadable.append(payload)
                if number % _TURN == 0:
                    await asyncio.sleep(0)
            if told:
                await self._keep(told)
            if unreadable:
                await self._put_aside(unreadable, "not an event")

    async def _keep(self, told: Sequence[Told]) -> None:
        refusal = await self._try_events(told)
        if refusal is None:
            return
        before = self.delivered if self._refused_at is None else self._refused_at
        refused = await self._one_by_one(told)
        if self.delivered == before:
            # It may be the store that is at fault, and then none of them is to blame: none is
            # set aside before the store has taken another one.
            self._refused_at = before
            log.error("no usage event can be stored", error_type=type(refusal).__name__)
            raise Refused from refusal
        self._refused_at = None
        await self._put_aside([payload for payload, _ in refused], type(refusal).__name__)

    async def _one_by_one(self, told: Sequence[Told]) -> Sequence[Told]:
        """Those that are refused, of some of which at least one is: found by halving."""
        if len(told) == 1:
            return told
        middle = len(told) // 2
        refused: list[Told] = []
        for half in (told[:middle], told[middle:]):
            if await self._try_events(half) is not None:
                refused += await self._one_by_one(half)
        return refused

    async def _try_events(self, told: Sequence[Told]) -> Exception | None:
        return await self._try(self._sink.keep, [event for _, event in told])

    async def _try(
        self, keep: Callable[[Sequence[Item]], Awaitable[None]], items: Sequence[Item]
    ) -> Exception | None:
        """Have them kept; why not, when the sink refuses them. Raises DatabaseUnavailable."""
        try:
            await keep(items)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, no event may be lost for it
            return error
        self.delivered += len(items)
        return None

    async def _put_aside(self, payloads: Sequence[bytes], why: str) -> None:
        lines = [
            orjson.dumps({"why": why, "payload": payload.decode("utf-8", "replace")})
            for payload in payloads
        ]
        await asyncio.to_thread(_append, self._refused, b"\n".join(lines) + b"\n")
        self.set_aside += len(payloads)
        log.error("usage events were set aside", count=len(payloads), reason=why)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
