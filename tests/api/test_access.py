"""The access table: every route x every principal, as declared and as enforced."""

from collections.abc import Iterator, Mapping

import httpx
import pytest
import pytest_asyncio
from fastapi.routing import APIRoute

from model_service.http.auth import Access, GuardedRoute
from model_service.kernel.principal import Permission
from model_service.kernel.types import uuid7
from model_service.sandbox.server import Sandbox
from model_service.service import Service
from tests.access_world import PRINCIPALS, STRANGERS, World, credentials
from tests.conftest import ADMIN_TOKEN, INTERNAL_SECRET
from tests.sharing import OTHER_VALUE, VALUE, token

Route = tuple[str, str]


class Group:
    """Routes that answer alike: what they declare, and with what each principal is answered.

    A route's line has its method, path, scope, and the status of an answer that is `ok`.
    """

    def __init__(self, access: Access, answers: str, routes: str) -> None:
        self.access = access
        self.answers = dict(zip(PRINCIPALS, answers.replace("|", " ").split(), strict=True))
        self.lines = [line.split() for line in routes.strip().splitlines()]


#: The whole table. A route that is not here fails the test below.
GROUPS = (
    # The columns: nobody | other user, grantee (use), grantee (reveal), owner | service naming
    # nobody, the owner, another | administrator, admin token | internal secret naming nobody,
    # the owner, another | auditor
    Group(
        Access.OPEN,
        "ok  | ok  ok  ok  ok  | ok  ok  ok  | ok  ok  | ok  ok  ok  | ok",
        """
        GET    /api/health                                      -                 200
        GET    /api/health/ready                                -                 200
        GET    /api/docs/{file}                                 -                 200
        """,
    ),
    Group(
        Access.SERVICE,
        "401 | 403 403 403 403 | ok  ok  ok  | ok  ok  | ok  ok  ok  | 403",
        """
        GET    /metrics                                         operations:read   200
        GET    /api/openapi.json                                operations:read   200
        GET    /api/docs                                        operations:read   200
        GET    /api/providers/health                            operations:read   200
        GET    /api/providers/health/history                    operations:read   200
        """,
    ),
    Group(  # what belongs to nobody
        Access.USER,
        "401 | ok  ok  ok  ok  | ok  ok  ok  | ok  ok  | ok  ok  ok  | 403",
        """
        GET    /api/models                                      models:read       200
        GET    /api/prices                                      models:read       200
        GET    /api/models/default                              models:read       200
        GET    /api/models/stats                                models:read       200
        GET    /api/models/provider/{provider}                  models:read       200
        GET    /api/models/{model_id}                           models:read       200
        """,
    ),
    Group(  # asked for the owner by name
        Access.USER,
        "401 | 403 403 403 ok  | ok  ok  403 | ok  ok  | ok  ok  403 | 403",
        """
        GET    /api/models/providers/{provider}/available-models models:read      200
        POST   /api/api-keys                                    keys:write        201
        GET    /api/api-keys                                    keys:read         200
        GET    /api/api-keys/provider/{provider}                keys:read         200
        GET    /api/tokens                                      tokens:read       200
        GET    /api/quotas                                      quotas:read       200
        GET    /api/usage                                       usage:read        200
        GET    /api/usage/export                                usage:read        200
        GET    /api/usage/summary                               usage:read        200
        """,
    ),
    Group(  # the owner's key, looked at
        Access.USER,
        "401 | 404 ok  ok  ok  | 400 ok  404 | ok  ok  | 400 ok  404 | 403",
        """
        GET    /api/api-keys/{key_id}                           keys:read         200
        GET    /api/api-keys/{key_id}/shares                    keys:read         200
        """,
    ),
    Group(  # the owner's key, managed
        Access.USER,
        "401 | 404 403 403 ok  | 400 ok  404 | ok  ok  | 400 ok  404 | 403",
        """
        PUT    /api/api-keys/{key_id}                           keys:write        200
        DELETE /api/api-keys/{key_id}                           keys:write        204
        POST   /api/api-keys/{key_id}/validate                  keys:write        200
        POST   /api/api-keys/{key_id}/rotate                    keys:write        200
        GET    /api/api-keys/{key_id}/rotation                  keys:read         200
        PUT    /api/api-keys/{key_id}/rotation-policy           keys:write        200
        POST   /api/api-keys/{key_id}/shares                    keys:write        201
        DELETE /api/api-keys/{key_id}/shares/{share_id}         keys:write        204
        """,
    ),
    Group(  # the owner's token
        Access.USER,
        "401 | 404 404 404 ok  | 404 ok  404 | ok  ok  | 404 ok  404 | 403",
        """
        DELETE /api/tokens/{token_id}                           tokens:write      204
        """,
    ),
    Group(  # the owner's quota
        Access.USER,
        "401 | 404 404 404 ok  | 404 ok  404 | ok  ok  | 404 ok  404 | 403",
        """
        GET    /api/quotas/{quota_id}                           quotas:read       200
        """,
    ),
    Group(  # the value of the owner's key
        Access.INTERNAL,
        "401 | 401 401 401 401 | 401 401 401 | 401 401 | ok  ok  403 | 401",
        """
        GET    /api/api-keys/{key_id}/decrypt                   keys:reveal       200
        """,
    ),
    Group(
        Access.AUDITOR,
        "401 | 403 403 403 403 | 403 403 403 | ok  ok  | 403 403 403 | ok",
        """
        GET    /api/audit                                       auditor           200
        GET    /api/api-keys/{key_id}/audit                     auditor           200
        """,
    ),
    Group(
        Access.ADMINISTRATOR,
        "401 | 403 403 403 403 | 403 403 403 | ok  ok  | 403 403 403 | 403",
        """
        POST   /api/models                                      models:write      201
        PUT    /api/models/{model_id}                           models:write      200
        DELETE /api/models/{model_id}                           models:write      204
        POST   /api/tokens                                      tokens:write      201
        POST   /api/provider-admin-credentials                  credentials:write 201
        GET    /api/provider-admin-credentials                  credentials:read  200
        DELETE /api/provider-admin-credentials/{credential_id}  credentials:write 204
        POST   /api/webhooks                                    webhooks:write    201
        GET    /api/webhooks                                    webhooks:read     200
        GET    /api/webhooks/{webhook_id}                       webhooks:read     200
        PUT    /api/webhooks/{webhook_id}                       webhooks:write    200
        DELETE /api/webhooks/{webhook_id}                       webhooks:write    204
        POST   /api/webhooks/{webhook_id}/rotate-secret         webhooks:write    200
        POST   /api/webhooks/{webhook_id}/test                  webhooks:write    200
        GET    /api/webhooks/{webhook_id}/deliveries            webhooks:read     200
        GET    /api/prices/editions                             models:read       200
        POST   /api/quotas                                      quotas:write      201
        PUT    /api/quotas/{quota_id}                           quotas:write      200
        DELETE /api/quotas/{quota_id}                           quotas:write      204
        POST   /api/billing/accounts                           billing:write     201
        GET    /api/billing/accounts                           billing:read      200
        GET    /api/billing/accounts/{account_id}              billing:read      200
        PUT    /api/billing/accounts/{account_id}              billing:write     200
        DELETE /api/billing/accounts/{account_id}              billing:write     204
        GET    /api/billing/accounts/{account_id}/members      billing:read      200
        POST   /api/billing/accounts/{account_id}/members      billing:write     201
        DELETE /api/billing/accounts/{account_id}/members      billing:write     204
        GET    /api/billing/accounts/{account_id}/statements/{month} billing:read      200
        GET    /api/billing/statements                         billing:read      200
        POST   /api/billing/statements/close                   billing:write     200
        GET    /api/billing/statements/{statement_id}          billing:read      200
        GET    /api/billing/statements/{statement_id}/csv      billing:read      200
        GET    /api/billing/statements/{statement_id}/json     billing:read      200
        GET    /api/billing/statements/{statement_id}/html     billing:read      200
        POST   /api/billing/statements/{statement_id}/credit-notes billing:write     201
        GET    /api/billing/statements/{statement_id}/credit-notes billing:read      200
        GET    /api/billing/meters                             billing:read      200
        """,
    ),
    Group(  # a request that there was not; without a query, or without a user
        Access.USER,
        "401 | 404 404 404 404 | 400 404 404 | 404 404 | 400 404 404 | 403",
        """
        GET    /api/usage/{request_id}                          usage:read        200
        """,
    ),
    Group(  # without the query it needs
        Access.USER,
        "401 | 400 400 400 400 | 400 400 400 | 400 400 | 400 400 400 | 403",
        """
        GET    /api/usage/what-if                               usage:read        200
        """,
    ),
    Group(  # a meter that is not parked
        Access.ADMINISTRATOR,
        "401 | 403 403 403 403 | 403 403 403 | 404 404 | 403 403 403 | 403",
        """
        POST   /api/billing/meters/{meter_id}/retry            billing:write     200
        """,
    ),
)

