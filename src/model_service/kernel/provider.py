"""What providers say when they are asked about a key, or about the models they offer."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """What asking a provider about a key came to. Fixed words: nothing of an answer leaks here."""

    VALID = "valid"
    INVALID = "invalid"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    RATE_LIMITED = "rate_limited"
    PROVIDER_ERROR = "provider_error"
    UNEXPECTED_ANSWER = "unexpected_answer"

    @property
    def is_definite(self) -> bool:
        """Whether the provider said yes or no; anything else tells nothing about the key."""
        return self in (Verdict.VALID, Verdict.INVALID)


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model as its provider lists it; None where the provider does not say."""

    id: str
    name: str
    description: str | None = None
    max_tokens: int | None = None
    supports_streaming: bool | None = None
    context_window: int | None = None
    created: datetime | None = None
