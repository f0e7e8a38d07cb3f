"""Thoughts in a request that passes through: Anthropic takes none but its own.

A conversation may have been another provider's before, whose signatures are marked, or which
signs nothing.
"""

from typing import Final

from model_service.providers.dialects.anthropic.wire import NAME
from model_service.providers.signatures import own, taken
from model_service.providers.translation import Document

# Which block of a thought has its signature where.
_SEALS: Final = {"thinking": "signature", "redacted_thinking": "data"}


def send_own_thoughts(body: Document) -> None:
    """Leave out thoughts that another provider signed, or none; those of Anthropic's lose marks."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return
    kept = [message for message in messages if not _is_emptied(message)]
    if len(kept) != len(messages):
        body["messages"] = kept


def _is_emptied(message: object) -> bool:
    """Edits a message; whether nothing is left of it."""
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return False
    content = message.get("content")
    if not isinstance(content, list):
        return False
    kept = [block for block in content if not _is_foreign(block)]
    if len(kept) == len(content):
        return False
    message["content"] = kept
    return not kept


def _is_foreign(block: object) -> bool:
    if not isinstance(block, dict):
        return False
    kind = block.get("type")
    where = _SEALS.get(kind) if isinstance(kind, str) else None
    seal = None if where is None else block.get(where)
    if where is None or not isinstance(seal, str):
        return False
    payload = own(taken(seal, NAME), NAME)
    if payload:
        block[where] = payload
    return not payload
