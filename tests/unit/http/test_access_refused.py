"""Who is refused, with which wait, and what is noted of it; without a service around it."""

from typing import Any, cast
from uuid import UUID

import pytest

from model_service.access.domain import claimed_id
from model_service.http.abuse import Refusals
from model_service.http.authenticator import INTERNAL_FACTOR, Authenticator
from model_service.http.credentials import Credentials
from model_service.http.rules import Access, Rule, declare
from model_service.kernel.audit import AuditEvent, Decision
from model_service.kernel.caller import Caller, current_caller, set_caller
from model_service.kernel.errors import Forbidden, InvalidInput, TooManyRequests, Unauthenticated
from model_service.kernel.principal import Permission, Principal, Role
from model_service.kernel.rate import MOST_SOURCES, RateLimits
from model_service.kernel.secret import Secret
from tests.access_tokens import SetClock, make_token

ADMIN, INTERNAL = "an-administrators-token", "an-internal-secret"
TOKEN, TEXT = make_token(role=Role.USER, user_id="alice")
SERVICE, SERVICE_TEXT = make_token()
MADE_ELSEWHERE, NEW_TEXT = make_token()
_, UNKNOWN_TEXT = make_token()
RULE = Rule(Access.USER, Permission.MODELS_READ, "GET /api/models")
ADMINISTRATORS = Rule(Access.ADMINISTRATOR, Permission.MODELS_WRITE, "POST /api/models")

Headers = list[tuple[bytes, bytes]]


class Gate:
    """An authenticator with limits, and what it noted and looked up."""

    def __init__(self, *, limited: bool = True, development: bool = False) -> None:
        clock = self.clock = SetClock()
        self.noted: list[AuditEvent] = []
        self.asked: list[bytes] = []
        credentials = Credentials.of(
            admin_token=Secret(ADMIN),
            internal_secrets=[Secret(INTERNAL)],
            loopback_is_administrator=development,
        )
        failures = RateLimits(2, now=clock.monotonic) if limited else None
        secrets = RateLimits(4, now=clock.monotonic) if limited else None
        refusals = cast("Refusals", self) if limited else None
        self.authenticator = Authenticator(credentials, self, failures, refusals, secrets)

    def find(self, token: bytes) -> Principal | None:
        return {TEXT: TOKEN.principal, SERVICE_TEXT: SERVICE.principal}.get(token)

    async def look_up(self, token: bytes) -> Principal | None:
        self.asked.append(token)
        return MADE_ELSEWHERE.principal if token == NEW_TEXT else None

    def claimed_id(self, token: bytes) -> UUID | None:
        return claimed_id(token)

    async def note(self, event: AuditEvent) -> None:
        self.noted.append(event)

    async def admit(
        self, *headers: tuple[bytes, bytes], client: str | None = "192.0.2.1", rule: Rule = RULE
    ) -> Principal:
        scope: dict[str, Any] = {"headers": list(headers), "request_id": "r-1"}
        if client is not None:
            scope["client"] = (client, 4711)
        return await self.authenticator.admit(scope, rule)

    async def refused(self, *headers: tuple[bytes, bytes], **how: Any) -> Exception:
        with pytest.raises((Unauthenticated, TooManyRequests, Forbidden)) as refusal:
            await self.admit(*headers, **how)
        return refusal.value


def token(text: bytes) -> tuple[bytes, bytes]:
    return (b"x-api-key", text)


WRONG_SECRET = (b"x-internal-secret", b"wrong")
RIGHT_SECRET = (b"x-internal-secret", INTERNAL.encode())


@pytest.mark.parametrize(
    ("shown", "subject"),
    [
        (token(UNKNOWN_TEXT), f"token:{claimed_id(UNKNOWN_TEXT)}"),
        (token(b"sk-something"), "route:GET /api/models"),
        (token(b""), "route:GET /api/models"),
        (WRONG_SECRET, "route:GET /api/models"),
        ((b"authorization", b"Basic x"), "route:GET /api/models"),
    ],
    # The made-up token is another one in each process, and must not name the case.
    ids=["unknown", "malformed", "empty", "secret", "basic"],
)
async def test_a_failure_is_noted_with_the_id_in_the_token_else_the_route(
    shown: tuple[bytes, bytes], subject: str
) -> None:
    gate = Gate()
    refusal = await gate.refused(shown)
    assert isinstance(refusal, Unauthenticated)
    assert gate.noted == [
        AuditEvent(
            type="auth.failure",
            decision=Decision.DENY,
            subject=subject,
            reason=refusal.message,
            caller=Caller("anonymous", None, "r-1", "192.0.2.1"),
        )
    ]


