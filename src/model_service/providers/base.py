"""What a provider is to this service: a frozen row of facts and the dialect it speaks.

A dialect is pure: it says what to ask and reads what was answered. Sending, timeouts,
limits and the egress guard are the registry's and the transport's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from model_service.kernel.provider import OfferedModel, Verdict
from model_service.kernel.secret import Secret
from model_service.providers.egress import EgressPolicy
from model_service.providers.endpoint import Endpoint

Headers = tuple[tuple[str, str], ...]

#: The key of a provider that needs none (API.md: "`*` is a fine key").
NO_KEY: Final = "*"


@dataclass(frozen=True, slots=True)
class KeyHeader:
    """The header that carries a provider's keys; `scheme` stands before the key."""

    name: str
    scheme: str = ""

    def carrying(self, key: Secret[str]) -> Headers:
        """The header with the key in it. Nothing else may be done with the result but send it."""
        return ((self.name, self.scheme + key.reveal()),)


@dataclass(frozen=True, slots=True)
class Question:
    """A request to a provider, without its credential. `path` is below the base URL."""

    method: str
    path: str
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider answered, as far as it was read.

    `document` is the parsed body, empty for plain text or nothing: None when it is no API's,
    as a page of HTML is not, or when the status says enough.
    It may repeat the key, so nothing of it goes into a message or a log. `retry_after` is in
    seconds.
    """

    status: int
    document: object = field(default=None, repr=False)
    retry_after: int | None = None

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status <= 299

    @property
    def error(self) -> dict[str, object]:
        """The `error` object that most providers put into a refusal; empty when there is none."""
        error = self.document.get("error") if isinstance(self.document, dict) else None
        return error if isinstance(error, dict) else {}


@dataclass(frozen=True, slots=True)
class ModelPage:
    """A part of a provider's listing; `next_cursor` is None on the last one."""

    models: tuple[OfferedModel, ...]
    next_cursor: str | None = None


class Dialect(Protocol):
    """One provider protocol. Stateless; later it translates the gateway's calls as well."""

    @property
    def key_header(self) -> KeyHeader:
        """How a key is sent."""
        ...

    def validation(self) -> Question:
        """The cheapest question that only a good key gets an answer to."""
        ...

    def judge(self, answer: Answer) -> Verdict:
        """What a 400, 403 or 404 tells of the key; all other statuses mean the same everywhere."""
        ...

    def listing(self, cursor: str | None) -> Question:
        """The question for the models after `cursor`; None asks for the first page."""
        ...

    def page(self, document: object) -> ModelPage:
        """The models of a successful answer. Raises MalformedListing."""
        ...


EndpointRule = Callable[[str, EgressPolicy], Endpoint]
"""Decides where a provider's keys may be sent. Raises EgressRefused, saying why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """One provider. What is not stated it does not have.

    `base_url_variable` names the environment variable that sets its address; `base_url` is
    the address of a vendor that has but one. `endpoint_rule` is there when a key may name
    (`metadata.endpoint`) where it is for. `key_format` is what every key of the provider looks
    like. `validates_keys` says that the provider can be asked about a key, `needs_key` is
    false where calls without one are fine.
    """

    dialect: Dialect
    base_url_variable: str | None = None
    base_url: str | None = None
    endpoint_rule: EndpointRule | None = None
    key_format: re.Pattern[str] | None = None
    validates_keys: bool = False
    needs_key: bool = False

    def may_be_key(self, key: Secret[str]) -> bool:
        """Whether the key has the form of this provider's keys."""
        return self.key_format is None or self.key_format.fullmatch(key.reveal()) is not None

    def credential(self, key: Secret[str] | None) -> Headers:
        """The header that carries the key; none at all for no key, or a `*` that means none."""
        if key is None or (not self.needs_key and key.reveal() == NO_KEY):
            return ()
        return self.dialect.key_header.carrying(key)
