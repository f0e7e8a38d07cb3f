"""Anthropic's models, and how a key is tried.

Sources: https://platform.claude.com/docs/en/api/messages, .../api/models/list, .../api/errors
"""

from typing import Final
from urllib.parse import quote

import orjson

from model_service.kernel.provider import OfferedModel, Verdict
from model_service.providers.base import Answer, Headers, KeyHeader, ModelPage, Question
from model_service.providers.listing import (
    MalformedListing,
    cursor,
    display_name,
    entries,
    iso_moment,
    model_id,
    tokens,
)

_VERSION: Final[Headers] = (("anthropic-version", "2023-06-01"),)

# The cheapest current model, at 0.10 and 0.50 dollars for a million tokens in and out
# (https://platform.claude.com/docs/en/about-claude/models/overview, November 2026). When it is
# retired, `judge` still tells a good key from a bad one.
_CHEAPEST: Final = "claude-haiku-5-5"

_VALIDATION: Final = Question(
    "POST",
    "/v1/messages",
    (*_VERSION, ("content-type", "application/json")),
    orjson.dumps(
        {
            "model": _CHEAPEST,
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "."}],
        }
    ),
)

_PAGE_SIZE: Final = 1000  # the most it gives at once


class Anthropic:
    """Speaks below `https://api.anthropic.com`."""

    key_header = KeyHeader("x-api-key")

    def validation(self) -> Question:
        """One token of the cheapest model."""
        return _VALIDATION

    def judge(self, answer: Answer) -> Verdict:
        """Keys are checked first, so whoever hears of anything else has a good one.

        That is so for a request found wrong (as when the credit is used up), for a missing
        permission, and for a model that is gone, though not for a route that is not there.
        Its 403 of the kind `forbidden` goes to countries it does not serve, whatever the key.
        """
        kind, message = answer.error.get("type"), answer.error.get("message")
        match answer.status:
            case 400:
                known = True
            case 403:
                known = kind == "permission_error"
            case 404:
                names_model = isinstance(message, str) and _CHEAPEST in message
                known = kind == "not_found_error" and names_model
            case _:
                known = False
        return Verdict.VALID if known else Verdict.UNEXPECTED_ANSWER

    def listing(self, cursor: str | None) -> Question:
        """A page of a thousand models."""
        after = f"&after_id={quote(cursor, safe='')}" if cursor else ""
        return Question("GET", f"/v1/models?limit={_PAGE_SIZE}{after}", _VERSION)

    def page(self, document: object) -> ModelPage:
        """The models of a page. Raises MalformedListing."""
        models = tuple(
            OfferedModel(
                id=model_id(entry, "id"),
                name=display_name(entry, "display_name") or model_id(entry, "id"),
                max_tokens=tokens(entry, "max_tokens"),
                context_window=tokens(entry, "max_input_tokens"),
                created=iso_moment(entry, "created_at"),
            )
            for entry in entries(document, "data")
        )
        if not isinstance(document, dict):
            raise MalformedListing
        return ModelPage(models, cursor(document.get("last_id")) if _has_more(document) else None)


def _has_more(document: dict[str, object]) -> bool:
    return document.get("has_more") is True
