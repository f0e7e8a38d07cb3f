"""A key with everybody who can stand in some way to it, over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import update

from model_service.db.tables import key_shares
from model_service.db.uow import Database
from tests.conftest import INTERNAL_SECRET

VALUE = "sk-sandbox-0123456789abcdef"
OTHER_VALUE = "sk-sandbox-fedcba9876543210"
INTERNAL = {"x-internal-secret": INTERNAL_SECRET}

Headers = Mapping[str, str]


async def token(client: httpx.AsyncClient, **body: Any) -> dict[str, str]:
    """The header of a new token."""
    answer = await client.post("/api/tokens", json=body)
    assert answer.status_code == 201, answer.text
    return {"authorization": f"Bearer {answer.json()['token']}"}


async def user(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    """The header of a user."""
    return await token(client, role="user", userId=name)


async def service(client: httpx.AsyncClient, acts_for: str | None = None) -> dict[str, str]:
    """The headers of a service, acting for somebody or naming nobody."""
    headers = await token(client, role="service")
    return headers if acts_for is None else headers | {"x-user-id": acts_for}


async def stored(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """A key that the provider took, as the API shows it to an administrator."""
    body = {"userId": "owner", "provider": "OPENAI", "keyName": "main", "apiKey": VALUE}
    answer = await client.post("/api/api-keys", json=body | changes)
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


async def shared(
    client: httpx.AsyncClient, key: Mapping[str, Any], to: str, **body: Any
) -> dict[str, Any]:
    """A grant of the key, as the API shows it."""
    answer = await client.post(
        f"/api/api-keys/{key['id']}/shares", json={"granteeUserId": to} | body
    )
    assert answer.status_code == 201, answer.text
    share: dict[str, Any] = answer.json()
    return share


async def expire(database: Database, share: Mapping[str, Any]) -> None:
    """Have a grant end at the moment it began."""
    async with database.single() as connection:
        await connection.execute(
            update(key_shares)
            .where(key_shares.c.id == share["id"])
            .values(expires_at=key_shares.c.created_at)
        )


@dataclass(frozen=True)
class Scene:
    """A key of `owner`, shared in every way: each grantee is named for what it has."""

    key: dict[str, Any]
    shares: dict[str, dict[str, Any]]

    @property
    def path(self) -> str:
        """Where the key is."""
        return f"/api/api-keys/{self.key['id']}"

    @classmethod
    async def built(cls, client: httpx.AsyncClient, database: Database) -> "Scene":
        """The scene, by an administrator's client."""
        key = await stored(client)
        shares = {
            "using": await shared(client, key, "using"),
            "revealing": await shared(client, key, "revealing", scope="reveal"),
            "limited": await shared(client, key, "limited", scope="reveal", models=["m"]),
            "expired": await shared(client, key, "expired", scope="reveal"),
            "revoked": await shared(client, key, "revoked", scope="reveal"),
        }
        await expire(database, shares["expired"])
        gone = f"/api/api-keys/{key['id']}/shares/{shares['revoked']['id']}"
        assert (await client.delete(gone)).status_code == 204
        return cls(key, shares)
