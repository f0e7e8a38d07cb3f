"""Small things that OpenAI's two ways of chatting write alike: names, tokens, events."""

import secrets
import string
from collections.abc import Mapping
from typing import Final

import orjson

from model_service.sandbox.script import fragments

_LETTERS: Final = string.ascii_letters + string.digits


def identifier(prefix: str, length: int = 24) -> str:
    """A name that is used once."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(length))


def token_logprobs(text: str, top: int) -> list[dict[str, object]]:
    """The log probabilities of a text's tokens; made up, but always the same."""
    return [_logprob(token, place, top) for place, token in enumerate(fragments(text))]


def _logprob(token: str, place: int, top: int) -> dict[str, object]:
    likely = -0.01 * (place % 7 + 1)
    others = [(token, likely), *((f" other{rank}", likely - rank) for rank in range(1, top))]
    return {
        "token": token,
        "logprob": likely,
        "bytes": list(token.encode()),
        "top_logprobs": [
            {"token": other, "logprob": how, "bytes": list(other.encode())}
            for other, how in others[:top]
        ],
    }


def obfuscation() -> str:
    """Padding that hides how long a piece is."""
    return secrets.token_urlsafe(9)[: secrets.randbelow(12) + 1]


def event(content: Mapping[str, object], name: str | None = None) -> bytes:
    """One server-sent event."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + orjson.dumps(content) + b"\n\n"
