"""What a door has to give to be driven: one class for each, around its official client."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.conformance.gateway.wishes import NoWords, Told, Wish


@dataclass(frozen=True, slots=True)
class Failures:
    """The client's own exceptions, by what went wrong."""

    bad_request: type[Exception]
    unauthenticated: type[Exception]
    not_found: type[Exception]
    limited: type[Exception]
    broken: type[Exception]
    in_stream: type[Exception]


@dataclass(frozen=True, slots=True)
class Problem:
    """What an exception says: status (None within a stream), our code, field, message."""

    status: int | None
    code: str | None
    field: str | None
    message: str


class Door:
    """A door. `spelling` is how its dialect calls fields of the intermediate form."""

    name: str
    dialect: str
    failures: Failures
    spelling: ClassVar[Mapping[str, str]] = {}

    async def ask(self, model: str, wish: Wish) -> Told:
        """Make a call. Raises NoWords for what the dialect cannot ask for."""
        raise NotImplementedError

    def problem(self, error: Exception) -> Problem:
        """What the client's exception says."""
        raise NotImplementedError

    async def embed(self, model: str, texts: str | list[str], **more: Any) -> list[list[float]]:
        """Vectors."""
        raise NoWords

    async def embed_packed(self, model: str, text: str) -> str:
        """A vector as base64."""
        raise NoWords

    async def count(self, model: str, wish: Wish) -> int:
        """How many tokens a request has."""
        raise NoWords

    async def models(self) -> list[str]:
        """The names of all models."""
        raise NoWords

    async def model(self, name: str) -> str:
        """The name of one model, retrieved."""
        raise NoWords

    def spelled(self, field: str) -> str:
        """A field of the intermediate form as this door calls it."""
        return self.spelling.get(field, field)
