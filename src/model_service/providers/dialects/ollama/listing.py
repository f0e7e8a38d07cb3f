"""Ollama's own API.

Source: https://docs.ollama.com/api/tags
"""

from typing import Final

from model_service.kernel.provider import OfferedModel, Verdict
from model_service.providers.base import Answer, KeyHeader, ModelPage, Question
from model_service.providers.listing import display_name, entries, model_id

_TAGS: Final = Question("GET", "/api/tags")


class Ollama:
    """Speaks below a server's origin, such as `http://localhost:11434`."""

    # Ollama looks at no key; ollama.com and proxies before a server do.
    key_header = KeyHeader("authorization", "Bearer ")

    def validation(self) -> Question:
        """The pulled models."""
        return _TAGS

    def judge(self, answer: Answer) -> Verdict:  # noqa: ARG002 - nothing there speaks of a key
        """Its 403 is about the `Host` and `Origin` headers."""
        return Verdict.UNEXPECTED_ANSWER

    def listing(self, cursor: str | None) -> Question:  # noqa: ARG002 - there is but one page
        """The pulled models, which have no pages."""
        return _TAGS

    def page(self, document: object) -> ModelPage:
        """All pulled models. Raises MalformedListing."""
        return ModelPage(
            tuple(
                OfferedModel(
                    id=model_id(entry, "model", "name"),
                    name=display_name(entry, "name") or model_id(entry, "model", "name"),
                )
                for entry in entries(document, "models")
            )
        )
