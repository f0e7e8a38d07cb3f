"""The chain: how records are written down, linked and checked. No input, no output.

    hash = HMAC-SHA256(audit key, seq as u64be | prev_hash | canonical JSON)

Canonical JSON is the record's 16 fields but `seq`, `prevHash` and `hash`, all present, sorted by
name, without spaces, in UTF-8. docs/audit-trail.md gives the form byte by byte.
"""

import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

import orjson

from model_service.audit.domain import AuditRecord, Head
from model_service.kernel.errors import AuditBroken


def canonical(record: AuditRecord) -> bytes:
    """What the record says, as the one text that is hashed."""
    return orjson.dumps(_content(record), option=orjson.OPT_SORT_KEYS)


def line(record: AuditRecord) -> bytes:
    """The record as a line of an export, newline included: its content and its links."""
    content = _content(record)
    content["seq"] = record.seq
    content["prevHash"] = record.prev_hash.hex()
    content["hash"] = record.hash.hex()
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def link(key: bytes, head: Head, content: bytes) -> bytes:
    """The hash of the record that follows `head` and says `content`."""
    return hmac.digest(key, (head.seq + 1).to_bytes(8) + head.hash + content, "sha256")


def extend(key: bytes, head: Head, records: Iterable[AuditRecord]) -> list[AuditRecord]:
    """The records as they follow `head` in this order: numbered, linked and hashed."""
    linked = []
    for record in records:
        numbered = record._replace(seq=head.seq + 1, prev_hash=head.hash)
        linked.append(numbered._replace(hash=link(key, head, canonical(numbered))))
        head = linked[-1].head
    return linked


def follow(key: bytes, head: Head, record: AuditRecord) -> Head:
    """The head after a stored record, if that is what follows `head`.

    Raises:
        AuditBroken: it is not. Names the first number at which the chain is not as written.
    """
    expected = head.seq + 1
    if record.seq > expected:
        raise AuditBroken(expected, "the record is missing")
    if record.seq < expected:
        raise AuditBroken(record.seq, "the record was inserted")
    if not hmac.compare_digest(record.hash, link(key, head, canonical(record))):
        raise AuditBroken(record.seq, "the record is not the one that was written")
    if record.prev_hash != head.hash:
        raise AuditBroken(record.seq, "the record does not follow the one before it")
    return record.head


def format_time(time: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`, as everywhere in the trail."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _content(record: AuditRecord) -> dict[str, str | int | None]:
    return {
        "actor": record.actor,
        "ciphertextSha256": record.ciphertext_sha256,
        "client": record.client,
        "decision": record.decision,
        "id": str(record.id),
        "instance": record.instance,
        "onBehalfOf": record.on_behalf_of,
        "phase": record.phase,
        "provider": record.provider,
        "purpose": record.purpose,
        "reason": record.reason,
        "requestId": record.request_id,
        "subject": record.subject,
        "term": record.term,
        "time": format_time(record.time),
        "type": record.type,
    }
