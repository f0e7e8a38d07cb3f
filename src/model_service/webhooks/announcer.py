"""Announcing: from "this happened" to a row in the outbox."""

from collections.abc import Mapping
from typing import Any

import orjson

from model_service.http.wire import format_moment
from model_service.kernel.events import EventType
from model_service.kernel.types import Clock, uuid7
from model_service.webhooks.domain import Event, Outbox


class OutboxAnnouncer:
    """`Announcer` that puts events into the outbox, within the caller's transaction."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock

    async def announce(self, type: str, data: Mapping[str, Any]) -> None:  # noqa: A002
        """Tell every subscriber, once the current transaction commits."""
        await self._outbox.publish(make_event(EventType(type), data, self._clock))


def make_event(kind: EventType, data: Mapping[str, Any], clock: Clock) -> Event:
    """An event of this moment, in the form its receivers will see."""
    now = clock.now()
    document = {"type": kind.value, "timestamp": format_moment(now), "data": dict(data)}
    return Event(uuid7(), kind, orjson.dumps(document).decode(), now)
