"""Signatures of the Standard Webhooks specification, version 1.0.0, symmetric scheme.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import os
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from model_service.kernel.secret import Secret

#: "base64 encoded, prefixed with whsec_"
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - not a secret but what all of them start with
#: "At least 24 bytes (192 bits), 512 maximum"; as many as the hash gives.
SECRET_BYTES: Final = 32


def new_secret() -> Secret[str]:
    """A fresh signing secret in its serialised form."""
    return Secret(SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode("ascii"))


def signed_headers(
    secrets: Sequence[Secret[str]], message_id: str, moment: datetime, body: bytes
) -> tuple[tuple[str, str], ...]:
    """The three headers that tell a receiver who sent `body`, and when.

    One signature for each secret: while one replaces another a receiver may know either.
    `moment` is that of the attempt, not of the event, and counts in whole seconds.
    """
    timestamp = str(int(moment.timestamp()))
    signatures = " ".join(_signature(secret, message_id, timestamp, body) for secret in secrets)
    return (
        ("webhook-id", message_id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", signatures),
    )


def _signature(secret: Secret[str], message_id: str, timestamp: str, body: bytes) -> str:
    if "." in message_id:
        # Full stops part what is signed; one in the id would let two messages look alike.
        raise ValueError("a message id holds no full stop")
    key = base64.b64decode(secret.reveal().removeprefix(SECRET_PREFIX), validate=True)
    content = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(key, content, sha256)
    return "v1," + base64.b64encode(digest).decode("ascii")
