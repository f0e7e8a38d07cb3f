"""Signatures at Google's door. Google's own are bytes, which JSON has as base64.

Its clients decode them and encode them again, perhaps with the other alphabet of RFC 4648, so
one that is marked as another provider's is shown as base64 of the mark and all. One of Google's
stands bare, and is taken back with either alphabet.
"""

import base64
import binascii
from typing import Final

from model_service.providers.dialects.google.words import NAME
from model_service.providers.signatures import own, shown, taken

# What every mark begins with, in base64 (the mark's first twelve bytes: four of them are whole).
_MARKED: Final = base64.b64encode(b"model-servic").decode()


def shown_signature(signature: str) -> str:
    """A signature as this door shows it."""
    if own(signature, NAME) is not None:
        return shown(signature, NAME)
    return base64.b64encode(signature.encode()).decode()


def taken_signature(text: str) -> str:
    """A signature that a caller sent, in the intermediate form."""
    if text.startswith(_MARKED):
        try:
            return taken(base64.b64decode(standard(text), validate=True).decode(), NAME)
        except (binascii.Error, UnicodeDecodeError):
            pass  # not one of ours after all
    return taken(text, NAME)


def is_foreign(text: str) -> bool:
    """Whether a signature that a caller sent is another provider's."""
    return text.startswith(_MARKED) and own(taken_signature(text), NAME) is None


def standard(text: str) -> str:
    """Base64 in the standard alphabet and padded, whichever of the two it came in."""
    if "-" in text or "_" in text:
        text = text.replace("-", "+").replace("_", "/")
    missing = -len(text) % 4
    return text + "=" * missing if missing else text
