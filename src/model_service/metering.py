"""`Meter` on the usage journal: from a call's record to what is kept of it for good."""

from typing import Final
from uuid import UUID

from model_service.gateway.ports import CallRecord
from model_service.gateway.snapshot import SnapshotModel
from model_service.kernel.errors import JournalFull
from model_service.kernel.types import uuid7_text
from model_service.providers.chat import Usage
from model_service.usage.journal import Journal
from model_service.usage.records import begun_payload, event_payload

#: Bytes of a request to one token of it, about.
BYTES_PER_TOKEN: Final = 4

_NOTHING: Final = Usage()
#: The status of a call whose caller left before it got one; nginx's.
_LEFT: Final = 499


class JournalMeter:
    """Writes calls down."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def begin(self, record: CallRecord) -> None:
        """A call is about to be sent to a provider. Raises JournalFull."""
        record.event_id = record.event_id or uuid7_text()
        model, principal = record.asked, record.principal
        token_id = None if principal is None else principal.token_id
        record.ticket = self._journal.begin(
            begun_payload(
                record.event_id,
                int(record.began * 1000),
                record.request_id,
                None if principal is None else principal.user_id,
                token_id,
                *_origin(model),
                record.key_id,
                record.door,
                record.operation,
                record.stream,
                record.body_bytes // BYTES_PER_TOKEN,
                None,
                None,
                record.tags,
            )
        )

    def finish(self, record: CallRecord) -> None:
        """Such a call is over."""
        self._journal.finish(record.ticket, _event(record))

    def note(self, record: CallRecord) -> None:
        """A call was refused before it was sent to a provider."""
        record.event_id = record.event_id or uuid7_text()
        try:
            self._journal.note(_event(record))
        except JournalFull:
            return  # it used nothing, and what it was refused for is that, mostly


def _origin(model: SnapshotModel | None) -> tuple[str, str, str]:
    if model is None:
        return "", "", ""
    target = model.target
    return target.name, target.provider, target.upstream_model


def _event(record: CallRecord) -> bytes:
    principal, usage = record.principal, record.usage or _NOTHING
    asked, model, cost = record.asked, record.model, record.cost
    first, started = record.first_byte, record.started
    token_id: UUID | None = None if principal is None else principal.token_id
    return event_payload(
        record.event_id,
        int(record.began * 1000),
        record.request_id,
        None if principal is None else principal.user_id,
        token_id,
        *_origin(model),
        record.key_id,
        record.door,
        record.operation,
        record.status or _LEFT,
        record.stream,
        usage.input,
        usage.cached_input,
        usage.cache_write,
        usage.cache_write_1h,
        usage.output,
        usage.reasoning,
        None if cost is None else str(cost),
        record.price_version,
        round((record.finished - started) * 1000, 3),
        None if first is None or not record.stream else round((first - started) * 1000, 3),
        record.attempts,
        asked.name if asked is not None and model is not asked else None,
        record.estimated,
        None if record.error is None else record.error.value,
        record.tags,
        None if record.why is None else {"steps": record.why},
    )
