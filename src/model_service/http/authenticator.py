"""From a request's headers to its principal, and what happens when there is none."""

import math
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final, Protocol
from uuid import UUID

from model_service.http.abuse import Refusals
from model_service.http.credentials import Credentials, Shown
from model_service.http.rules import Access, Rule, authorise
from model_service.kernel.audit import AuditEvent, Decision
from model_service.kernel.caller import Caller, current_caller, set_caller
from model_service.kernel.errors import (
    Forbidden,
    ServiceError,
    TooManyRequests,
    Unauthenticated,
)
from model_service.kernel.principal import NOBODY, Principal, Role
from model_service.kernel.rate import RateLimits, source_of

#: The bootstrap administrator, and development's callers from loopback.
_ADMINISTRATOR: Final = Principal(Role.ADMINISTRATOR)
_INTERNAL: Final = Principal(Role.SERVICE, internal=True)

#: How many times as many wrong internal secrets as other failures an address may show before
#: right ones from there are refused too. Agents behind one NAT share an address and the secret:
#: one of them that asks again and again with an old secret must not stop the others, while some
#: hundred guesses a minute find no secret of 16 characters.
INTERNAL_FACTOR: Final = 60


class Tokens(Protocol):
    """The access tokens, as the request path sees them."""

    def find(self, token: bytes) -> Principal | None:
        """Whose token it is, as far as is known in memory; None for any that is no good.

        Raises:
            DatabaseUnavailable: what is in memory is too old to be believed.
        """
        ...

    async def look_up(self, token: bytes) -> Principal | None:
        """As `find`, for a token not in memory: it may have been made elsewhere just now."""
        ...

    def claimed_id(self, token: bytes) -> UUID | None:
        """The id that a token has in its text, whether it is a token or not."""
        ...


