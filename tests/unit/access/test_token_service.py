"""What is done with tokens, apart from where they are kept: recorded, told, and known at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from model_service.access.domain import TOPIC, NewToken, Token, claimed_id
from model_service.access.service import TokenService
from model_service.kernel.audit import AuditEvent, Decision
from model_service.kernel.errors import AuditUnavailable, Forbidden, NotFound
from model_service.kernel.principal import Permission, Principal, Role, Scopes
from model_service.kernel.types import uuid7
from tests.access_tokens import HASHER, NOW, MemoryTokens, SetClock, make_token
from tests.fakes import RecordingAnnouncer, RecordingTrail

ADMINISTRATOR = Principal(Role.ADMINISTRATOR)
ALICE = Principal(Role.USER, "alice", uuid7())


class Desk:
    """A `TokenService` on memory, with everything it tells others."""

    def __init__(self, *tokens: Token) -> None:
        self.store = MemoryTokens(*tokens)
        self.trail = RecordingTrail()
        self.announcer = RecordingAnnouncer()
        self.clock = SetClock()
        self.known: list[Token] = []
        self.dropped: list[UUID] = []
        self.noted: list[AuditEvent] = []
        self.service = TokenService(
            self, self.store, HASHER, self, self.trail, self.announcer, self.clock, self
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        before = dict(self.store.tokens)
        try:
            yield
        except Exception:
            self.store.tokens = before
            raise

    def put(self, token: Token) -> None:
        self.known.append(token)

    def drop(self, token_id: UUID) -> None:
        self.dropped.append(token_id)

    async def note(self, event: AuditEvent) -> None:
        self.noted.append(event)


async def test_a_token_is_stored_recorded_told_of_and_known_at_once() -> None:
    desk = Desk()
    scopes = Scopes.of(models=["m"])
    expires_at = NOW + timedelta(days=1)
    new = NewToken(Role.USER, "alice", "laptop", scopes, expires_at)
    issued = await desk.service.create(new, ADMINISTRATOR)
    text = issued.text.reveal().encode()
    token = issued.token
    assert claimed_id(text) == token.id
    assert token == Token(
        token.id, HASHER.digest(text), Role.USER, "alice", "laptop", scopes, NOW, expires_at
    )
    assert list(desk.store.tokens.values()) == desk.known == [token]
    assert desk.trail.events == [
        AuditEvent(type="token.create", subject=f"token:{token.id}", reason="user alice")
    ]
    assert desk.announcer.told == [
        (
            "token.created",
            {"tokenId": str(token.id), "role": "user", "userId": "alice", "label": "laptop"},
        )
    ]


async def test_a_token_that_cannot_be_recorded_is_none() -> None:
    desk = Desk()
    desk.trail.available = False
    with pytest.raises(AuditUnavailable):
        await desk.service.create(NewToken(Role.SERVICE), ADMINISTRATOR)
    assert (desk.store.tokens, desk.known) == ({}, [])


async def test_a_revoked_token_is_gone_recorded_and_dropped_at_once() -> None:
    token, _ = make_token()
    desk = Desk(token)
    await desk.service.revoke(token.id, ADMINISTRATOR)
    assert desk.store.tokens == {}
    assert desk.dropped == [token.id]
    assert desk.trail.events == [
        AuditEvent(type="token.revoke", subject=f"token:{token.id}", reason="service")
    ]


async def test_a_revocation_that_cannot_be_recorded_did_not_happen() -> None:
    token, _ = make_token()
    desk = Desk(token)
    desk.trail.available = False
    with pytest.raises(AuditUnavailable):
        await desk.service.revoke(token.id, ADMINISTRATOR)
    assert (list(desk.store.tokens), desk.dropped) == ([token.id], [])


async def test_what_somebody_else_revoked_meanwhile_is_not_recorded_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token, _ = make_token()
    desk = Desk(token)

    async def gone(_: UUID) -> bool:
        return False

    monkeypatch.setattr(desk.store, "delete", gone)
    with pytest.raises(NotFound, match=r"^No such token$"):
        await desk.service.revoke(token.id, ADMINISTRATOR)
    assert (desk.trail.events, desk.dropped) == ([], [])


@pytest.mark.parametrize("is_there", [True, False])
async def test_another_s_token_and_one_that_is_not_there_are_refused_alike(is_there: bool) -> None:
    token, _ = make_token(role=Role.USER, user_id="bob")
    desk = Desk(*[token] * is_there)
    with pytest.raises(NotFound, match=r"^No such token$"):
        await desk.service.revoke(token.id, ALICE)
    assert desk.noted == [
        AuditEvent(
            type="auth.denied",
            decision=Decision.DENY,
            subject=f"token:{token.id}",
            purpose="revoke",
            reason="no_such_token_for_them",
        )
    ]
    assert desk.store.asked == ["get"]


async def test_to_an_administrator_nothing_is_hidden_so_nothing_is_noted() -> None:
    desk = Desk()
    with pytest.raises(NotFound):
        await desk.service.revoke(uuid7(), ADMINISTRATOR)
    assert desk.noted == []


async def test_a_user_revokes_tokens_of_its_own_and_no_service_s() -> None:
    (own, _), (service, _) = make_token(role=Role.USER, user_id="alice"), make_token()
    desk = Desk(own, service)
    await desk.service.revoke(own.id, ALICE)
    with pytest.raises(NotFound):
        await desk.service.revoke(service.id, ALICE)
    assert list(desk.store.tokens) == [service.id]


LIMITED = Principal(
    Role.ADMINISTRATOR,
    None,
    uuid7(),
    Scopes.of(routes=[Permission.TOKENS_WRITE, Permission.KEYS_READ]),
    NOW + timedelta(hours=1),
)
WITHIN = Scopes.of(routes=[Permission.KEYS_READ])


@pytest.mark.parametrize(
    ("scopes", "lifetime"),
    [
        (WITHIN, None),
        (WITHIN, timedelta(hours=1, milliseconds=1)),
        (Scopes(), timedelta(hours=1)),
        (Scopes.of(routes=[Permission.MODELS_READ]), timedelta(hours=1)),
    ],
)
async def test_no_token_makes_one_that_may_more_or_lives_longer(
    scopes: Scopes, lifetime: timedelta | None
) -> None:
    desk = Desk()
    expires_at = None if lifetime is None else NOW + lifetime
    with pytest.raises(Forbidden):
        await desk.service.create(
            NewToken(Role.SERVICE, scopes=scopes, expires_at=expires_at), LIMITED
        )
    assert desk.store.tokens == {}


async def test_a_token_makes_one_like_itself() -> None:
    desk = Desk()
    new = NewToken(Role.SERVICE, scopes=LIMITED.scopes, expires_at=LIMITED.expires_at)
    await desk.service.create(new, LIMITED)
    assert len(desk.store.tokens) == 1


def test_a_token_shows_no_digest_and_expires_at_its_moment() -> None:
    token, _ = make_token(expires_at=NOW)
    assert "digest" not in repr(token)
    assert token.is_expired(NOW)
    assert not token.is_expired(NOW - timedelta(milliseconds=1))
    assert not make_token()[0].is_expired(NOW)


def test_notices_about_tokens_are_called_as_other_releases_call_them() -> None:
    assert TOPIC == "tokens"
