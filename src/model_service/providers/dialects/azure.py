"""Azure OpenAI's v1 API, below an Azure resource's own host.

Source: https://learn.microsoft.com/azure/ai-foundry/openai/latest
"""

import re
from typing import Final

from model_service.kernel.provider import Verdict
from model_service.providers.base import Answer, KeyHeader, ModelPage, Question
from model_service.providers.listing import openai_models

#: Keys are 32 hexadecimal digits or 84 letters and digits; those of a gateway before Azure may
#: have `-` and `_` as well.
KEY_FORMAT: Final = re.compile(r"[A-Za-z0-9_-]{20,}")

_MODELS: Final = Question("GET", "/openai/v1/models")


class Azure:
    """Lists base models, not deployments: those only Azure's management API knows."""

    key_header = KeyHeader("api-key")

    def validation(self) -> Question:
        """The listing: free of charge.

        A wrong key, and a key of another resource, gets 401. A resource that does not exist
        has no host: its name does not resolve.
        """
        return _MODELS

    def judge(self, answer: Answer) -> Verdict:
        """A 403 is a resource's network rules, or a right the key has not."""
        return Verdict.VALID if answer.status == 403 else Verdict.UNEXPECTED_ANSWER

    def listing(self, cursor: str | None) -> Question:  # noqa: ARG002 - there is but one page
        """The listing, which has no pages."""
        return _MODELS

    def page(self, document: object) -> ModelPage:
        """All base models. Raises MalformedListing."""
        return ModelPage(openai_models(document))
