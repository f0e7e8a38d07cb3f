"""Stand-ins for the seams that most slices take: each remembers what it was told."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from model_service.kernel.audit import AuditEvent
from model_service.kernel.errors import AuditUnavailable, IntegrityFailure
from model_service.kernel.secret import Secret


class RecordingTrail:
    """`AuditTrail` in memory. Set `available` to False to have it refuse."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.available = True

    async def record(self, *events: AuditEvent) -> None:
        if not self.available:
            raise AuditUnavailable
        self.events.extend(events)

    @property
    def types(self) -> list[str]:
        """The types of the events, in their order."""
        return [event.type for event in self.events]


class RecordingAnnouncer:
    """`Announcer` in memory."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Mapping[str, Any]]] = []

    async def announce(self, type: str, data: Mapping[str, Any]) -> None:  # noqa: A002
        self.told.append((type, data))

    @property
    def types(self) -> list[str]:
        """The types of the events, in their order."""
        return [kind for kind, _ in self.told]


class PlainBox:
    """`SecretBox` that shows what it does."""

    def seal(self, place: str, record_id: UUID, value: Secret[str]) -> str:
        return f"{place}|{record_id}|{value.reveal()}"

    def open(self, place: str, record_id: UUID, stored: str) -> Secret[str]:
        sealed_place, sealed_id, value = stored.split("|")
        if (sealed_place, sealed_id) != (place, str(record_id)):
            raise IntegrityFailure
        return Secret(value)
