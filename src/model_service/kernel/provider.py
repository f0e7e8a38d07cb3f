"""What the service says of a provider's answer when it asks about a key."""

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
