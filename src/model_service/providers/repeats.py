"""Knowing the events of a stream that differ in one text alone, without parsing each of them.

Most events of a stream are the same but for the few characters of text they bring. Once one of
them was parsed, others of its form are known to be sound by their beginning and their end, as long
as nothing in the text between could end it or is written in an escape.
"""

from typing import Final

import orjson

#: What JSON (RFC 8259, section 7) does not let stand in a string as it is: what ends it, what
#: begins an escape, and control characters. DEL and beyond are left to the parser too.
_PLAIN: Final = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')


class Repeats:
    """The form of one kind of event."""

    __slots__ = ("_beginning", "_end", "_least")

    def __init__(self) -> None:
        self._beginning = b""
        self._end = b""
        self._least = 0

    def learn(self, block: bytes, text: str) -> bool:
        """Take the form of an event that was found sound, and brings that text.

        An event in which the text could be meant in several places teaches nothing: then False.
        """
        written = orjson.dumps(text)
        if len(text) == 0 or block.count(written) != 1:
            return False
        place = block.index(written)
        self._beginning = block[: place + 1]
        self._end = block[place + len(written) - 1 :]
        self._least = len(self._beginning) + len(self._end)
        return True

    def fits(self, block: bytes) -> bool:
        """Whether the event is of that form, and so as sound and as harmless as the first."""
        return (
            self._least > 0
            and len(block) >= self._least
            and block.startswith(self._beginning)
            and block.endswith(self._end)
            and not block[len(self._beginning) : len(block) - len(self._end)].translate(
                None, _PLAIN
            )
        )
