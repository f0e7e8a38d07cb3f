"""What the Responses API keeps: responses, their items, and which thought belongs to which.

Thoughts that are given away (`reasoning.encrypted_content`) can be read back by the stand-in
alone, and by no other instance of it.
"""

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from model_service.sandbox.openai_shapes import Refused

Item = Mapping[str, Any]  # Any: a wire edge, of a shape that was checked

# Old responses fall out, so that a sandbox left running does not grow.
_KEPT: Final = 1000

# What Fernet tokens, which the real ones are, begin with.
_SEALED: Final = "gAAAAA"


class Memory:
    """What one stand-in keeps of its responses."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._conversations: OrderedDict[str, tuple[Item, ...]] = OrderedDict()
        self._items: OrderedDict[str, Item] = OrderedDict()
        # The thought that went before an item, by the item's id.
        self._thoughts: OrderedDict[str, str] = OrderedDict()

    def clear(self) -> None:
        """Forget everything; what was sealed can still be read."""
        self._conversations.clear()
        self._items.clear()
        self._thoughts.clear()

    def keep(self, response_id: str, items: Sequence[Item], output: Sequence[Item]) -> None:
        """Keep a response: all that went in, and what came out."""
        _put(self._conversations, response_id, (*items, *output))
        thought = None
        for item in output:
            _put(self._items, item["id"], item)
            if item["type"] == "reasoning":
                thought = item["id"]
            elif thought is not None:
                _put(self._thoughts, item["id"], thought)

    def before(self, response_id: str) -> tuple[Item, ...]:
        """All items up to the end of a response. Raises Refused when it is not kept."""
        found = self._conversations.get(response_id)
        if found is None:
            raise Refused(
                f"Previous response with id '{response_id}' not found.",
                "previous_response_id",
                "previous_response_not_found",
            )
        return found

    def item(self, item_id: str) -> Item:
        """A kept item. Raises Refused when it is not kept."""
        found = self._items.get(item_id)
        if found is None:
            raise Refused(
                f"Item with id '{item_id}' not found. Items are not persisted when `store` is set "
                "to false. Try again with `store` set to true, or remove this item from your "
                "input.",
                "input",
                status=404,
            )
        return found

    def thought_of(self, item_id: str) -> str | None:
        """The id of the thought that has to stand before a kept item."""
        return self._thoughts.get(item_id)

    def seal(self, thought: str) -> str:
        """A thought that only this stand-in can read."""
        data = thought.encode()
        return _SEALED + base64.urlsafe_b64encode(self._proof(data) + data).decode()

    def check_seal(self, item_id: str, sealed: str) -> None:
        """Raise Refused when this stand-in did not seal it."""
        try:
            data = base64.urlsafe_b64decode(sealed.removeprefix(_SEALED))
        except ValueError:
            data = b""
        proven = hmac.compare_digest(data[:32], self._proof(data[32:]))
        if not sealed.startswith(_SEALED) or not proven:
            raise Refused(
                f"The encrypted content for item {item_id} could not be verified. Reason: "
                "Encrypted content could not be decrypted or parsed.",
                None,
                "invalid_encrypted_content",
            )

    def _proof(self, data: bytes) -> bytes:
        return hmac.digest(self._secret, data, hashlib.sha256)


def _put(kept: OrderedDict[str, Any], key: str, value: object) -> None:
    kept[key] = value
    if len(kept) > _KEPT:
        kept.popitem(last=False)
