"""Knowing the events of a stream that differ in a text or two alone, without parsing each of them.

Most events of a stream are the same but for the few characters of text they bring (and, with
OpenAI, those of `obfuscation`). Once one of them was parsed and edited, others of its form are
known to be sound by what stands around the texts, as long as nothing in these could end them or
is written in an escape; and they are edited by writing the edited surroundings instead.
"""

from collections.abc import Sequence
from typing import Final

import orjson

#: What JSON (RFC 8259, section 7) does not let stand in a string as it is: what ends it, what
#: begins an escape, and control characters. DEL and beyond are left to the parser too.
_PLAIN: Final = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')


class Repeats:
    """The form of one kind of event, and what such events are to become."""

    __slots__ = ("_around", "_is_known", "_least", "_written")

    def __init__(self) -> None:
        self._is_known = False
        # What stands before, between and after the texts; between is empty for one text.
        self._around = (b"", b"", b"")
        self._written = (b"", b"", b"")
        self._least = 0

    def learn(self, event: bytes, edited: bytes, texts: Sequence[str]) -> bool:
        """Take the form of an event that was found sound, brings one or two texts, and was edited.

        An event in which a text could be meant in several places teaches nothing: then False.
        """
        around, written = _around(event, texts), _around(edited, texts)
        if around is None or written is None:
            return False
        self._around, self._written = around, written
        self._least = sum(map(len, around))
        self._is_known = True
        return True

    def edited(self, event: bytes) -> bytes | None:
        """The event edited, if it is of the form; else None."""
        if not self._is_known or len(event) < self._least:
            return None
        before, between, after = self._around
        if not (event.startswith(before) and event.endswith(after)):
            return None
        text = event[len(before) : len(event) - len(after)]
        start, middle, end = self._written
        if not between:
            return None if text.translate(None, _PLAIN) else b"%b%b%b" % (start, text, end)
        text, _, other = text.partition(between)
        # Had `between` not been there, `other` would be empty and the text too long or unsound.
        if text.translate(None, _PLAIN) or other.translate(None, _PLAIN):
            return None
        if len(text) + len(other) + self._least != len(event):
            return None
        return b"%b%b%b%b%b" % (start, text, middle, other, end)


def _around(event: bytes, texts: Sequence[str]) -> tuple[bytes, bytes, bytes] | None:
    """What stands around the texts, with their quotation marks; None where that is not clear."""
    if not 1 <= len(texts) <= 2 or not all(texts):
        return None
    cuts: list[tuple[int, int]] = []
    for text in texts:
        written = orjson.dumps(text)
        if event.count(written) != 1:
            return None
        place = event.index(written)
        cuts.append((place + 1, place + len(written) - 1))
    cuts.sort()
    before, after = event[: cuts[0][0]], event[cuts[-1][1] :]
    if len(cuts) == 1:
        return before, b"", after
    return before, event[cuts[0][1] : cuts[1][0]], after
