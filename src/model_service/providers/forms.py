"""Reading the events of a stream that differ in a text alone, without parsing each of them.

Most events of a stream are the same but for the few characters of text that they bring (and, with
OpenAI, those of `obfuscation`). Once one was read that brought a text and changed nothing else, the
next ones with the same around their texts bring theirs, until an event of another kind comes.
"""

from typing import Final

import orjson

from model_service.providers.chat import Document
from model_service.providers.sse import parse_block

# What may stand in a JSON string as it is (RFC 8259, section 7): neither what ends it, nor what
# begins an escape, nor control characters. What is no ASCII is decoded, which shows whether it is
# sound. DEL is left to the parser.
_PLAIN: Final = bytes(code for code in range(0x20, 0x100) if code not in b'"\\\x7f')

_PADDING: Final = "obfuscation"
_PROBE: Final = "a probe"


class Form:
    """The form of the events that come one after the other, as far as it is known."""

    __slots__ = ("_after", "_before", "_between", "_is_known", "_least")

    def __init__(self) -> None:
        self._is_known = False
        # What stands before, between and after text and padding; between is empty without padding.
        self._before = self._between = self._after = b""
        self._least = 0

    def text(self, block: bytes) -> str | None:
        """The text that an event of the form brings; None for any other event."""
        before, after = self._before, self._after
        if not (
            self._is_known
            and block.startswith(before)
            and block.endswith(after)
            and len(block) > self._least
        ):
            return None
        text = block[len(before) : len(block) - len(after)]
        if self._between:
            text, between, padding = text.partition(self._between)
            if not between or padding.translate(None, _PLAIN):
                return None
        if not text or text.translate(None, _PLAIN):
            return None
        try:
            return text.decode()
        except UnicodeDecodeError:
            return None

    def forget(self) -> None:
        """Something else came: what events do may have changed."""
        self._is_known = False

    def learn(self, block: bytes, document: Document, holder: Document, name: str) -> None:
        """Take the form of an event that brought a text, and did nothing else.

        `document` is what the event holds, and `holder` the part of it with the text as `name`;
        both are changed.
        """
        known = (self._before, self._between, self._after) if self._is_known else None
        self._is_known = False
        before, after = _cut(block, holder[name])
        between, padding = b"", document.get(_PADDING)
        if padding and type(padding) is str:
            between, after = _cut(after, padding)
        if not after:
            return
        if (before, between, after) != known:
            holder[name] = _PROBE
            if between:
                document[_PADDING] = _PROBE
            # Only the parser can tell whether these were the places.
            if _parsed(before, between, after) != document:
                return
            self._before, self._between, self._after = before, between, after
            self._least = len(before) + len(between) + len(after)
        self._is_known = True


def _parsed(before: bytes, between: bytes, after: bytes) -> object:
    probe = _PROBE.encode()
    event = parse_block(before + probe + (between + probe if between else b"") + after)
    try:
        return None if event is None else orjson.loads(event[1])
    except orjson.JSONDecodeError:
        return None


def _cut(data: bytes, text: str) -> tuple[bytes, bytes]:
    """What stands before and after a text, with its quotation marks; nothing if it is not clear."""
    written = orjson.dumps(text)
    if not text or data.count(written) != 1:
        return b"", b""
    before, _, after = data.partition(written)
    return before + b'"', b'"' + after
