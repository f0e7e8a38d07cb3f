"""The keys of the trail: one for the chain's HMAC, one that signs checkpoints."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from model_service.audit.chain import format_time
from model_service.audit.domain import Checkpoint, SealKind, SignedCheckpoint
from model_service.kernel.errors import AuditBroken
from model_service.kernel.secret import Secret

#: Put before what is signed, so that a signature of the trail is good for nothing else.
SIGNED_PREFIX: Final = b"model-service audit v1\n"
#: Bytes of the HMAC key: the output size of SHA-256 (RFC 2104, section 3).
CHAIN_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """The trail's keys, opened."""

    chain: Secret[bytes]
    signing: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> Ed25519PublicKey:
        """What anybody may check signatures with."""
        return self.signing.public_key()

    @property
    def public_pem(self) -> bytes:
        """The public key as a PEM file."""
        return self.public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def key_id(self) -> str:
        """The name of the signing key: the first 16 hex digits of its public part's SHA-256."""
        return hashlib.sha256(self.public.public_bytes_raw()).hexdigest()[:16]

    def sign(self, checkpoint: Checkpoint) -> SignedCheckpoint:
        """The checkpoint with a signature, naming the key that made it."""
        checkpoint = replace(checkpoint, key_id=self.key_id)
        document = _document(checkpoint)
        signature = self.signing.sign(SIGNED_PREFIX + document.encode())
        return SignedCheckpoint(checkpoint, document, signature)

    def require_signed(self, kind: str, seq: int, document: str, signature: bytes) -> Checkpoint:
        """What a stored document says, if this key signed it and it is filed where it belongs.

        Raises:
            AuditBroken: it was not.
        """
        try:
            self.public.verify(signature, SIGNED_PREFIX + document.encode())
        except InvalidSignature:
            raise AuditBroken(seq, f"the {kind} is not signed with the audit key") from None
        checkpoint = _parse(document)
        if (checkpoint.kind, checkpoint.seq) != (kind, seq):
            raise AuditBroken(seq, f"the {kind} belongs elsewhere")
        return checkpoint

    def require_signed_line(self, line: bytes) -> Checkpoint:
        """What a line with a signature in an export says.

        Raises:
            AuditBroken: it was not signed with this key, or is no such line.
        """
        try:
            content = orjson.loads(line)
            signed, signature = content["signed"], bytes.fromhex(content["signature"])
            kind, seq = signed["kind"], signed["seq"]
        except (ValueError, TypeError, KeyError):
            raise AuditBroken(0, "the checkpoint given is not one") from None
        document = orjson.dumps(signed, option=orjson.OPT_SORT_KEYS).decode()
        return self.require_signed(kind, seq, document, signature)


def line(signed: SignedCheckpoint) -> bytes:
    """The checkpoint as a line of an export. The document stands in it as it was signed."""
    tail = orjson.dumps({"signature": signed.signature.hex()})[1:]
    return b'{"signed":' + signed.document.encode() + b"," + tail + b"\n"


def _document(checkpoint: Checkpoint) -> str:
    return orjson.dumps(
        {
            "digest": checkpoint.digest,
            "firstSeq": checkpoint.first_seq,
            "hash": checkpoint.hash,
            "keyId": checkpoint.key_id,
            "kind": checkpoint.kind.value,
            "lastTime": format_time(checkpoint.last_time),
            "seq": checkpoint.seq,
            "time": format_time(checkpoint.time),
        },
        option=orjson.OPT_SORT_KEYS,
    ).decode()


def _parse(document: str) -> Checkpoint:
    fields: dict[str, Any] = orjson.loads(document)
    return Checkpoint(
        kind=SealKind(fields["kind"]),
        first_seq=fields["firstSeq"],
        seq=fields["seq"],
        hash=fields["hash"],
        digest=fields["digest"],
        time=datetime.fromisoformat(fields["time"]),
        last_time=datetime.fromisoformat(fields["lastTime"]),
        key_id=fields["keyId"],
    )
