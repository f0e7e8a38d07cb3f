"""The access table: every route x every principal, as declared and as enforced."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi.routing import APIRoute

from model_service.app import Service
from model_service.http.auth import Access, GuardedRoute
from model_service.kernel.types import uuid7

TOKEN = "test-administrator-94c1f07d"
SECRET = "test-internal-2b60d8aa51"

#: The whole table. A route that is not here fails the test below.
TABLE: dict[tuple[str, str], Access] = {
    ("GET", "/api/health"): Access.OPEN,
    ("GET", "/api/health/ready"): Access.OPEN,
    ("GET", "/metrics"): Access.SERVICE,
    ("GET", "/api/openapi.json"): Access.SERVICE,
    ("GET", "/api/docs"): Access.SERVICE,
    ("GET", "/api/docs/{file}"): Access.OPEN,
    ("POST", "/api/models"): Access.ADMINISTRATOR,
    ("GET", "/api/models"): Access.USER,
    ("GET", "/api/models/default"): Access.USER,
    ("GET", "/api/models/stats"): Access.USER,
    ("GET", "/api/models/provider/{provider}"): Access.USER,
    ("GET", "/api/models/providers/{provider}/available-models"): Access.USER,
    ("GET", "/api/models/{model_id}"): Access.USER,
    ("PUT", "/api/models/{model_id}"): Access.ADMINISTRATOR,
    ("DELETE", "/api/models/{model_id}"): Access.ADMINISTRATOR,
    ("POST", "/api/api-keys"): Access.USER,
    ("GET", "/api/api-keys"): Access.USER,
    ("GET", "/api/api-keys/provider/{provider}"): Access.USER,
    ("GET", "/api/api-keys/{key_id}"): Access.USER,
    ("GET", "/api/api-keys/{key_id}/decrypt"): Access.INTERNAL,
    ("POST", "/api/api-keys/{key_id}/validate"): Access.USER,
    ("POST", "/api/api-keys/{key_id}/rotate"): Access.USER,
    ("GET", "/api/api-keys/{key_id}/rotation"): Access.USER,
    ("PUT", "/api/api-keys/{key_id}/rotation-policy"): Access.USER,
    ("PUT", "/api/api-keys/{key_id}"): Access.USER,
    ("GET", "/api/audit"): Access.AUDITOR,
    ("GET", "/api/api-keys/{key_id}/audit"): Access.AUDITOR,
    ("POST", "/api/tokens"): Access.ADMINISTRATOR,
    ("GET", "/api/tokens"): Access.USER,
    ("DELETE", "/api/tokens/{token_id}"): Access.USER,
    ("DELETE", "/api/api-keys/{key_id}"): Access.USER,
    ("POST", "/api/api-keys/{key_id}/shares"): Access.USER,
    ("GET", "/api/api-keys/{key_id}/shares"): Access.USER,
    ("DELETE", "/api/api-keys/{key_id}/shares/{share_id}"): Access.USER,
    ("POST", "/api/provider-admin-credentials"): Access.ADMINISTRATOR,
    ("GET", "/api/provider-admin-credentials"): Access.ADMINISTRATOR,
    ("DELETE", "/api/provider-admin-credentials/{credential_id}"): Access.ADMINISTRATOR,
    ("POST", "/api/webhooks"): Access.ADMINISTRATOR,
    ("GET", "/api/webhooks"): Access.ADMINISTRATOR,
    ("GET", "/api/webhooks/{webhook_id}"): Access.ADMINISTRATOR,
    ("PUT", "/api/webhooks/{webhook_id}"): Access.ADMINISTRATOR,
    ("DELETE", "/api/webhooks/{webhook_id}"): Access.ADMINISTRATOR,
    ("POST", "/api/webhooks/{webhook_id}/rotate-secret"): Access.ADMINISTRATOR,
    ("POST", "/api/webhooks/{webhook_id}/test"): Access.ADMINISTRATOR,
    ("GET", "/api/webhooks/{webhook_id}/deliveries"): Access.ADMINISTRATOR,
}

PRINCIPALS: dict[str, dict[str, str]] = {
    "nobody": {},
    "internal": {"x-internal-secret": SECRET},
    "administrator": {"authorization": f"Bearer {TOKEN}"},
    "administrator with the internal secret": {
        "authorization": f"Bearer {TOKEN}",
        "x-internal-secret": SECRET,
    },
    "wrong token": {"authorization": "Bearer wrong"},
    "wrong scheme": {"authorization": f"Basic {TOKEN}"},
    "wrong secret": {"x-internal-secret": "wrong"},
    "right token, wrong secret": {
        "authorization": f"Bearer {TOKEN}",
        "x-internal-secret": "wrong",
    },
}

#: Who is stopped with which status; everybody else passes.
STOPPED: dict[Access, dict[str, int]] = {
    Access.OPEN: {},
    Access.USER: {"nobody": 401},
    Access.SERVICE: {"nobody": 401},
    Access.AUDITOR: {"nobody": 401, "internal": 403},
    Access.ADMINISTRATOR: {"nobody": 401, "internal": 403},
    Access.INTERNAL: {"nobody": 401, "administrator": 401},
}
WRONG = {name: 401 for name in PRINCIPALS if "wrong" in name}


def routes(service: Service) -> Iterator[tuple[str, str, GuardedRoute]]:
    for route in service.app.routes:
        assert isinstance(route, GuardedRoute), f"{route} is not guarded"
        for method in route.methods or ():
            yield method, route.path, route


def test_the_table_names_every_route_and_what_it_declares(service: Service) -> None:
    declared = {(method, path): route.access for method, path, route in routes(service)}
    assert declared == TABLE


def test_a_route_that_declares_no_access_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="declares no access"):
        GuardedRoute("/careless", lambda: None)
    assert issubclass(GuardedRoute, APIRoute)


@pytest.mark.parametrize("principal", PRINCIPALS)
@pytest.mark.parametrize(("method", "path"), TABLE)
async def test_each_principal_gets_what_the_table_says(
    anonymous: httpx.AsyncClient, method: str, path: str, principal: str
) -> None:
    access = TABLE[method, path]
    concrete = (
        path.replace("{provider}", "OLLAMA")
        .replace("{file}", "swagger-ui.css")
        .replace("{model_id}", str(uuid7()))
        .replace("{key_id}", str(uuid7()))
        .replace("{token_id}", str(uuid7()))
        .replace("{share_id}", str(uuid7()))
        .replace("{credential_id}", str(uuid7()))
        .replace("{webhook_id}", str(uuid7()))
    )
    answer = await anonymous.request(method, concrete, headers=PRINCIPALS[principal])
    expected = STOPPED[access] | ({} if access is Access.OPEN else WRONG)
    if principal in expected:
        assert answer.status_code == expected[principal]
        assert answer.json()["statusCode"] == expected[principal]
    else:
        assert answer.status_code not in (401, 403)


async def test_credentials_are_checked_before_the_body_is_read(
    anonymous: httpx.AsyncClient,
) -> None:
    answer = await anonymous.post(
        "/api/models", content=b"{not json", headers={"content-type": "application/json"}
    )
    assert answer.status_code == 401