class Authenticator:
    """Turns a request's headers into a principal, and lets it in or not."""

    def __init__(
        self,
        credentials: Credentials,
        tokens: Tokens | None = None,
        failures: RateLimits | None = None,
        refusals: Refusals | None = None,
        wrong_secrets: RateLimits | None = None,
    ) -> None:
        """`failures` and `wrong_secrets` bound failed attempts, `refusals` records them.

        From a source that used up `failures`, no token is compared with the administrator's;
        once `wrong_secrets` is used up, no internal secret is compared.
        """
        self._credentials = credentials
        self._tokens = tokens
        self._failures = failures
        self._wrong_secrets = wrong_secrets
        self._refusals = refusals

    async def admit(self, scope: dict[str, Any], rule: Rule) -> Principal:
        """Who makes the request, if the rule lets it pass; says so to `current_caller` too.

        Raises:
            Unauthenticated: a credential was shown and is no good, or none was and one is needed.
            TooManyRequests: instead, when the source has failed too often; also with a right
                credential, if it is one that could be guessed.
            Forbidden: the credential does not allow this.
            InvalidInput: `x-user-id` names nobody.
        """
        caller = self._tell(scope, NOBODY)
        if rule.access is Access.OPEN:
            return NOBODY
        token: bytes | None = None
        try:
            shown = self._shown(scope)
            token = shown.token
            principal = await self._identify(scope, shown)
        except (Unauthenticated, TooManyRequests) as refusal:
            claimed = None if self._tokens is None or not token else self._tokens.claimed_id(token)
            subject = f"route:{rule.route}" if claimed is None else f"token:{claimed}"
            await self._note("auth.failure", caller, subject, refusal.message)
            raise
        caller = self._tell(scope, principal)
        try:
            principal = _acting_for(principal, shown.user_id())
            authorise(rule, principal)
        except (Unauthenticated, Forbidden) as refusal:
            await self._note("auth.denied", caller, f"route:{rule.route}", refusal.message)
            raise
        if principal.user_id is not None and principal.role is not Role.USER:
            self._tell(scope, principal)
        return principal

    def recognise(self, scope: dict[str, Any], rule: Rule) -> Principal | None:
        """Who makes the request, told from memory alone; None when that takes `admit`.

        Nothing is recorded and nobody is refused here, so it is for the common case only: a
        known token that allows this (or none where none is asked for), and no internal secret.
        """
        try:
            shown = Shown.of(scope["headers"])
            if shown.internal is not None:
                return None
            if shown.token is not None:
                found = None if self._tokens is None else self._tokens.find(shown.token)
            else:
                found = _ADMINISTRATOR if self._is_at_home(scope, shown) else None
            if found is None:
                return None
            if shown.user is not None:
                found = _acting_for(found, shown.user_id())
            authorise(rule, found)
        except ServiceError:
            return None
        return found

    async def note_denial(self, rule: Rule, refusal: Forbidden) -> None:
        """Record what a slice refused to somebody whom the route's rule let pass."""
        await self._note("auth.denied", current_caller(), f"route:{rule.route}", refusal.message)

    def _shown(self, scope: dict[str, Any]) -> Shown:
        try:
            return Shown.of(scope["headers"])
        except Unauthenticated as refusal:
            raise self._failed(_source(scope), refusal) from None

    async def _identify(self, scope: dict[str, Any], shown: Shown) -> Principal:
        principal = None if shown.token is None else await self._holder(scope, shown.token)
        if shown.internal is not None:
            self._check_internal(scope, principal, shown.internal)
        if principal is None and self._is_at_home(scope, shown):
            principal = _ADMINISTRATOR
        if principal is None:
            return NOBODY if shown.internal is None else _INTERNAL
        return principal if shown.internal is None else replace(principal, internal=True)

    def _is_at_home(self, scope: dict[str, Any], shown: Shown) -> bool:
        """Whether it comes from this very machine in development, where no token is asked for."""
        return (
            self._credentials.loopback_is_administrator
            and not shown.is_forwarded
            and _is_loopback(scope)
        )

    async def _holder(self, scope: dict[str, Any], token: bytes) -> Principal:
        source = _source(scope)
        wait = _wait(self._failures, source)
        # Compared however the token looks: what is done does not depend on that.
        is_bootstrap = wait == 0 and self._credentials.is_admin_token(token)
        found = None if self._tokens is None else self._tokens.find(token)
        if is_bootstrap:
            return _ADMINISTRATOR
        if found is None and wait > 0:
            raise _too_many(wait)
        if found is None and self._tokens is not None:
            found = await self._tokens.look_up(token)
        if found is None:
            raise self._failed(source, Unauthenticated("The token is wrong"))
        return found

    def _check_internal(
        self, scope: dict[str, Any], principal: Principal | None, secret: bytes
    ) -> None:
        source = _source(scope)
        # Beside a token that counts instead of the address: what others there do is nothing to it.
        token_id = None if principal is None else principal.token_id
        who = source if token_id is None else f"token:{token_id}"
        wait = _wait(self._wrong_secrets, who)
        if wait > 0:
            raise _too_many(wait)
        try:
            self._credentials.check_internal(secret)
        except Unauthenticated as refusal:
            if self._wrong_secrets is not None:
                self._wrong_secrets.spend(who)
            # Apart from tokens: agents with an old secret do not keep the administrator out.
            raise self._failed(f"internal {source}", refusal) from None

    def _failed(self, who: str, refusal: Unauthenticated) -> Unauthenticated | TooManyRequests:
        """How a failure is answered, which counts from here on."""
        # Not by truth: limits have a length, and are false while nothing is in them.
        wait = 0.0 if self._failures is None else self._failures.spend(who)
        return refusal if wait == 0 else _too_many(wait)

    async def _note(self, kind: str, caller: Caller, subject: str, reason: str) -> None:
        if self._refusals is not None:
            await self._refusals.note(
                AuditEvent(
                    type=kind,
                    decision=Decision.DENY,
                    subject=subject,
                    reason=reason,
                    caller=caller,
                )
            )

    def _tell(self, scope: dict[str, Any], principal: Principal) -> Caller:
        on_behalf_of = None if principal.role is Role.USER else principal.user_id
        caller = Caller(principal.actor, on_behalf_of, scope.get("request_id"), _peer(scope))
        set_caller(caller)
        return caller


def _acting_for(principal: Principal, user_id: str | None) -> Principal:
    """The principal with the user it named; nobody can act for anybody."""
    if user_id is None or user_id == principal.user_id or principal.role is Role.NOBODY:
        return principal
    if principal.role is Role.USER:
        raise Forbidden("A user's token acts for that user only")
    return replace(principal, user_id=user_id)


def _wait(limits: RateLimits | None, who: str) -> float:
    return 0.0 if limits is None else limits.wait(who)


def _too_many(wait: float) -> TooManyRequests:
    return TooManyRequests(
        "Too many failed attempts from this address", retry_after=math.ceil(wait)
    )


def _source(scope: dict[str, Any]) -> str:
    return source_of(_peer(scope))


def _peer(scope: dict[str, Any]) -> str | None:
    client = scope.get("client")
    return None if client is None else client[0]


def _is_loopback(scope: dict[str, Any]) -> bool:
    address = _peer(scope)
    return address is not None and ip_address(address).is_loopback
