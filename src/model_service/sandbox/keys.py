"""Which keys a stand-in takes, and what a key makes it do (the table is in the package)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SHARED_PREFIX: Final = "sk-sandbox-"

_SAMPLE_LENGTH: Final = 32


class Behaviour(StrEnum):
    """How a stand-in misbehaves; the value is the word a key asks for it with."""

    RESTRICTED = "restricted"
    LIMITED = "limited"
    BROKEN = "broken"
    SILENT = "silent"
    HTML = "html"
    ECHO = "echo"
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True)
class KeyRule:
    """The keys one provider's stand-in takes, beside the shared `sk-sandbox-...`.

    `length`, in characters, is what a key in the provider's own style must have in all.
    `takes_shared` is false where an inference key must not do.
    """

    own_prefix: str = SHARED_PREFIX
    length: int | None = None
    takes_shared: bool = True

    def accepts(self, key: str) -> bool:
        """Whether this is a key of the sandbox."""
        if key.startswith(self.own_prefix):
            return self.length is None or len(key) == self.length
        return self.takes_shared and key.startswith(SHARED_PREFIX)

    def behaviour(self, key: str) -> Behaviour | None:
        """What an accepted key asks for; None is to behave."""
        word = key.removeprefix(self.own_prefix).removeprefix(SHARED_PREFIX).lower()
        return next((asked for asked in Behaviour if word.startswith(asked)), None)

    def sample(self, behaviour: Behaviour | None = None) -> str:
        """A well-formed key in the provider's own style."""
        stem = f"{self.own_prefix}{behaviour or 'valid'}-"
        return stem.ljust(self.length or _SAMPLE_LENGTH, "0")
