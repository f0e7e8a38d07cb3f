"""Asking a provider whether it takes a key, where only a yes will do."""

from collections.abc import Callable
from typing import Final

import structlog

from model_service.kernel.errors import InvalidInput, ProviderUnreachable
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import ProviderGate

log = structlog.get_logger(__name__)

#: Seconds a caller should wait before asking again about a provider that could not be asked.
PROVIDER_RETRY_AFTER: Final = 10


class Verifier:
    """Asks about values, and lets the meters hear of each verdict."""

    def __init__(self, gate: ProviderGate, on_verdict: Callable[[Provider, Verdict], None]) -> None:
        self._gate = gate
        self._on_verdict = on_verdict

    async def ask(
        self,
        provider: Provider,
        value: Secret[str],
        endpoint: str | None,
        *,
        is_checked: bool = True,
    ) -> Verdict:
        """What the provider says of the value. Never raises for what upstream does.

        A value that is not checked is fine, and is sent to nobody.
        """
        verdict = Verdict.VALID
        if is_checked:
            verdict = await self._gate.validate(provider, value, endpoint)
        self._on_verdict(provider, verdict)
        log.info("key validated", provider=provider.value, verdict=verdict.value)
        return verdict

    async def require_valid(
        self,
        provider: Provider,
        value: Secret[str],
        endpoint: str | None,
        *,
        is_checked: bool = True,
    ) -> None:
        """Go on only with a value that the provider takes.

        Raises:
            InvalidInput: the provider refuses it.
            ProviderUnreachable: the provider could not be asked.
        """
        verdict = await self.ask(provider, value, endpoint, is_checked=is_checked)
        if verdict is Verdict.INVALID:
            raise InvalidInput(f"Invalid API key for provider '{provider}'")
        if not verdict.is_definite:
            raise unreachable(provider, verdict)


def unreachable(provider: Provider, verdict: Verdict) -> ProviderUnreachable:
    """What to say when the verdict is neither yes nor no."""
    return ProviderUnreachable(
        f"Provider '{provider}' could not be asked ({verdict.value}); nothing was changed",
        retry_after=PROVIDER_RETRY_AFTER,
    )
