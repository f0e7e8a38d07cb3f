"""Where calls go: the operator's address, a key's own endpoint, or a model's base URL."""

from collections.abc import Mapping
from typing import Final

from model_service.kernel.errors import EgressRefused, InvalidInput
from model_service.kernel.types import Provider
from model_service.providers.base import ProviderSpec
from model_service.providers.egress import EgressPolicy, vetted_endpoint
from model_service.providers.endpoint import Endpoint
from model_service.providers.registry import SPECS

#: Addresses remembered; beyond that the text is parsed again.
MOST: Final = 4096

_Place = tuple[Provider, str | None, str | None]


class CallEndpoints:
    """Finds the address of a call. What was found once is remembered: the policy stays as it is.

    Names are resolved, and their addresses checked, by the transport at every connection.
    """

    def __init__(
        self,
        addresses: Mapping[Provider, Endpoint],
        policy: EgressPolicy,
        specs: Mapping[Provider, ProviderSpec] = SPECS,
    ) -> None:
        """`addresses` are the operator's, of the providers that have one."""
        self._addresses = addresses
        self._policy = policy
        self._specs = specs
        self._found: dict[_Place, Endpoint] = {}

    def of_call(
        self, provider: Provider, base_url: str | None, key_endpoint: str | None
    ) -> Endpoint:
        """The address for a model's base URL and a key's own endpoint.

        Raises:
            InvalidInput: there is none, or the key is for another one.
            EgressRefused: nothing may be sent there.
        """
        place = (provider, base_url, key_endpoint)
        endpoint = self._found.get(place)
        if endpoint is None:
            endpoint = self._find(provider, base_url, key_endpoint)
            if len(self._found) < MOST:
                self._found[place] = endpoint
        return endpoint

    def _find(self, provider: Provider, base_url: str | None, key_endpoint: str | None) -> Endpoint:
        rule = self._specs[provider].endpoint_rule
        if rule is None:
            # Callers and models never choose the host of a provider that the operator placed.
            return self._addresses[provider]
        of_key = None if key_endpoint is None else rule(key_endpoint, self._policy)
        if base_url is not None:
            endpoint = vetted_endpoint(base_url, self._policy)
            if of_key is not None and of_key.origin != endpoint.origin:
                raise EgressRefused("The key is for another endpoint than the model's")
            return endpoint
        if of_key is not None:
            return of_key
        if provider in self._addresses:
            return self._addresses[provider]
        raise InvalidInput(
            f"Nothing says where provider '{provider}' is: neither the model's "
            "providerSettings.baseUrl nor the key's metadata.endpoint"
        )
