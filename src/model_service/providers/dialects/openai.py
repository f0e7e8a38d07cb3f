"""The OpenAI API, and what every OpenAI-compatible vendor has of it.

Source: https://platform.openai.com/docs/api-reference/models/list
"""

from typing import Final

from model_service.kernel.provider import Verdict
from model_service.providers.base import Answer, KeyHeader, ModelPage, Question
from model_service.providers.listing import openai_models

_MODELS: Final = Question("GET", "/models")

# OpenAI's 403 to whoever calls from a country it does not serve; it comes before the key is
# looked at. Any other 403 is that of a restricted key.
_COUNTRY_REFUSED: Final = "unsupported_country_region_territory"


class OpenAI:
    """Speaks below a base URL that ends in the version, such as `https://api.openai.com/v1`."""

    key_header = KeyHeader("authorization", "Bearer ")

    def validation(self) -> Question:
        """The listing: free of charge."""
        return _MODELS

    def judge(self, answer: Answer) -> Verdict:
        """A 403 is a key that is real but restricted."""
        if answer.status == 403 and answer.error.get("code") != _COUNTRY_REFUSED:
            return Verdict.VALID
        return Verdict.UNEXPECTED_ANSWER

    def listing(self, cursor: str | None) -> Question:  # noqa: ARG002 - there is but one page
        """The listing, which has no pages."""
        return _MODELS

    def page(self, document: object) -> ModelPage:
        """All models. Raises MalformedListing."""
        return ModelPage(openai_models(document))
