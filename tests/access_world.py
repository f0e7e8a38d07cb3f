"""One of everything, all of it the same owner's, and everybody who may ask for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx

from model_service.billing.months import Month
from model_service.kernel.types import uuid7
from model_service.sandbox.openai_admin import PROJECT
from model_service.sandbox.server import Sandbox
from tests.conftest import ADMIN_TOKEN
from tests.sharing import INTERNAL, OTHER_VALUE, VALUE, Headers, shared, stored, token

_numbers = count()

LAST_MONTH = Month.of(datetime.now(UTC)).shifted(-1)


@dataclass
class World:
    """Objects that are really there, so that no hole is hidden by a 404."""

    client: httpx.AsyncClient
    sandbox: Sandbox
    ids: dict[str, str] = field(default_factory=dict)
    number: int = 0

    async def renew(self) -> None:
        """Make everything anew: what was asked for last may have changed or removed it."""
        self.number = next(_numbers)
        key = await stored(self.client, keyName=f"key {self.number}")
        share = await shared(self.client, key, "third")
        await shared(self.client, key, "using")
        await shared(self.client, key, "revealing", scope="reveal")
        made = {
            "model_id": await self._made("models", self.model()),
            "token_id": await self._made("tokens", {"role": "user", "userId": "owner"}),
            "webhook_id": await self._made("webhooks", self.webhook()),
            "quota_id": await self._made("quotas", self.quota()),
            "credential_id": await self._made("provider-admin-credentials", self.credential()),
            "account_id": await self._account("owner"),
            "statement_id": await self._statement(),
            "meter_id": str(uuid7()),
            "request_id": str(uuid7()),
        }
        self.ids = {"key_id": key["id"], "share_id": share["id"], **made}

    async def _made(self, collection: str, body: Mapping[str, Any]) -> str:
        answer = await self.client.post(f"/api/{collection}", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def _account(self, user: str) -> str:
        account = await self._made("billing/accounts", self.account())
        await self._made(f"billing/accounts/{account}/members", {"userId": user})
        return account

    async def _statement(self) -> str:
        account = await self._made("billing/accounts", self.account())
        body = {"accountId": account, "month": str(LAST_MONTH)}
        answer = await self.client.post("/api/billing/statements/close", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def account(self) -> dict[str, Any]:
        name = f"account {next(_numbers)} of {uuid7()}"
        return {"name": name, "firstMonth": str(LAST_MONTH), "monthlyFee": 10}

    def model(self) -> dict[str, Any]:
        name = f"model {next(_numbers)}"
        return {"name": name, "provider": "OPENAI", "modelId": "gpt-4o", "isDefault": True}

    def webhook(self) -> dict[str, Any]:
        return {"url": f"{self.sandbox.azure.origin}/hook"}

    def quota(self) -> dict[str, Any]:
        return {"userId": "owner", "metric": "tokens", "window": "day", "limit": 1000}

    def credential(self) -> dict[str, Any]:
        secret = "sk-admin-sandbox-0123456789"
        return {"provider": "OPENAI", "secret": secret, "settings": {"projectId": PROJECT}}

    def path(self, route: str) -> str:
        """The path of a route, of these objects."""
        return route.format(
            **self.ids, provider="OPENAI", file="swagger-ui.css", month=str(LAST_MONTH)
        )

    async def ask(
        self, anonymous: httpx.AsyncClient, method: str, route: str, headers: Headers
    ) -> httpx.Response:
        """Ask for all that a route can do, in a way that does not fail for another reason."""
        body = BODIES.get((method, route))
        return await anonymous.request(
            method,
            self.path(route),
            params=QUERIES.get((method, route)),
            json=None if body is None else body(self),
            headers=dict(headers),
        )

    async def seen(self) -> dict[str, Any]:
        """Everything there is, as the administrator sees it."""
        key = self.path("/api/api-keys/{key_id}")
        paths = (
            "/api/models", "/api/api-keys", f"{key}/shares", f"{key}/rotation", "/api/tokens",
            "/api/webhooks", "/api/provider-admin-credentials", "/api/quotas",
            "/api/billing/accounts", "/api/billing/statements",
        )  # fmt: skip
        answers = {path: await self.client.get(path) for path in paths}
        assert {answer.status_code for answer in answers.values()} == {200}
        return {path: answer.json() for path, answer in answers.items()}


#: Lists that name whose things they show.
OF_A_USER = (
    ("GET", "/api/models/providers/{provider}/available-models"),
    ("GET", "/api/api-keys"),
    ("GET", "/api/api-keys/provider/{provider}"),
    ("GET", "/api/tokens"),
    ("DELETE", "/api/billing/accounts/{account_id}/members"),
    ("GET", "/api/quotas"),
    ("GET", "/api/usage"),
    ("GET", "/api/usage/export"),
    ("GET", "/api/usage/summary"),
)
#: What is asked for in the query; each is right.
QUERIES: Mapping[tuple[str, str], Mapping[str, str]] = {
    route: {"userId": "owner"} for route in OF_A_USER
}


def _key(world: World) -> dict[str, Any]:
    name = f"another {next(_numbers)}"
    return {"userId": "owner", "provider": "OPENAI", "keyName": name, "apiKey": VALUE}


#: What is sent along; each is right.
BODIES: Mapping[tuple[str, str], Callable[[World], dict[str, Any]]] = {
    ("POST", "/api/models"): World.model,
    ("PUT", "/api/models/{model_id}"): lambda world: {"description": "changed"},
    ("POST", "/api/quotas"): World.quota,
    ("PUT", "/api/quotas/{quota_id}"): lambda world: {"limit": 2000},
    ("POST", "/api/api-keys"): _key,
    ("PUT", "/api/api-keys/{key_id}"): lambda world: {"metadata": {"changed": True}},
    ("POST", "/api/api-keys/{key_id}/rotate"): lambda world: {"apiKey": OTHER_VALUE},
    ("PUT", "/api/api-keys/{key_id}/rotation-policy"): lambda world: {
        "mode": "remind",
        "everyDays": 90,
    },
    ("POST", "/api/api-keys/{key_id}/shares"): lambda world: {
        "granteeUserId": f"friend {next(_numbers)}"
    },
    ("POST", "/api/tokens"): lambda world: {"role": "user", "userId": "owner"},
    ("POST", "/api/provider-admin-credentials"): World.credential,
    ("POST", "/api/billing/accounts"): World.account,
    ("PUT", "/api/billing/accounts/{account_id}"): lambda world: {"monthlyFee": 20},
    ("POST", "/api/billing/accounts/{account_id}/members"): lambda world: {
        "userId": f"friend {next(_numbers)}"
    },
    ("POST", "/api/billing/statements/close"): lambda world: {
        "accountId": world.ids["account_id"],
        "month": str(LAST_MONTH),
    },
    ("POST", "/api/billing/statements/{statement_id}/credit-notes"): lambda world: {
        "amount": 1,
        "reason": "an outage",
    },
    ("POST", "/api/webhooks"): World.webhook,
    ("PUT", "/api/webhooks/{webhook_id}"): lambda world: {"description": "changed"},
}

#: Whoever asks, in the order of the columns of the table.
PRINCIPALS = (
    "nobody",
    "other user", "grantee (use)", "grantee (reveal)", "owner",
    "service", "service for owner", "service for other",
    "administrator", "admin token",
    "internal", "internal for owner", "internal for other",
    "auditor",
)  # fmt: skip

#: To whom nothing of the owner's may be told.
STRANGERS = ("nobody", "other user", "service for other", "internal for other")


async def credentials(client: httpx.AsyncClient) -> dict[str, Headers]:
    """What each of them shows."""
    service = await token(client, role="service")
    auditing = {"routes": ["auditor"]}

    def named(headers: Headers, user: str) -> Headers:
        return {**headers, "x-user-id": user}

    shown: dict[str, Headers] = {
        "nobody": {},
        "other user": await token(client, role="user", userId="other"),
        "grantee (use)": await token(client, role="user", userId="using"),
        "grantee (reveal)": await token(client, role="user", userId="revealing"),
        "owner": await token(client, role="user", userId="owner"),
        "service": service,
        "service for owner": named(service, "owner"),
        "service for other": named(service, "other"),
        "administrator": {"authorization": f"Bearer {ADMIN_TOKEN}"},
        "admin token": await token(client, role="admin"),
        "internal": INTERNAL,
        "internal for owner": named(INTERNAL, "owner"),
        "internal for other": named(INTERNAL, "other"),
        "auditor": await token(client, role="user", userId="auditing", scopes=auditing),
    }
    assert tuple(shown) == PRINCIPALS
    return shown
