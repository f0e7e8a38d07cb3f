"""How many keys somebody may have checked with their providers.

Unlimited, whoever may store keys could try out stolen ones, and have the providers take this
service for an attacker.
"""

import math
from dataclasses import replace
from typing import Final

from model_service.kernel.audit import AuditEvent, Decision, Denials
from model_service.kernel.caller import Caller, current_caller
from model_service.kernel.errors import TooManyRequests
from model_service.kernel.provider import Verdict
from model_service.kernel.rate import RateLimits, source_of
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import UNCHECKED, ProviderGate

#: An administrator, who stores the keys of many users, may have ten times as many checked.
_ADMINISTRATORS_SHARE: Final = 0.1


class ValidationLimit:
    """So many checks a minute for whoever asks, and so many for the user they are for.

    Both must have room: a service that names ever other users has no more than one that names
    none, and a user has no more by way of several services. What the service does by itself is
    not limited. Each process counts for itself.
    """

    def __init__(self, limits: RateLimits, denials: Denials) -> None:
        """`denials` hears of those who were refused."""
        self._limits = limits
        self._denials = denials

    async def admit(self, check: AuditEvent) -> None:
        """Let a check begin, or note that it was refused; `check` says what it would have been.

        Raises:
            TooManyRequests: the caller, or the user it names, has had too many.
        """
        try:
            self.spend()
        except TooManyRequests as refusal:
            await self._denials.note(replace(check, decision=Decision.DENY, reason=refusal.code))
            raise

    def spend(self) -> None:
        """As `admit`, where the caller writes down what comes of it.

        Raises:
            TooManyRequests: the caller, or the user it names, has had too many.
        """
        caller = current_caller()
        if caller.request_id is None:
            return
        is_administrator = caller.actor.partition(":")[0] == "administrator"
        share = _ADMINISTRATORS_SHARE if is_administrator else 1.0
        wait = self._limits.spend_all(_buckets(caller), share)
        if wait > 0:
            raise TooManyRequests(
                "Too many keys were checked with their providers", retry_after=math.ceil(wait)
            )


class LimitedGate:
    """`ProviderGate` within the limit."""

    def __init__(self, gate: ProviderGate, limit: ValidationLimit) -> None:
        self._gate = gate
        self._limit = limit

    def checked_endpoint(self, provider: Provider, endpoint: str) -> str:
        """The endpoint in canonical form. Raises `InvalidInput` when keys may not go there."""
        return self._gate.checked_endpoint(provider, endpoint)

    async def validate(self, provider: Provider, key: Secret[str], endpoint: str | None) -> Verdict:
        """Ask the provider whether it takes the key.

        Raises:
            TooManyRequests: the caller, or the user it names, has had too many checked.
        """
        # Without an endpoint there is nobody to be asked about these.
        if endpoint is not None or provider not in UNCHECKED:
            self._limit.spend()
        return await self._gate.validate(provider, key, endpoint)


def _buckets(caller: Caller) -> tuple[str, ...]:
    """Where a check counts: with whoever asks, and with the user it is for."""
    # A token has its id in the actor. Those without one share a secret: their address counts.
    own = caller.actor if ":" in caller.actor else source_of(caller.client)
    if caller.on_behalf_of is None:
        return (own,)
    return (own, f"user:{caller.on_behalf_of}")
