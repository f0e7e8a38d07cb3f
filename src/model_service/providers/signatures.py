"""Whose a signature is: what one provider wants back unchanged must not be sent to another.

Anthropic signs thoughts, Gemini signs thoughts and calls, OpenAI encrypts them. A caller gets
the signature through whatever door it came by, and sends it back to whatever model comes next.
So within the intermediate form a signature is marked with its origin, the name of the upstream
dialect. A door shows signatures of its own dialect bare, as the provider would, and others marked.
"""

from typing import Final

_MARK: Final = "model-service:"


def mark(origin: str, payload: str) -> str:
    """A signature of that origin, as the intermediate form holds it."""
    return f"{_MARK}{origin}:{payload}"


def shown(signature: str, native: str | None) -> str:
    """A signature as a door shows it, whose own dialect is `native`."""
    payload = own(signature, native)
    return signature if payload is None else payload


def taken(text: str, native: str) -> str:
    """A signature as a caller sent it through a door, in the intermediate form."""
    return text if text.startswith(_MARK) else mark(native, text)


def own(signature: str | None, origin: str | None) -> str | None:
    """What the provider wants back, if the signature is of that origin; else None."""
    if signature is None or origin is None:
        return None
    prefix = f"{_MARK}{origin}:"
    return signature[len(prefix) :] if signature.startswith(prefix) else None
