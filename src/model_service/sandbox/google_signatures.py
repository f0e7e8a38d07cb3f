"""Thought signatures: made for every call, and wanted back with it.

After https://ai.google.dev/gemini-api/docs/thought-signatures: in the current turn, which
begins with the last thing the user said, the first call of every step must have its
signature. One of two values given there does for calls that the model did not make.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from model_service.sandbox.google_errors import Refused

Content = Mapping[str, object]
Part = Mapping[str, object]

_SECRET: Final = b"the sandbox's own thoughts"
_STANDS_IN: Final = frozenset(
    {"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"}
)
_PAGE: Final = "https://ai.google.dev/gemini-api/docs/thought-signatures"


def signature(name: str, number: int) -> str:
    """The signature of a call of a function, or of text, whose name is empty.

    `number` is which answer of the stand-in it belongs to, so that no two are alike.
    """
    said = f"{number}:{name}".encode()
    return base64.b64encode(hmac.digest(_SECRET, said, hashlib.sha256) + said).decode()


def check_signatures(contents: Sequence[Content]) -> None:
    """Raise Refused for a signature that is wrong, or missing where there must be one."""
    current = _current_turn(contents)
    for index, content in enumerate(contents):
        calls = 0
        for part in parts_of(content):
            given = part.get("thoughtSignature")
            call = part.get("functionCall")
            name = str(call.get("name")) if isinstance(call, Mapping) else ""
            if isinstance(given, str) and not _good(given, name):
                raise Refused("Corrupted thought signature.")
            if isinstance(call, Mapping):
                calls += 1
                if calls == 1 and given is None and index >= current:
                    raise Refused(
                        "Function call is missing a thought_signature in functionCall parts. "
                        "This is required for tools to work correctly, and missing "
                        "thought_signature may lead to degraded model performance. Additional "
                        f"data, function call `default_api:{name}` , position {index + 1}. "
                        f"Please refer to {_PAGE} for more details."
                    )


def parts_of(content: Content) -> list[Part]:
    """The parts of a content that was read."""
    parts = content.get("parts")
    return parts if isinstance(parts, list) else []


def _current_turn(contents: Sequence[Content]) -> int:
    """Where the last content of the user's begins that is more than results."""
    for index in range(len(contents) - 1, -1, -1):
        content = contents[index]
        results = ("functionResponse" in part for part in parts_of(content))
        if content.get("role", "user") != "model" and not all(results):
            return index
    return 0


def _good(given: str, name: str) -> bool:
    if given in _STANDS_IN:
        return True
    plain = given.replace("-", "+").replace("_", "/").rstrip("=")
    raw = base64.b64decode(plain + "=" * (-len(plain) % 4))
    if raw in {value.encode() for value in _STANDS_IN}:
        return True
    mac, said = raw[:32], raw[32:]
    if not hmac.compare_digest(mac, hmac.digest(_SECRET, said, hashlib.sha256)):
        return False
    return said.decode().partition(":")[2] == name
