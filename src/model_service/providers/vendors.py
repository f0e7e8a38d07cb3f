"""OpenAI-compatible vendors that a CUSTOM model or key names as its preset: one row each.

All of them speak chat completions below `base_url` and take a key as OpenAI does. A row says
where a vendor is, and in what it differs from the others; facts are as of November 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from typing_extensions import override

from model_service.kernel.provider import Verdict
from model_service.providers.base import Answer, Question
from model_service.providers.dialects.openai import OpenAI
from model_service.providers.endpoint import Endpoint

_MAX_TOKENS: Final = "max_tokens"
_MAX_COMPLETION_TOKENS: Final = "max_completion_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One vendor.

    `validation` is the path that answers good keys alone, below the base URL or, with
    `asked_at_origin`, below the origin; `refusals` are the statuses beside 401 with which it
    says that a key is none. `max_tokens_field` is how it calls the bound of an answer,
    `renamed` and `omitted` are fields of OpenAI's that it knows by another name or refuses.
    `cache_marks`: it takes `cache_control`. `takes_prefix`: it goes on with an answer whose
    beginning is the last message, marked as `prefix`. `book` is the price book's name for it.
    """

    base_url: str
    book: str
    validation: str = "/models"
    asked_at_origin: bool = False
    refusals: frozenset[int] = frozenset()
    max_tokens_field: str = _MAX_TOKENS
    renamed: Mapping[str, str] = field(default_factory=dict)
    omitted: frozenset[str] = frozenset()
    cache_marks: bool = False
    takes_prefix: bool = False

    def adapt(self, body: dict[str, Any]) -> None:
        """Bring a request for chat completions into the vendor's form.

        It may be a caller's own, passed through: what the vendor has under another name, or
        gives unasked, is no reason to refuse it.
        """
        other = (
            _MAX_TOKENS
            if self.max_tokens_field == _MAX_COMPLETION_TOKENS
            else (_MAX_COMPLETION_TOKENS)
        )
        if other in body:
            body.setdefault(self.max_tokens_field, body.pop(other))
        for name, its_name in self.renamed.items():
            if name in body:
                body.setdefault(its_name, body.pop(name))
        for name in self.omitted:
            body.pop(name, None)
        if self.takes_prefix:
            _mark_prefix(body)


def _mark_prefix(body: dict[str, Any]) -> None:
    """Mark an answer's beginning, which without that would be refused."""
    messages = body.get("messages")
    last = messages[-1] if messages and isinstance(messages, list) else None
    if isinstance(last, dict) and last.get("role") == "assistant":
        last.setdefault("prefix", True)


class VendorDialect(OpenAI):
    """How a vendor is asked about keys and models."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._validation = Question("GET", vendor.validation)

    @override
    def validation(self) -> Question:
        """What the vendor answers to good keys alone."""
        return self._validation

    @override
    def judge(self, answer: Answer) -> Verdict:
        """What its documents say of keys; no other answer says anything for sure."""
        if answer.status in self._vendor.refusals:
            return Verdict.INVALID
        return Verdict.UNEXPECTED_ANSWER

    def asked_at(self, endpoint: Endpoint) -> Endpoint:
        """Where the question about a key goes, if `endpoint` is where calls go."""
        return replace(endpoint, path_prefix="") if self._vendor.asked_at_origin else endpoint


#: Every preset. To add a vendor, add its row (docs/adding-a-provider.md).
VENDORS: Final[Mapping[str, Vendor]] = MappingProxyType(
    {
        # https://docs.mistral.ai/api: unknown fields are refused with 422, `stream_options` and
        # `max_completion_tokens` among them; the last piece of a stream has the usage anyway.
        "mistral": Vendor(
            base_url="https://api.mistral.ai/v1",
            book="mistral",
            renamed={"seed": "random_seed"},
            omitted=frozenset({"stream_options"}),
            takes_prefix=True,
        ),
        # https://api-docs.deepseek.com: its address has no version. Answers are gone on with at
        # another one alone (/guides/chat_prefix_completion), so not here.
        "deepseek": Vendor(base_url="https://api.deepseek.com", book="deepseek"),
        # https://docs.x.ai/developers/debugging: a wrong key gets 400, a missing one 401.
        "xai": Vendor(
            base_url="https://api.x.ai/v1",
            book="x-ai",
            refusals=frozenset({400}),
            max_tokens_field=_MAX_COMPLETION_TOKENS,
        ),
        # https://console.groq.com/docs/openai and its API reference
        "groq": Vendor(
            base_url="https://api.groq.com/openai/v1",
            book="groq",
            max_tokens_field=_MAX_COMPLETION_TOKENS,
        ),
        # https://openrouter.ai/docs/api-reference: everybody may list models, keys or no keys.
        "openrouter": Vendor(
            base_url="https://openrouter.ai/api/v1",
            book="openrouter",
            validation="/key",
            cache_marks=True,
        ),
        # https://docs.together.ai/docs/inference/openai-compatibility
        "together": Vendor(base_url="https://api.together.ai/v1", book="together"),
        # https://docs.fireworks.ai/api-reference/list-accounts: /models fails with 500 for
        # accounts that have deployed none.
        "fireworks": Vendor(
            base_url="https://api.fireworks.ai/inference/v1",
            book="fireworks",
            validation="/v1/accounts?pageSize=1",
            asked_at_origin=True,
        ),
    }
)


def base_urls(vendors: Mapping[str, Vendor]) -> Mapping[str, str]:
    """Where each preset's models are served."""
    return {preset: vendor.base_url for preset, vendor in vendors.items()}


def books(vendors: Mapping[str, Vendor]) -> Mapping[str, str]:
    """The price book's name for whoever serves models at a base URL."""
    return {vendor.base_url: vendor.book for vendor in vendors.values()}
