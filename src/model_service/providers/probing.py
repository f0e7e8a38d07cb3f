"""Asking a provider for a sign of life, which costs no token and shows no key.

It is the question for its models, without a credential. A refusal will do: whoever says 401 is
there. A status of 500 or more, or none at all, says that it is not.
"""

from collections.abc import Mapping
from typing import Final

from model_service.kernel.errors import EgressRefused, UpstreamError
from model_service.kernel.types import Provider
from model_service.providers.base import ProviderSpec
from model_service.providers.egress import EgressPolicy, vetted_endpoint
from model_service.providers.endpoint import Endpoint
from model_service.providers.errors import verdict_of_error
from model_service.providers.messages import Limits, Timeouts, UpstreamRequest
from model_service.providers.registry import SPECS
from model_service.providers.transport import Transport

#: Seconds for all of it.
SECONDS: Final = 5.0

_TIMEOUTS: Final = Timeouts(connect=SECONDS, first_byte=SECONDS, idle=SECONDS, total=SECONDS)
_LIMITS: Final = Limits(body_bytes=1024 * 1024)
# Some vendors' firewalls turn away whoever does not name a user agent.
_HEADERS: Final = (("accept", "application/json"), ("user-agent", "model-service"))


class Probe:
    """Asks providers whether they are there."""

    def __init__(
        self,
        transport: Transport,
        policy: EgressPolicy,
        addresses: Mapping[Provider, Endpoint],
        specs: Mapping[Provider, ProviderSpec] = SPECS,
    ) -> None:
        """`addresses` are the operator's, of the providers that have one."""
        self._transport = transport
        self._policy = policy
        self._addresses = addresses
        self._specs = specs

    async def __call__(self, provider: Provider, origin: str) -> str | None:
        """None when the provider at an origin answers, else why not, in words for people."""
        try:
            endpoint = self._endpoint(provider, origin)
            question = self._specs[provider].dialect.listing(None)
            request = UpstreamRequest(
                endpoint, question.method, question.path, (*_HEADERS, *question.headers)
            )
            async with await self._transport.send(request, _TIMEOUTS, _LIMITS) as response:
                status = response.status
        except UpstreamError as error:
            return f"asked for its models it gave no answer ({verdict_of_error(error).value})"
        return None if status < 500 else f"asked for its models it answered {status}"

    def _endpoint(self, provider: Provider, origin: str) -> Endpoint:
        """Raises EgressRefused when nothing may be sent there any more."""
        address = self._addresses.get(provider)
        if address is not None and address.origin == origin:
            return address
        if self._specs[provider].endpoint_rule is None:
            raise EgressRefused("The operator sets where the provider is")
        return vetted_endpoint(origin, self._policy)
