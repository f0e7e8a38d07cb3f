"""The encodings that have to be unambiguous: one text per record, one byte string per tuple."""

from binascii import a2b_base64, b2a_base64

from model_service.kernel.errors import IntegrityFailure, InvalidInput
from model_service.kernel.secret import Secret


def encode_base64(data: bytes) -> str:
    """Base64 with padding on one line (RFC 4648, section 4)."""
    return b2a_base64(data, newline=False).decode("ascii")


def decode_base64(text: str) -> bytes:
    """What `encode_base64` gave `text` for; raises `IntegrityFailure` for every other text.

    Strict decoders still let the unused bits of the last character differ (RFC 4648,
    section 3.5), so the result is encoded again: no two texts stand for the same bytes.
    """
    try:
        data = a2b_base64(text, strict_mode=True)
    except ValueError:
        raise IntegrityFailure("A stored record is not base64") from None
    if b2a_base64(data, newline=False) != text.encode("ascii"):
        raise IntegrityFailure("A stored record is not in canonical base64")
    return data


def length_prefixed(*parts: bytes) -> bytes:
    """Each part after its length as u32be, so that bytes cannot move from one part to the next."""
    return b"".join([len(part).to_bytes(4) + part for part in parts])


def encode_text(secret: Secret[str]) -> bytes:
    """A secret text in UTF-8; raises `InvalidInput` for lone surrogates.

    The codec's own exception carries the whole text, so it is dropped before ours is raised.
    """
    try:
        return secret.reveal().encode()
    except UnicodeEncodeError:
        pass
    raise InvalidInput("A secret text holds characters that are not valid Unicode")


def decode_text(plaintext: bytes) -> Secret[str]:
    """The secret text whose UTF-8 this is; raises `IntegrityFailure` for other bytes.

    The codec's own exception carries the whole text, so it is dropped before ours is raised.
    """
    try:
        return Secret(plaintext.decode())
    except UnicodeDecodeError:
        pass
    raise IntegrityFailure("A stored record opens to something that is not text")
