"""The errors of the Gemini API: google.rpc.Status, as the live API fills it in."""

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

SERVICE: Final = "generativelanguage.googleapis.com"
TYPE: Final = "type.googleapis.com/google.rpc."

_KEY_NOT_VALID: Final = "API key not valid. Please pass a valid API key."
OVERLOADED: Final = "The model is overloaded. Please try again later."


class InvalidArgument(Exception):
    """A request the API cannot read; carries the message and the field's name, if it knows it."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class Refused(Exception):
    """A request that was read and is refused with 400; the text is the API's message."""


def refuse(where: str, text: str) -> NoReturn:
    """Refuse what stands at `where` in a request to generate, as the API's checks do."""
    raise Refused(f"* GenerateContentRequest.{where}: {text}\n")


def status(
    code: int,
    name: str,
    message: str,
    details: Sequence[Mapping[str, object]] = (),
) -> dict[str, object]:
    """An error's body; `name` is one of google.rpc.Code."""
    error: dict[str, object] = {"code": code, "message": message, "status": name}
    if details:
        error["details"] = details
    return {"error": error}


def bad_request(error: InvalidArgument) -> dict[str, object]:
    """The body for a request that could not be read."""
    violation = {"description": error.message}
    if error.field:
        violation = {"field": error.field, **violation}
    details = [{"@type": f"{TYPE}BadRequest", "fieldViolations": [violation]}]
    return status(400, "INVALID_ARGUMENT", error.message, details)


def key_refused(echoed: str | None = None) -> dict[str, object]:
    """The body for a key that is none."""
    message = _KEY_NOT_VALID if echoed is None else f"{_KEY_NOT_VALID} Key: {echoed}"
    details = reason("API_KEY_INVALID", {"service": SERVICE}, message)
    return status(400, "INVALID_ARGUMENT", message, details)


def reason(reason: str, metadata: Mapping[str, str], message: str) -> list[Mapping[str, object]]:
    """The details of a refusal: google.rpc.ErrorInfo and the message in the caller's language."""
    return [
        {
            "@type": f"{TYPE}ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
            "metadata": metadata,
        },
        {"@type": f"{TYPE}LocalizedMessage", "locale": "en-US", "message": message},
    ]


def exhausted(message: str, retry_after: int) -> dict[str, object]:
    """The body of a 429."""
    retry = {"@type": f"{TYPE}RetryInfo", "retryDelay": f"{retry_after}s"}
    return status(429, "RESOURCE_EXHAUSTED", message, [retry])