#: By route: what it declares, and the status that each principal is answered with.
DECLARED: dict[Route, tuple[Access, Permission | None]] = {
    (method, path): (group.access, None if scope == "-" else Permission(scope))
    for group in GROUPS
    for method, path, scope, _ in group.lines
}
ANSWERS: dict[Route, dict[str, int]] = {
    (method, path): {who: int(ok if to == "ok" else to) for who, to in group.answers.items()}
    for group in GROUPS
    for method, path, _, ok in group.lines
}


def routes(service: Service) -> Iterator[tuple[str, str, GuardedRoute]]:
    for route in service.app.routes:
        assert isinstance(route, GuardedRoute), f"{route} is not guarded"
        for method in route.methods or ():
            yield method, route.path, route


def test_the_table_names_every_route_and_what_it_declares(service: Service) -> None:
    declared = {
        (method, path): (route.access, route.rule.permission)
        for method, path, route in routes(service)
    }
    assert declared == DECLARED
    assert len(DECLARED) == sum(len(group.lines) for group in GROUPS), "each route once"


def test_a_route_that_declares_no_access_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="declares no access"):
        GuardedRoute("/careless", lambda: None)
    assert issubclass(GuardedRoute, APIRoute)


@pytest_asyncio.fixture
async def world(client: httpx.AsyncClient, sandbox: Sandbox) -> World:
    world = World(client, sandbox)
    await world.renew()
    return world