async def test_who_may_not_use_a_route_is_noted_by_name() -> None:
    gate = Gate()
    await gate.refused(token(TEXT), rule=ADMINISTRATORS)
    assert gate.noted == [
        AuditEvent(
            type="auth.denied",
            decision=Decision.DENY,
            subject="route:POST /api/models",
            reason="Only an administrator may do this",
            caller=Caller("user:alice", None, "r-1", "192.0.2.1"),
        )
    ]


async def test_who_shows_nothing_is_denied_and_did_not_fail() -> None:
    gate = Gate()
    for _ in range(5):
        assert isinstance(await gate.refused(), Unauthenticated)
    assert [event.type for event in gate.noted] == ["auth.denied"] * 5


async def test_what_a_slice_refuses_is_noted_for_the_caller_of_the_request() -> None:
    gate = Gate()
    set_caller(Caller("user:alice", None, "r-2", "192.0.2.7"))
    await gate.authenticator.note_denial(RULE, Forbidden("Not this one"))
    assert gate.noted == [
        AuditEvent(
            type="auth.denied",
            decision=Decision.DENY,
            subject="route:GET /api/models",
            reason="Not this one",
            caller=Caller("user:alice", None, "r-2", "192.0.2.7"),
        )
    ]


async def test_a_name_that_is_none_is_bad_input_and_no_failure() -> None:
    gate = Gate()
    with pytest.raises(InvalidInput):
        await gate.admit(token(SERVICE_TEXT), (b"x-user-id", b""))
    assert gate.noted == []


async def test_a_token_made_elsewhere_is_looked_up_and_one_in_memory_is_not() -> None:
    gate = Gate()
    assert await gate.admit(token(NEW_TEXT)) == MADE_ELSEWHERE.principal
    assert await gate.admit(token(TEXT)) == TOKEN.principal
    assert (await gate.admit(token(ADMIN.encode()))).is_administrator
    assert gate.asked == [NEW_TEXT]


async def test_after_two_failures_the_third_is_told_to_wait_and_nothing_is_looked_up() -> None:
    gate = Gate()
    kinds = [type(await gate.refused(token(UNKNOWN_TEXT))) for _ in range(3)]
    assert kinds == [Unauthenticated, Unauthenticated, TooManyRequests]
    assert gate.asked == [UNKNOWN_TEXT] * 2
    refusal = await gate.refused(token(ADMIN.encode()))
    assert isinstance(refusal, TooManyRequests)
    assert refusal.retry_after == 30
    gate.clock.advance(0.5)
    later = await gate.refused(token(NEW_TEXT))
    assert isinstance(later, TooManyRequests)
    assert later.retry_after == 30, "whole seconds, never too few"
    assert await gate.admit(token(TEXT)) == TOKEN.principal
    assert isinstance(await gate.refused(token(UNKNOWN_TEXT), client="192.0.2.2"), Unauthenticated)
    gate.clock.advance(29.5)
    assert (await gate.admit(token(ADMIN.encode()))).is_administrator


async def test_wrong_internal_secrets_are_counted_apart_from_tokens() -> None:
    gate = Gate()
    for _ in range(4):
        await gate.refused(WRONG_SECRET)
    assert isinstance(await gate.refused(token(UNKNOWN_TEXT)), Unauthenticated)
    assert isinstance(await gate.refused(RIGHT_SECRET), TooManyRequests)
    assert (await gate.admit(RIGHT_SECRET, token(SERVICE_TEXT))).internal
    gate.clock.advance(15)
    assert (await gate.admit(RIGHT_SECRET)).internal


async def test_a_right_secret_passes_between_wrong_ones_up_to_the_limit() -> None:
    gate = Gate()
    for _ in range(3):
        await gate.refused(WRONG_SECRET)
        assert (await gate.admit(RIGHT_SECRET)).internal


async def test_without_limits_a_failure_is_a_failure_however_often() -> None:
    gate = Gate(limited=False)
    for _ in range(20):
        assert isinstance(await gate.refused(token(UNKNOWN_TEXT)), Unauthenticated)
        assert isinstance(await gate.refused(WRONG_SECRET), Unauthenticated)
    assert (await gate.admit(RIGHT_SECRET)).internal
    assert gate.noted == []


async def test_without_a_store_of_tokens_there_is_the_administrator_alone() -> None:
    credentials = Credentials.of(
        admin_token=Secret(ADMIN), internal_secrets=[], loopback_is_administrator=False
    )
    alone = Authenticator(credentials)
    scope: dict[str, Any] = {"headers": [token(ADMIN.encode())]}
    assert (await alone.admit(scope, RULE)).is_administrator
    scope["headers"] = [token(TEXT)]
    with pytest.raises(Unauthenticated):
        await alone.admit(scope, RULE)


