"""What a caller has been sent of an answer, and how another answer goes on from there.

Offsets are in characters (Unicode code points) of the answer's text: all texts of it, joined.
"""

from collections.abc import Iterator
from typing import Protocol

from model_service.providers.chat import (
    ChatEvent,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
)


class Heard:
    """What a caller has, of one candidate. Calls are not in it: they are sent with the end."""

    __slots__ = ("_pieces", "has_refusal", "is_thinking", "length")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.length = 0
        self.is_thinking = False
        """Whether a thought is open."""
        self.has_refusal = False

    @property
    def text(self) -> str:
        """The answer's text so far."""
        pieces = self._pieces
        if len(pieces) > 1:
            self._pieces = pieces = ["".join(pieces)]
        return pieces[0] if pieces else ""

    def take(self, event: ChatEvent) -> None:
        """The caller gets this."""
        kind = type(event)
        if isinstance(event, TextDelta):
            self._pieces.append(event.text)
            self.length += len(event.text)
            self.is_thinking = self.is_thinking and not event.text
        elif kind is ReasoningDelta:
            self.is_thinking = True
        elif kind is ReasoningEnded:
            self.is_thinking = False
        elif kind is RefusalDelta:
            self.has_refusal, self.is_thinking = True, False

    def rewind(self, offset: int) -> None:
        """The caller is told to forget the text from `offset` on."""
        self._pieces = [self.text[:offset]]
        self.length = offset


Step = int | str
"""Of a splice: an offset to go back to, or text that is new to the caller."""


class Splice(Protocol):
    """Tells, of a further answer to a request, what is new to a caller who has a beginning."""

    def text(self, text: str) -> Iterator[Step]:
        """What more of the text comes to."""
        ...

    def other(self) -> Iterator[Step]:
        """Something other than text comes, or the end."""
        ...


class Fresh:
    """Everything is new: the first answer."""

    __slots__ = ()

    def text(self, text: str) -> Iterator[Step]:
        """All of it."""
        yield text

    def other(self) -> Iterator[Step]:
        """Nothing."""
        return iter(())


class Restart:
    """The answer begins anew: what is the same as before is left out, up to the first difference.

    Where it differs the caller has to go back to.
    """

    __slots__ = ("_at", "_over", "_sent")

    def __init__(self, sent: str) -> None:
        self._sent = sent
        self._at = 0
        self._over = not sent

    def text(self, text: str) -> Iterator[Step]:
        """Nothing while it is the same; then where they part, and all that follows."""
        if self._over:
            yield text
            return
        same = _same(self._sent, self._at, text)
        self._at += same
        if same < len(text):
            yield from self.other()
            yield text[same:]

    def other(self) -> Iterator[Step]:
        """What was sent beyond this is not in the new answer."""
        if not self._over:
            self._over = True
            if self._at < len(self._sent):
                yield self._at


class Continuation:
    """The answer goes on from a beginning that was given without the blanks at its end.

    Blanks that come again are left out. `echo` is that beginning, for a provider that may
    repeat it: held back while it could be that, and left out if it is.
    """

    __slots__ = ("_at", "_blanks", "_echo")

    def __init__(self, blanks: str, echo: str = "") -> None:
        self._blanks = blanks
        self._echo = echo
        self._at = 0

    def text(self, text: str) -> Iterator[Step]:
        """What follows the beginning."""
        if self._echo:
            same = _same(self._echo, self._at, text)
            self._at += same
            if self._at == len(self._echo):
                self._echo, text = "", text[same:]
            elif same == len(text):
                return
            else:
                text = self._held() + text[same:]
        yield from self._after_blanks(text)

    def other(self) -> Iterator[Step]:
        """What was held back was no repetition."""
        if self._echo:
            yield from self._after_blanks(self._held())
        self._blanks = ""

    def _held(self) -> str:
        held, self._echo = self._echo[: self._at], ""
        return held

    def _after_blanks(self, text: str) -> Iterator[Step]:
        if self._blanks and text:
            same = _same(self._blanks, 0, text)
            # After the first difference nothing is left out any more.
            self._blanks = self._blanks[same:] if same == len(text) else ""
            text = text[same:]
        if text:
            yield text


def _same(sent: str, at: int, text: str) -> int:
    """How many characters of `text` are those that `sent` has from `at` on."""
    if sent.startswith(text, at):
        return len(text)
    pairs = zip(sent[at : at + len(text)], text, strict=False)
    return next((count for count, (old, new) in enumerate(pairs) if old != new), len(sent) - at)
