"""How many keys somebody may have checked with their providers.

Unlimited, whoever may store keys could try out stolen ones, and have the providers take this
service for an attacker.
"""

import math
from typing import Final

from model_service.kernel.caller import Caller, current_caller
from model_service.kernel.errors import TooManyRequests
from model_service.kernel.provider import Verdict
from model_service.kernel.rate import RateLimits, source_of
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import UNCHECKED, ProviderGate

#: An administrator, who stores the keys of many users, may have ten times as many checked.
_ADMINISTRATORS_SHARE: Final = 0.1


class LimitedGate:
    """`ProviderGate` that asks about so many keys a minute for one user, or one address.

    What the service does by itself is not limited.
    """

    def __init__(self, gate: ProviderGate, limits: RateLimits) -> None:
        self._gate = gate
        self._limits = limits

    def checked_endpoint(self, provider: Provider, endpoint: str) -> str:
        """The endpoint in canonical form. Raises `InvalidInput` when keys may not go there."""
        return self._gate.checked_endpoint(provider, endpoint)

    async def validate(self, provider: Provider, key: Secret[str], endpoint: str | None) -> Verdict:
        """Ask the provider whether it takes the key.

        Raises:
            TooManyRequests: the caller has had too many checked.
        """
        caller = current_caller()
        if caller.request_id is not None and provider not in UNCHECKED:
            self._spend(caller)
        return await self._gate.validate(provider, key, endpoint)

    def _spend(self, caller: Caller) -> None:
        is_administrator = caller.actor.partition(":")[0] == "administrator"
        if caller.on_behalf_of is not None:
            who = f"user:{caller.on_behalf_of}"
        elif caller.actor.startswith("user:"):
            who = caller.actor
        else:
            who = source_of(caller.client)
        wait = self._limits.spend(who, _ADMINISTRATORS_SHARE if is_administrator else 1.0)
        if wait > 0:
            raise TooManyRequests(
                "Too many keys were checked with their providers", retry_after=math.ceil(wait)
            )