async def test_of_a_caller_without_an_address_none_is_recorded() -> None:
    gate = Gate(development=True)
    assert await gate.admit(token(TEXT), client=None) == TOKEN.principal
    assert current_caller() == Caller("user:alice", None, "r-1", None)
    with pytest.raises(Unauthenticated):
        await gate.admit(client=None)


async def test_a_service_s_caller_says_for_whom() -> None:
    gate = Gate()
    principal = await gate.admit(token(SERVICE_TEXT), (b"x-user-id", b"bob"))
    assert principal.user_id == "bob"
    assert current_caller() == Caller(f"service:{SERVICE.id}", "bob", "r-1", "192.0.2.1")


async def test_a_user_who_names_another_is_denied_under_its_own_name() -> None:
    gate = Gate()
    await gate.refused(token(TEXT), (b"x-user-id", b"bob"))
    (event,) = gate.noted
    assert (event.type, event.caller) == (
        "auth.denied",
        Caller("user:alice", None, "r-1", "192.0.2.1"),
    )


def test_sixty_times_as_many_wrong_internal_secrets_as_the_documents_say() -> None:
    assert INTERNAL_FACTOR == 60


# --- declarations, as the OpenAPI document shows them ----------------------------------------


def test_access_is_declared_in_the_words_of_the_documents() -> None:
    assert sorted(Access) == ["administrator", "auditor", "internal", "open", "service", "user"]
    assert declare(Access.INTERNAL) == {"x-access": "internal"}
    assert declare(Access.USER, Permission.KEYS_READ) == {
        "x-access": "user",
        "x-scope": "keys:read",
    }


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/api/models", "models:read"),
        ("/api/api-keys", "keys:read"),
        ("/api/provider-admin-credentials", "credentials:read"),
        ("/api/tokens", "tokens:read"),
        ("/api/webhooks", "webhooks:read"),
        ("/api/quotas", "quotas:read"),
        ("/api/usage", "usage:read"),
        ("/api/providers", "operations:read"),
    ],
)
def test_every_collection_is_read_by_the_scope_of_its_name(path: str, scope: str) -> None:
    for methods in (["GET"], ["HEAD"], ["GET", "HEAD"]):
        assert Rule.declared(path, methods, declare(Access.USER)).permission == scope


def test_what_reads_and_writes_is_written() -> None:
    rule = Rule.declared("/api/models", {"POST", "GET"}, declare(Access.USER))
    assert (rule.permission, rule.route) == (Permission.MODELS_WRITE, "GET|POST /api/models")


def test_an_open_route_needs_no_permission() -> None:
    rule = Rule.declared("/api/health", ["GET"], declare(Access.OPEN))
    assert rule == Rule(Access.OPEN, None, "GET /api/health")


@pytest.mark.parametrize("path", ["/api", "/", "", "/v1/models", "api/models"])
def test_outside_of_the_collections_a_permission_is_declared_or_there_is_no_route(
    path: str,
) -> None:
    with pytest.raises(TypeError, match="declares no permission"):
        Rule.declared(path, ["GET"], declare(Access.USER))


# --- limits ----------------------------------------------------------------------------------


def test_a_bucket_fills_evenly_and_counts_to_the_moment() -> None:
    clock = SetClock()
    limits = RateLimits(4, now=clock.monotonic)
    assert [limits.spend("a") for _ in range(5)] == [0.0] * 4 + [pytest.approx(15.0)]
    clock.advance(14.999)
    assert limits.wait("a") == pytest.approx(0.001)
    clock.advance(0.001)
    assert limits.wait("a") == 0.0
    assert limits.spend("a") == 0.0
    assert limits.wait("a") == pytest.approx(15.0)
    assert limits.wait("a", 0.2) == pytest.approx(3.0)


def test_of_several_buckets_each_gives_or_none_does() -> None:
    clock = SetClock()
    limits = RateLimits(2, now=clock.monotonic)
    limits.spend("a")
    assert limits.spend_all(("a", "b")) == 0.0
    assert limits.spend_all(("b", "a")) == pytest.approx(30.0)
    assert limits.spend("b") == 0.0
    assert limits.spend("b") == pytest.approx(30.0)
    assert limits.spend_all(("c", "a")) == pytest.approx(30.0)
    assert len(limits) == 2, "what was never given anything is not remembered"


def test_who_was_heard_of_last_is_remembered_also_when_refused() -> None:
    clock = SetClock()
    limits = RateLimits(1, most_sources=2, now=clock.monotonic)
    for source in ("a", "b", "a", "c"):
        limits.spend(source)
    assert [limits.wait(source) > 0 for source in "abc"] == [True, False, True]
    assert len(limits) == 2


def test_ten_thousand_sources_are_remembered() -> None:
    limits = RateLimits(1, now=SetClock().monotonic)
    for number in range(MOST_SOURCES + 1):
        limits.spend(str(number))
    assert len(limits) == MOST_SOURCES == 10_000
