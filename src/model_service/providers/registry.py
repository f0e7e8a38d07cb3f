"""The providers: one row each, and what the service asks of them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

from model_service.kernel.errors import (
    EgressRefused,
    FieldFault,
    InvalidInput,
    StartupFault,
    UpstreamError,
)
from model_service.kernel.provider import OfferedModel, Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.asking import ask, knock
from model_service.providers.base import ProviderSpec
from model_service.providers.dialects.anthropic.listing import Anthropic
from model_service.providers.dialects.azure import KEY_FORMAT, Azure
from model_service.providers.dialects.google.listing import Google
from model_service.providers.dialects.ollama.listing import Ollama
from model_service.providers.dialects.openai import OpenAI
from model_service.providers.egress import EgressPolicy, vetted_endpoint
from model_service.providers.endpoint import Endpoint, parse_endpoint
from model_service.providers.errors import (
    listing_error,
    unreachable,
    verdict_of_answer,
    verdict_of_error,
)
from model_service.providers.key_endpoints import any_allowed, azure_resource, canonical
from model_service.providers.listing import MOST_MODELS, MalformedListing
from model_service.providers.transport import Transport
from model_service.providers.vendors import VENDORS, Vendor, VendorDialect

#: Every provider. An OpenAI-compatible vendor is a row of `vendors`, or one more line here if it
#: is to be a provider of its own (docs/adding-a-provider.md).
SPECS: Final[Mapping[Provider, ProviderSpec]] = MappingProxyType(
    {
        Provider.OPENAI: ProviderSpec(
            dialect=OpenAI(),
            base_url_variable="OPENAI_BASE_URL",
            validates_keys=True,
            needs_key=True,
        ),
        Provider.ANTHROPIC: ProviderSpec(
            dialect=Anthropic(),
            base_url_variable="ANTHROPIC_BASE_URL",
            validates_keys=True,
            needs_key=True,
        ),
        Provider.GOOGLE: ProviderSpec(
            dialect=Google(),
            base_url_variable="GOOGLE_BASE_URL",
            validates_keys=True,
            needs_key=True,
        ),
        Provider.AZURE: ProviderSpec(
            dialect=Azure(),
            endpoint_rule=azure_resource,
            key_format=KEY_FORMAT,
            validates_keys=True,
            needs_key=True,
        ),
        Provider.OLLAMA: ProviderSpec(
            dialect=Ollama(), base_url_variable="OLLAMA_BASE_URL", endpoint_rule=any_allowed
        ),
        Provider.CUSTOM: ProviderSpec(dialect=OpenAI(), endpoint_rule=any_allowed),
    }
)

#: Seconds for asking about a key, everything included (API.md, "How each provider is asked").
VALIDATION_SECONDS: Final = 5.0
#: Seconds for a whole listing, all its pages included.
LISTING_SECONDS: Final = 10.0
#: At a thousand models a page no provider needs more.
MOST_PAGES: Final = 20


@dataclass(frozen=True, slots=True)
class BaseUrls:
    """Where the operator says the providers are. `openai` ends in the API's version."""

    openai: str
    anthropic: str
    google: str
    ollama: str

    def by_variable(self) -> Mapping[str, str]:
        """The same, by the environment variables' names."""
        return {f"{url.name.upper()}_BASE_URL": getattr(self, url.name) for url in fields(self)}


