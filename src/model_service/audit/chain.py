"""The chain: how records are written down, linked and checked. No input, no output.

    hash = HMAC-SHA256(audit key, seq as u64be | prev_hash | canonical JSON)

Canonical JSON is the record's 16 fields but `seq`, `prevHash` and `hash`, all present, sorted by
name, without spaces, in UTF-8. docs/audit-trail.md gives the form byte by byte.
"""

import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

import orjson

from model_service.audit.domain import AuditRecord, Entry, Head
from model_service.kernel.errors import AuditBroken


def canonical(entry: Entry) -> bytes:
    """What a record says, as the one text that is hashed."""
    return orjson.dumps(_content(entry), option=orjson.OPT_SORT_KEYS)


def line(record: AuditRecord) -> bytes:
    """The record as a line of an export, newline included: what it says and its links."""
    content = _content(record.entry)
    content["seq"] = record.seq
    content["prevHash"] = record.prev_hash.hex()
    content["hash"] = record.hash.hex()
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def link(key: bytes, head: Head, content: bytes) -> Head:
    """The head after the record that follows `head` and says `content`."""
    seq = head.seq + 1
    return Head(seq, hmac.digest(key, seq.to_bytes(8) + head.hash + content, "sha256"))


def heads(key: bytes, head: Head, contents: Iterable[bytes]) -> list[Head]:
    """`head`, and the head after each record that follows it in this order."""
    found = [head]
    for content in contents:
        head = link(key, head, content)
        found.append(head)
    return found


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
    following = link(key, head, canonical(record.entry))
    if not hmac.compare_digest(record.hash, following.hash):
        raise AuditBroken(record.seq, "the record is not the one that was written")
    if record.prev_hash != head.hash:
        raise AuditBroken(record.seq, "the record does not follow the one before it")
    return following


def format_time(time: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`, as everywhere in the trail."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _content(entry: Entry) -> dict[str, str | int | None]:
    return {
        "actor": entry.actor,
        "ciphertextSha256": entry.ciphertext_sha256,
        "clientAddress": entry.client_address,
        "decision": entry.decision,
        "id": str(entry.id),
        "instance": entry.instance,
        "onBehalfOf": entry.on_behalf_of,
        "phase": entry.phase,
        "provider": entry.provider,
        "purpose": entry.purpose,
        "reason": entry.reason,
        "requestId": entry.request_id,
        "subject": entry.subject,
        "term": entry.term,
        "time": format_time(entry.time),
        "type": entry.type,
    }