def told(answer: httpx.Response) -> str:
    """What an answer says, but for the path that was asked for."""
    if answer.status_code < 400:
        return answer.text
    said = answer.json()
    return str({name: said[name] for name in said if name != "path"})


@pytest.mark.parametrize(("method", "path"), ANSWERS)
async def test_each_principal_is_answered_as_the_table_says_about_what_is_there(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, world: World, method: str, path: str
) -> None:
    expected, shown = ANSWERS[method, path], await credentials(client)
    refused = [who for who in PRINCIPALS if expected[who] >= 400]
    before = await world.seen()
    answers = {who: await world.ask(anonymous, method, path, shown[who]) for who in refused}
    assert await world.seen() == before, "what is refused changes nothing"
    for who in PRINCIPALS:
        if who not in refused:
            answers[who] = await world.ask(anonymous, method, path, shown[who])
            if method != "GET":
                await world.renew()
    statuses = {who: answers[who].status_code for who in PRINCIPALS}
    assert statuses == expected
    values = {who for who in PRINCIPALS if VALUE in told(answers[who])}
    gives_values = (method, path) == ("GET", "/api/api-keys/{key_id}/decrypt")
    assert values == (set(PRINCIPALS) - set(refused) if gives_values else set())


@pytest.mark.parametrize(("method", "path"), ANSWERS)
async def test_strangers_hear_nothing_of_what_is_the_owners(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, world: World, method: str, path: str
) -> None:
    shown = await credentials(client)
    owned = (world.ids["key_id"], world.ids["share_id"], world.ids["token_id"], VALUE, OTHER_VALUE)
    for who in STRANGERS:
        answer = told(await world.ask(anonymous, method, path, shown[who]))
        assert not [one for one in owned if one in answer], who