class Providers:
    """Asks the providers: about keys, about models, and whether they are there."""

    def __init__(
        self,
        transport: Transport,
        policy: EgressPolicy,
        urls: BaseUrls,
        *,
        specs: Mapping[Provider, ProviderSpec] = SPECS,
        vendors: Mapping[str, Vendor] = VENDORS,
        validation_seconds: float = VALIDATION_SECONDS,
        listing_seconds: float = LISTING_SECONDS,
    ) -> None:
        """The transport stays its owner's to close. `vendors` are the presets of CUSTOM keys.

        Raises:
            StartupFault: with a sentence for each base URL that is malformed.
        """
        self._transport = transport
        self._policy = policy
        self._specs = specs
        self._validation_seconds = validation_seconds
        self._listing_seconds = listing_seconds
        self._addresses = operator_addresses(urls, policy, specs)
        self._presets = {
            preset: canonical(parse_endpoint(vendor.base_url)) for preset, vendor in vendors.items()
        }
        self._vendors = {
            self._presets[preset]: VendorDialect(vendor) for preset, vendor in vendors.items()
        }

    def origins(self) -> Mapping[Provider, str]:
        """The origins of the providers that have one, set by the operator for most."""
        return {provider: address.origin for provider, address in self._addresses.items()}

    def checked_endpoint(self, provider: Provider, endpoint: str) -> str:
        """A key's `metadata.endpoint` in canonical form.

        Raises:
            InvalidInput: the provider's keys may not be sent there. It says why, and does not
                repeat the text, which may hold a password.
        """
        try:
            return canonical(self._key_endpoint(provider, endpoint))
        except EgressRefused as error:
            raise InvalidInput(errors=[FieldFault("metadata.endpoint", error.message)]) from None

    def preset_endpoint(self, preset: str) -> str:
        """Where the keys of a preset are for, in canonical form.

        Raises:
            InvalidInput: there is no such preset. It lists those that there are.
        """
        endpoint = self._presets.get(preset)
        if endpoint is None:
            known = ", ".join(sorted(self._presets))
            raise InvalidInput(errors=[FieldFault("metadata.preset", f"must be one of {known}")])
        return endpoint

    async def validate(self, provider: Provider, key: Secret[str], endpoint: str | None) -> Verdict:
        """Ask the provider whether it takes the key. Never raises for what upstream does.

        A key that is for no known address is judged by its form. That of a CUSTOM key is known
        if it is a vendor's.
        """
        spec, vendor = self._specs[provider], self._vendor(provider, endpoint)
        if vendor is None and not spec.validates_keys:
            return Verdict.VALID
        if not spec.may_be_key(key):
            return Verdict.INVALID
        if endpoint is None and provider not in self._addresses:
            return Verdict.VALID
        dialect = spec.dialect if vendor is None else vendor
        deadline = asyncio.get_running_loop().time() + self._validation_seconds
        try:
            address = self._address(provider, endpoint)
            if vendor is not None:
                address = vendor.asked_at(address)
            question, credential = dialect.validation(), spec.credential(key)
            answer = await ask(self._transport, address, question, credential, deadline)
        except UpstreamError as error:
            return verdict_of_error(error)
        return verdict_of_answer(answer, dialect)

    async def list_models(
        self, provider: Provider, key: Secret[str] | None, endpoint: str | None
    ) -> list[OfferedModel]:
        """Every model that the provider offers to the holder of the key, in its order.

        `endpoint` is the key's own; None means the address the operator set.

        Raises:
            InvalidInput: there is neither.
            KeyRefused: the provider does not take the key, or does not let it list models.
            ProviderUnreachable: anything else. Names the provider and the verdict.
        """
        if endpoint is None and provider not in self._addresses:
            raise InvalidInput(f"The key for provider '{provider}' has no metadata.endpoint to ask")
        try:
            return await self._list(provider, key, endpoint)
        except UpstreamError as error:
            verdict = verdict_of_error(error)
        except MalformedListing:
            verdict = Verdict.UNEXPECTED_ANSWER
        raise unreachable(provider, verdict)

    async def reachable(self, provider: Provider) -> Verdict:
        """VALID when the operator-set address answers over HTTP, whatever it says.

        No key is sent. Raises KeyError for a provider that has no such address.
        """
        address = self._addresses[provider]
        try:
            await knock(self._transport, address, self._validation_seconds)
        except UpstreamError as error:
            return verdict_of_error(error)
        return Verdict.VALID

    def _vendor(self, provider: Provider, endpoint: str | None) -> VendorDialect | None:
        """Who serves CUSTOM models at a stored endpoint, if it is one of the vendors."""
        if provider is not Provider.CUSTOM or endpoint is None:
            return None
        return self._vendors.get(endpoint)

    def _key_endpoint(self, provider: Provider, endpoint: str) -> Endpoint:
        """Raises EgressRefused."""
        rule = self._specs[provider].endpoint_rule
        if rule is None:
            raise EgressRefused(f"must not be given: the operator sets where {provider} is")
        return rule(endpoint, self._policy)

    def _address(self, provider: Provider, endpoint: str | None) -> Endpoint:
        """Where to ask. A stored endpoint is judged anew: the policy may have changed since.

        Raises EgressRefused.
        """
        if endpoint is None:
            return self._addresses[provider]
        return self._key_endpoint(provider, endpoint)

    async def _list(
        self, provider: Provider, key: Secret[str] | None, endpoint: str | None
    ) -> list[OfferedModel]:
        spec, address = self._specs[provider], self._address(provider, endpoint)
        dialect = self._vendor(provider, endpoint) or spec.dialect
        credential = spec.credential(key)
        deadline = asyncio.get_running_loop().time() + self._listing_seconds
        models: list[OfferedModel] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            question = dialect.listing(cursor)
            answer = await ask(self._transport, address, question, credential, deadline)
            if not answer.is_success:
                raise listing_error(provider, answer, dialect, keyed=bool(credential))
            page = dialect.page(answer.document)
            models += page.models
            cursor = page.next_cursor
            if cursor is None or len(models) > MOST_MODELS:
                break
        if cursor is not None or len(models) > MOST_MODELS:
            # A listing cut short would pass for the whole.
            raise MalformedListing
        return models


def operator_addresses(
    urls: BaseUrls, policy: EgressPolicy, specs: Mapping[Provider, ProviderSpec] = SPECS
) -> dict[Provider, Endpoint]:
    """The operator-set addresses. Raises StartupFault naming each variable that is at fault."""
    given = urls.by_variable()
    addresses: dict[Provider, Endpoint] = {}
    faults: list[str] = []
    for provider, spec in specs.items():
        variable = spec.base_url_variable
        url = spec.base_url if variable is None else given[variable]
        if url is None:
            continue
        try:
            addresses[provider] = vetted_endpoint(url, policy, trusted=True)
        except EgressRefused as error:
            faults.append(f"{variable or provider} is malformed: {error.message}")
    if faults:
        raise StartupFault(*faults)
    return addresses
