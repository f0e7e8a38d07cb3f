"""What a request shows: one credential, in any of the headers that clients use."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.http.authenticator import Authenticator
from model_service.http.credentials import TOKEN_HEADERS, Credentials, Shown
from model_service.http.rules import Access, Rule
from model_service.kernel.caller import current_caller
from model_service.kernel.errors import Forbidden, InvalidInput, Unauthenticated
from model_service.kernel.principal import Permission, Principal, Role
from model_service.kernel.secret import Secret
from tests.access_tokens import make_token

ADMIN, INTERNAL = "an-administrators-token", "an-internal-secret"
TOKEN, TEXT = make_token(role=Role.USER, user_id="alice")
SERVICE, SERVICE_TEXT = make_token()
RULE = Rule(Access.USER, Permission.MODELS_READ, "GET /api/models")

Headers = list[tuple[bytes, bytes]]


class TwoTokens:
    """`Tokens`: a user's and a service's."""

    def find(self, token: bytes) -> Principal | None:
        return {TEXT: TOKEN.principal, SERVICE_TEXT: SERVICE.principal}.get(token)

    async def look_up(self, token: bytes) -> Principal | None:
        return None

    def claimed_id(self, token: bytes) -> UUID | None:
        return None


def authenticator(*, development: bool = False) -> Authenticator:
    credentials = Credentials.of(
        admin_token=Secret(ADMIN),
        internal_secrets=[Secret(INTERNAL), Secret("the one before")],
        loopback_is_administrator=development,
    )
    return Authenticator(credentials, TwoTokens())


async def admitted(headers: Headers, *, client: str = "192.0.2.1", **mode: bool) -> Principal:
    scope: dict[str, Any] = {"headers": headers, "client": (client, 1), "request_id": "r"}
    return await authenticator(**mode).admit(scope, RULE)


HEADERS = {
    "authorization": (b"authorization", b"Bearer "),
    "x-api-key": (b"x-api-key", b""),
    "x-goog-api-key": (b"x-goog-api-key", b""),
    "api-key": (b"api-key", b""),
}


@pytest.mark.parametrize("style", HEADERS)
async def test_every_header_style_carries_tokens_and_the_administrators_token(style: str) -> None:
    name, prefix = HEADERS[style]
    assert await admitted([(name, prefix + TEXT)]) == TOKEN.principal
    assert (await admitted([(name, prefix + ADMIN.encode())])).is_administrator
    assert (await admitted([(name, prefix + b"  " + TEXT + b" ")])) == TOKEN.principal


def test_the_header_styles_are_those_of_the_providers() -> None:
    assert {name for name, _ in HEADERS.values()} == TOKEN_HEADERS | {b"authorization"}


@pytest.mark.parametrize("first", HEADERS)
@pytest.mark.parametrize("second", HEADERS)
async def test_two_tokens_at_once_are_none_even_when_they_are_the_same(
    first: str, second: str
) -> None:
    headers = [(name, prefix + TEXT) for name, prefix in (HEADERS[first], HEADERS[second])]
    with pytest.raises(Unauthenticated, match="twice"):
        await admitted(headers)


@pytest.mark.parametrize("name", [b"x-internal-secret", b"x-user-id"])
async def test_a_secret_or_a_user_named_twice_is_refused(name: bytes) -> None:
    with pytest.raises(Unauthenticated, match="twice"):
        await admitted([(name, INTERNAL.encode()), (name, INTERNAL.encode())])


@pytest.mark.parametrize(
    "value", [b"Basic " + TEXT, b"Bearer", b"", TEXT, b"Bearer  ", b"bearer x"]
)
async def test_an_authorization_that_is_not_a_right_bearer_token_is_refused(value: bytes) -> None:
    with pytest.raises(Unauthenticated):
        await admitted([(b"authorization", value)])


async def test_the_scheme_is_case_insensitive() -> None:
    assert await admitted([(b"authorization", b"bEaReR " + TEXT)]) == TOKEN.principal


async def test_the_internal_secret_makes_a_service_and_goes_beside_a_token() -> None:
    secret = (b"x-internal-secret", INTERNAL.encode())
    alone = await admitted([secret])
    assert (alone.role, alone.internal, alone.token_id) == (Role.SERVICE, True, None)
    beside = await admitted([secret, (b"x-api-key", TEXT)])
    assert (beside.role, beside.internal, beside.user_id) == (Role.USER, True, "alice")
    with pytest.raises(Unauthenticated, match="internal secret is wrong"):
        await admitted([(b"x-internal-secret", b"wrong"), (b"x-api-key", TEXT)])


async def test_no_credential_is_not_enough() -> None:
    with pytest.raises(Unauthenticated):
        await admitted([(b"x-user-id", b"alice")])


@pytest.mark.parametrize("user", ["alice", "Zoë Ünal", "user@example.com", "x" * 255])
async def test_a_service_and_an_administrator_act_for_the_user_they_name(user: str) -> None:
    named = (b"x-user-id", user.encode())
    service = await admitted([(b"x-api-key", SERVICE_TEXT), named])
    assert (service.role, service.user_id) == (Role.SERVICE, user)
    assert (current_caller().actor, current_caller().on_behalf_of) == (
        f"service:{SERVICE.id}",
        user,
    )
    internal = await admitted([(b"x-internal-secret", INTERNAL.encode()), named])
    assert (internal.actor, internal.user_id) == ("internal", user)
    administrator = await admitted([(b"x-api-key", ADMIN.encode()), named])
    assert (administrator.actor, administrator.user_id) == ("administrator", user)


async def test_a_users_token_acts_for_that_user_only() -> None:
    own = await admitted([(b"x-api-key", TEXT), (b"x-user-id", b"alice")])
    assert own == TOKEN.principal
    assert current_caller().on_behalf_of is None
    with pytest.raises(Forbidden, match="that user only"):
        await admitted([(b"x-api-key", TEXT), (b"x-user-id", b"bob")])


@pytest.mark.parametrize(
    "user", [b"", b"x" * 256, b"\xff", b"a\x00b", b"a\r\nb", "\u202e".encode()]
)
async def test_a_user_id_that_is_none_is_bad_input(user: bytes) -> None:
    with pytest.raises(InvalidInput):
        await admitted([(b"x-api-key", SERVICE_TEXT), (b"x-user-id", user)])


@pytest.mark.parametrize(
    ("client", "headers", "is_administrator"),
    [
        ("127.0.0.1", [], True),
        ("::1", [], True),
        ("192.0.2.1", [], False),
        ("127.0.0.1", [(b"x-forwarded-for", b"192.0.2.1")], False),
        ("127.0.0.1", [(b"forwarded", b"for=192.0.2.1")], False),
        ("127.0.0.1", [(b"x-real-ip", b"192.0.2.1")], False),
        ("127.0.0.1", [(b"via", b"1.1 proxy")], False),
    ],
)
async def test_in_development_who_comes_from_loopback_is_administrator(
    client: str, headers: Headers, is_administrator: bool
) -> None:
    if is_administrator:
        assert (await admitted(headers, client=client, development=True)).is_administrator
    else:
        with pytest.raises(Unauthenticated):
            await admitted(headers, client=client, development=True)


async def test_in_development_a_wrong_token_is_wrong_and_a_right_one_counts() -> None:
    with pytest.raises(Unauthenticated):
        await admitted([(b"x-api-key", b"any")], client="127.0.0.1", development=True)
    own = await admitted([(b"x-api-key", TEXT)], client="127.0.0.1", development=True)
    assert own == TOKEN.principal


async def test_an_open_route_looks_at_no_credential() -> None:
    scope: dict[str, Any] = {
        "headers": [(b"authorization", b"x"), (b"x-api-key", b"y")],
        "client": ("192.0.2.1", 1),
        "request_id": "r",
    }
    principal = await authenticator().admit(scope, Rule(Access.OPEN, None, "GET /"))
    assert principal.role is Role.NOBODY
    assert current_caller().actor == "anonymous"
    assert current_caller().client == "192.0.2.1"


_names = st.sampled_from(
    [b"authorization", b"x-api-key", b"api-key", b"x-internal-secret", b"x-user-id", b"via"]
) | st.binary(max_size=10)
_values = (
    st.binary(max_size=120)
    | st.sampled_from([TEXT, b"Bearer " + TEXT, SERVICE_TEXT, ADMIN.encode(), INTERNAL.encode()])
    | st.binary(max_size=20).map(b"Bearer ".__add__)
    | st.binary(max_size=20).map(b"msk_".__add__)
)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(_names, _values), max_size=5))
async def test_whatever_bytes_the_headers_hold_the_answer_is_a_principal_or_a_refusal(
    headers: Headers,
) -> None:
    try:
        principal = await admitted(headers)
    except (Unauthenticated, Forbidden, InvalidInput):
        return
    shown = [value.strip().removeprefix(b"Bearer ") for _, value in headers]
    assert any(known in shown for known in (TEXT, SERVICE_TEXT, ADMIN.encode(), INTERNAL.encode()))
    assert principal.role is not Role.NOBODY


def test_empty_secrets_match_nothing() -> None:
    credentials = Credentials.of(
        admin_token=Secret(""), internal_secrets=[Secret("")], loopback_is_administrator=False
    )
    assert not credentials.is_admin_token(b"")
    with pytest.raises(Unauthenticated):
        credentials.check_internal(b"")


def test_what_is_shown_does_not_print_itself() -> None:
    shown = Shown.of([(b"x-api-key", TEXT), (b"x-internal-secret", INTERNAL.encode())])
    assert shown.token == TEXT
    assert TEXT.decode() not in repr(shown)
    assert INTERNAL not in repr(shown)
