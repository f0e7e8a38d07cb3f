"""What the service tells the outside: event types, and the seam through which slices announce."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol


class EventType(StrEnum):
    """Everything a receiver can be told of."""

    KEY_INVALID = "key.invalid"
    KEY_EXPIRING = "key.expiring"
    KEY_ROTATION_DUE = "key.rotation_due"
    KEY_ROTATED = "key.rotated"
    SHARE_GRANTED = "share.granted"
    TOKEN_CREATED = "token.created"  # noqa: S105 - the name of an event
    AUDIT_INTEGRITY_FAILURE = "audit.integrity_failure"
    SECRET_STAGED = "secret.staged"  # noqa: S105 - the name of an event
    SECRET_FINALIZED = "secret.finalized"  # noqa: S105 - the name of an event
    SECRET_COMPROMISED = "secret.compromised"  # noqa: S105 - the name of an event
    QUOTA_THRESHOLD = "quota.threshold"
    PROVIDER_DOWN = "provider.down"
    PROVIDER_RECOVERED = "provider.recovered"
    STATEMENT_CLOSED = "statement.closed"
    USAGE_METERED = "usage.metered"
    WEBHOOK_TEST = "webhook.test"


class Announcer(Protocol):
    """Where slices say that something happened, for whoever subscribed to it."""

    async def announce(self, type: str, data: Mapping[str, Any]) -> None:  # noqa: A002
        """Tell every subscriber, at least once, after the current transaction commits.

        Inside a `Database.transaction()` the event is part of it: rolled back, it was never
        told. Outside of one it is durable on return. `type` is one of `EventType`; `data` is
        JSON-able with camelCase names, small, and never holds a secret.

        Raises:
            ValueError: the type is unknown.
            DatabaseUnavailable: it could not be stored.
        """
        ...
