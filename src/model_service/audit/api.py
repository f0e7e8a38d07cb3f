"""The routes of the audit trail. Reading it is recorded in it."""

import re
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from model_service.audit.domain import AuditRecord, RecordFilter
from model_service.audit.store import SqlAuditStore
from model_service.http.auth import Access, GuardedRoute, declare
from model_service.http.paging import CursorPage, CursorQuery, page_of
from model_service.http.problem import documented
from model_service.http.wire import Moment, MomentIn, ResponseModel, Text255
from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import FieldFault, InvalidInput

#: Largest value of PostgreSQL's `bigint`, the column type of record numbers.
MAX_SEQ = 2**63 - 1
#: What a subject looks like. Anything else that is looked for is a caller's wording, and the
#: record of the reading does not repeat it.
_SUBJECT: Final = re.compile(r"[a-z][a-z-]{0,31}:[A-Za-z0-9_-]{1,64}")


class PageOfRecords(CursorQuery):
    """Which page of records."""

    def before(self) -> int | None:
        """The number of the last record on the page before.

        Raises:
            InvalidInput: the cursor is none that this service gave.
        """
        if self.cursor is None:
            return None
        if self.cursor.isascii() and self.cursor.isdigit() and len(self.cursor) < 20:
            return min(int(self.cursor), MAX_SEQ)
        raise InvalidInput(errors=[FieldFault("cursor", "is not one given here")])


class ListRecords(PageOfRecords):
    """Which records to list."""

    type: Text255 | None = None
    actor: Text255 | None = None
    subject: Text255 | None = None
    since: Annotated[MomentIn | None, Field(alias="from")] = None
    until: Annotated[MomentIn | None, Field(alias="to")] = None


class RecordView(ResponseModel):
    """A record as the API shows it; the hashes are in hex."""

    seq: int
    id: UUID
    time: Moment
    type: str
    phase: str
    actor: str
    on_behalf_of: str | None
    subject: str | None
    provider: str | None
    purpose: str | None
    request_id: str | None
    client_address: str | None
    decision: str
    reason: str | None
    ciphertext_sha256: str | None
    term: int | None
    instance: str
    prev_hash: str
    hash: str

    @classmethod
    def of(cls, record: AuditRecord) -> "RecordView":
        """The view of a record."""
        return cls(
            seq=record.seq,
            prev_hash=record.prev_hash.hex(),
            hash=record.hash.hex(),
            **record.entry._asdict(),
        )


RecordPage = CursorPage[RecordView]


def router(store: SqlAuditStore, trail: AuditTrail) -> APIRouter:
    """`/api/audit`, and each key's part of it."""
    routes = APIRouter(tags=["Audit trail"], route_class=GuardedRoute)

    async def page(wanted: RecordFilter, limit: int) -> RecordPage:
        found = await store.list(wanted, limit + 1)
        # Recorded before anything is given, and after reading, so that no page shows itself.
        looked_for = _SUBJECT.fullmatch(wanted.subject or "")
        subject = looked_for.group() if looked_for else "audit"
        await trail.record(AuditEvent(type="audit.read", subject=subject))
        return page_of(found, limit, RecordView.of, lambda record: record.seq)

    @routes.get(
        "/api/audit",
        response_model=RecordPage,
        summary="What was done, newest first",
        description="Reading is recorded too, as audit.read.",
        responses=documented(400, 401, 403, 503),
        openapi_extra=declare(Access.AUDITOR),
    )
    async def list_records(query: Annotated[ListRecords, Query()]) -> RecordPage:
        wanted = RecordFilter(
            type=query.type,
            actor=query.actor,
            subject=query.subject,
            since=query.since,
            until=query.until,
            before=query.before(),
        )
        return await page(wanted, query.limit)

    @routes.get(
        "/api/api-keys/{key_id}/audit",
        response_model=RecordPage,
        summary="What was done with one key, newest first",
        description="Also of a key that was deleted. Reading is recorded too, as audit.read.",
        responses=documented(400, 401, 403, 503),
        openapi_extra=declare(Access.AUDITOR),
    )
    async def list_records_of_key(
        key_id: UUID, query: Annotated[PageOfRecords, Query()]
    ) -> RecordPage:
        wanted = RecordFilter(subject=f"key:{key_id}", before=query.before())
        return await page(wanted, query.limit)

    return routes
