"""What reasoning items carry: `encrypted_content`, the one sealed field that callers return.

OpenAI's own is shown bare. That of another provider's thought is the marked signature, and two
things that have no item of their own travel by the same way: a thought that is hidden altogether
(Anthropic's redacted thinking) and the signature of a call (Gemini's), which goes ahead of it.
"""

from secrets import token_hex
from typing import Final

from model_service.providers.signatures import mark, own, shown, taken

#: The origin of this dialect's signatures, which is also its name.
NATIVE: Final = "openai_responses"

# All marks begin with this one; what does is not OpenAI's, and it would refuse it.
_MARKED: Final = "model-service:"
_REDACTED: Final = "model-service:redacted:"
_CALL: Final = "model-service:call:"
_OURS: Final = "rs_ms_"


def made_id() -> str:
    """An id for a reasoning item that OpenAI does not know."""
    return _OURS + token_hex(20)


def sealed(item_id: str | None, encrypted: str) -> str:
    """The signature of an item of OpenAI's; it holds the item's id, which belongs to it."""
    return mark(NATIVE, f"{item_id or ''}:{encrypted}")


def opened(signature: str | None) -> tuple[str | None, str] | None:
    """The id, as far as it is known, and the encrypted content; None if it is not OpenAI's."""
    payload = own(signature, NATIVE)
    if payload is None:
        return None
    item_id, separator, encrypted = payload.partition(":")
    if not separator or (item_id and not item_id.startswith("rs")):
        return None, payload
    return item_id or None, encrypted


def shown_to_caller(signature: str, *, redacted: bool) -> str:
    """A thought's signature as `encrypted_content`."""
    native = opened(signature)
    if native is not None:
        return native[1]
    return (_REDACTED if redacted else "") + shown(signature, NATIVE)


def shown_call(signature: str) -> str:
    """A call's signature as the `encrypted_content` of an item ahead of the call."""
    return _CALL + signature


def taken_from_caller(encrypted: str, item_id: str | None, text: str) -> tuple[str, bool]:
    """The signature that an `encrypted_content` is, and whether it hides its thought.

    Without a text OpenAI's always does; others have thoughts that are just not shown.
    """
    if encrypted.startswith(_REDACTED):
        return encrypted[len(_REDACTED) :], True
    if encrypted.startswith(_MARKED):
        return taken(encrypted, NATIVE), False
    return sealed(item_id, encrypted), not text


def taken_call(encrypted: str) -> str | None:
    """The call's signature, if that is what an `encrypted_content` is."""
    return encrypted[len(_CALL) :] if encrypted.startswith(_CALL) else None


def is_foreign(item: object) -> bool:
    """Whether an item of a request is a thought of another provider's, which OpenAI refuses."""
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    encrypted, item_id = item.get("encrypted_content"), item.get("id")
    if isinstance(encrypted, str) and encrypted:
        return encrypted.startswith(_MARKED)
    return isinstance(item_id, str) and item_id.startswith(_OURS)
