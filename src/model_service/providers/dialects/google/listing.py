"""The Gemini API.

Sources: https://ai.google.dev/api/models, and https://cloud.google.com/apis/design/errors for
the details of an error (google.rpc.Status, google.rpc.ErrorInfo).
"""

from typing import Final
from urllib.parse import quote

from model_service.kernel.provider import OfferedModel, Verdict
from model_service.providers.base import Answer, KeyHeader, ModelPage, Question
from model_service.providers.listing import (
    Entry,
    cursor,
    description,
    display_name,
    entries,
    model_id,
    tokens,
)

_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_KEY_INVALID: Final = "API_KEY_INVALID"  # of google.api.ErrorReason; an expired key has it too
_MOST_DETAILS: Final = 32  # far more than any answer has

_PAGE_SIZE: Final = 1000  # the most it gives at once
_COLLECTION: Final = "models/"
_STREAMS: Final = "streamGenerateContent"
# `predict` and `bidiGenerateContent` (images, live audio) are not served here.
_SERVED: Final = frozenset(("generateContent", _STREAMS, "embedContent"))


class Google:
    """Speaks below `https://generativelanguage.googleapis.com`."""

    key_header = KeyHeader("x-goog-api-key")

    def validation(self) -> Question:
        """The shortest listing: free of charge."""
        return Question("GET", "/v1beta/models?pageSize=1")

    def judge(self, answer: Answer) -> Verdict:
        """A bad key gets 400 with a reason of its own; one this API is closed to gets 403.

        Other 400s, as for a country that is not served, say nothing of the key.
        """
        if answer.status == 403 or (answer.status == 400 and _names_bad_key(answer)):
            return Verdict.INVALID
        return Verdict.UNEXPECTED_ANSWER

    def listing(self, cursor: str | None) -> Question:
        """A page of a thousand models."""
        token = f"&pageToken={quote(cursor, safe='')}" if cursor else ""
        return Question("GET", f"/v1beta/models?pageSize={_PAGE_SIZE}{token}")

    def page(self, document: object) -> ModelPage:
        """Those models of a page that generate content or embed. Raises MalformedListing."""
        token = document.get("nextPageToken") if isinstance(document, dict) else None
        if token and isinstance(document, dict) and "models" not in document:
            return ModelPage((), cursor(token))  # a page may be empty before the last
        models = tuple(
            _model(entry) for entry in entries(document, "models") if _SERVED & _methods(entry)
        )
        return ModelPage(models, cursor(token) if token else None)


def _names_bad_key(answer: Answer) -> bool:
    """Whether the error says so, in an ErrorInfo among its details or in plain words."""
    details, message = answer.error.get("details"), answer.error.get("message")
    reasons = [
        detail.get("reason")
        for detail in (details[:_MOST_DETAILS] if isinstance(details, list) else ())
        if isinstance(detail, dict) and detail.get("@type") == _ERROR_INFO
    ]
    return _KEY_INVALID in reasons or (isinstance(message, str) and _KEY_INVALID in message)


def _methods(entry: Entry) -> frozenset[str]:
    methods = entry.get("supportedGenerationMethods")
    named = methods if isinstance(methods, list) else ()
    return frozenset(method for method in named if isinstance(method, str))


def _model(entry: Entry) -> OfferedModel:
    identifier = model_id(entry, "name").removeprefix(_COLLECTION)
    return OfferedModel(
        id=identifier,
        name=display_name(entry, "displayName") or identifier,
        description=description(entry),
        max_tokens=tokens(entry, "outputTokenLimit"),
        # Not False without it: the listing names the unary method alone for models that stream.
        supports_streaming=True if _STREAMS in _methods(entry) else None,
        context_window=tokens(entry, "inputTokenLimit"),
    )
