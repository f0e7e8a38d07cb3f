"""What of an answer has come, so that events which tell the whole add only what is missing."""


class Said:
    """A text as far as it has come."""

    __slots__ = ("has_logprobs", "length", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.length = 0
        self.has_logprobs = False

    def add(self, text: str) -> None:
        """More of it."""
        self.pieces.append(text)
        self.length += len(text)

    def missing(self, whole: str) -> str:
        """What of the whole has not come yet."""
        if len(whole) <= self.length or not whole.startswith("".join(self.pieces)):
            return ""
        return whole[self.length :]


class Item:
    """An item of the output: its texts, by what they are and their place in it."""

    __slots__ = ("call", "ended", "id", "kind", "texts")

    def __init__(self, kind: str, item_id: str | None) -> None:
        self.kind = kind
        self.id = item_id
        self.call: int | None = None
        self.ended = False
        self.texts: dict[tuple[str, int], Said] = {}

    def said(self, field: str, index: int) -> Said:
        """One of its texts."""
        said = self.texts.get((field, index))
        if said is None:
            said = self.texts[(field, index)] = Said()
        return said

    @property
    def has_text(self) -> bool:
        """Whether it says anything yet."""
        return any(said.length for said in self.texts.values())