#: What is no credential, or not enough of one, whatever the route.
BAD: Mapping[str, dict[str, str]] = {
    "wrong token": {"authorization": "Bearer wrong"},
    "wrong scheme": {"authorization": f"Basic {ADMIN_TOKEN}"},
    "wrong secret": {"x-internal-secret": "wrong"},
    "right token, wrong secret": {
        "authorization": f"Bearer {ADMIN_TOKEN}",
        "x-internal-secret": "wrong",
    },
    "two tokens": {"authorization": f"Bearer {ADMIN_TOKEN}", "x-api-key": ADMIN_TOKEN},
    "the secret as a token": {"authorization": f"Bearer {INTERNAL_SECRET}"},
    "the token as a secret": {"x-internal-secret": ADMIN_TOKEN},
    "nobody naming a user": {"x-user-id": "owner"},
}


async def swept(
    anonymous: httpx.AsyncClient, headers: Mapping[str, str], *routes: Route
) -> dict[Route, int]:
    """How each route answers when asked for what is not there."""
    absent = dict.fromkeys(
        (
            "model_id",
            "key_id",
            "token_id",
            "share_id",
            "credential_id",
            "webhook_id",
            "quota_id",
            "account_id",
            "statement_id",
            "meter_id",
            "request_id",
        ),
        uuid7(),
    )
    statuses = {}
    for method, path in routes:
        concrete = path.format(**absent, provider="OLLAMA", file="swagger-ui.css", month="2026-01")
        answer = await anonymous.request(method, concrete, headers=dict(headers))
        assert answer.status_code < 400 or answer.json()["statusCode"] == answer.status_code
        statuses[method, path] = answer.status_code
    return statuses


GUARDED = [route for route, (access, _) in DECLARED.items() if access is not Access.OPEN]
OPEN = [route for route, (access, _) in DECLARED.items() if access is Access.OPEN]


@pytest.mark.parametrize("shown", BAD)
async def test_a_bad_credential_opens_nothing_and_closes_nothing_open(
    anonymous: httpx.AsyncClient, shown: str
) -> None:
    assert await swept(anonymous, BAD[shown], *GUARDED) == dict.fromkeys(GUARDED, 401)
    assert await swept(anonymous, BAD[shown], *OPEN) == dict.fromkeys(OPEN, 200)


@pytest.mark.parametrize("role", ["admin", "service", "user"])
async def test_a_revoked_token_opens_nothing(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, role: str
) -> None:
    body = {"role": role} | ({"userId": "owner"} if role == "user" else {})
    made = (await client.post("/api/tokens", json=body)).json()
    headers = {"authorization": f"Bearer {made['token']}"}
    assert (await anonymous.get("/api/models", headers=headers)).status_code == 200
    assert (await client.delete(f"/api/tokens/{made['id']}")).status_code == 204
    assert await swept(anonymous, headers, *GUARDED) == dict.fromkeys(GUARDED, 401)


@pytest.mark.parametrize("granted", Permission)
async def test_a_scope_opens_the_routes_that_the_table_gives_it_and_no_other(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, granted: Permission
) -> None:
    limited = await token(client, role="admin", scopes={"routes": [granted.value]})
    headers = {**limited, "x-internal-secret": INTERNAL_SECRET}
    statuses = await swept(anonymous, headers, *GUARDED)
    opened = {route for route, status in statuses.items() if status != 403}
    assert opened == {route for route in GUARDED if DECLARED[route][1] is granted}
    assert 401 not in statuses.values()


async def test_credentials_are_checked_before_the_body_is_read(
    anonymous: httpx.AsyncClient,
) -> None:
    answer = await anonymous.post(
        "/api/models", content=b"{not json", headers={"content-type": "application/json"}
    )
    assert answer.status_code == 401
