"""Giving, listing and revoking grants, and what a grantee then has."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from model_service.db.tables import change_versions, key_shares
from model_service.db.uow import Database
from model_service.kernel.types import uuid7
from model_service.sandbox.server import Sandbox
from tests.sharing import INTERNAL, VALUE, Headers, expire, service, shared, stored, user


async def names(client: httpx.AsyncClient, headers: Headers, query: str = "") -> list[str]:
    answer = await client.get(f"/api/api-keys{query}", headers=dict(headers))
    assert answer.status_code == 200, answer.text
    return [key["keyName"] for key in answer.json()]


async def test_a_grant_says_what_was_granted(client: httpx.AsyncClient) -> None:
    key = await stored(client)
    share = await shared(client, key, "grantee")
    assert share.pop("id") != key["id"]
    assert share.pop("createdAt") >= key["createdAt"]
    assert share == {
        "keyId": key["id"],
        "ownerUserId": "owner",
        "granteeUserId": "grantee",
        "scope": "use",
        "models": None,
        "expiresAt": None,
    }
    wider = {"scope": "reveal", "models": ["b", "a", "b"], "expiresAt": "2099-01-01T00:00:00+01:00"}
    second = await shared(client, key, "second", **wider)
    assert second["scope"] == "reveal"
    assert second["models"] == ["b", "a"]
    assert second["expiresAt"] == "2098-12-31T23:00:00.000Z"


@pytest.mark.parametrize(
    "change",
    [
        {"granteeUserId": None}, {"granteeUserId": ""}, {"granteeUserId": "owner"},
        {"granteeUserId": "x" * 256}, {"granteeUserId": "\x00"}, {"scope": "own"}, {"scope": None},
        {"models": []}, {"models": [""]}, {"models": "m"}, {"models": ["m"] * 101},
        {"expiresAt": "2020-01-01T00:00:00Z"}, {"expiresAt": "2099-01-01T00:00:00"},
        {"ownerUserId": "u"}, {"quota": {}},
    ],
)  # fmt: skip
async def test_what_is_no_grant_is_refused(
    client: httpx.AsyncClient, database: Database, change: dict[str, Any]
) -> None:
    key = await stored(client)
    answer = await client.post(
        f"/api/api-keys/{key['id']}/shares", json={"granteeUserId": "grantee"} | change
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"].startswith(next(iter(change)))
    async with database.single() as connection:
        assert (await connection.execute(select(key_shares))).all() == []


async def test_a_second_grant_to_somebody_is_409_until_the_first_ends(
    client: httpx.AsyncClient, database: Database
) -> None:
    key = await stored(client)
    path, body = f"/api/api-keys/{key['id']}/shares", {"granteeUserId": "grantee"}
    first = await shared(client, key, "grantee", expiresAt="2099-01-01T00:00:00Z")
    again = await client.post(path, json=body | {"scope": "reveal"})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")
    await expire(database, first)
    second = await shared(client, key, "grantee", scope="reveal")
    assert second["id"] != first["id"]
    assert (await client.delete(f"{path}/{second['id']}")).status_code == 204
    await shared(client, key, "grantee")


async def test_the_owner_sees_every_grant_in_pages_and_a_grantee_its_own(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    key = await stored(client)
    made = [await shared(client, key, f"grantee {index}") for index in range(3)]
    path, owner = f"/api/api-keys/{key['id']}/shares", await user(client, "owner")
    first = (await anonymous.get(f"{path}?limit=2", headers=owner)).json()
    assert first["data"] == [made[2], made[1]]
    rest = (
        await anonymous.get(f"{path}?limit=2&cursor={first['nextCursor']}", headers=owner)
    ).json()
    assert rest == {"data": [made[0]], "nextCursor": None}
    own = await anonymous.get(path, headers=await user(client, "grantee 1"))
    assert own.json() == {"data": [made[1]], "nextCursor": None}
    naming = await client.get(path, headers={"x-user-id": "grantee 1"})
    assert len(naming.json()["data"]) == 3, "an administrator sees all whoever it names"


async def test_a_grantee_sees_the_key_marked_as_shared_and_the_owner_as_ever(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    key = await stored(client)
    await shared(client, key, "grantee", scope="reveal")
    marked = key | {"shared": True, "shareScope": "reveal", "ownerUserId": "owner"}
    path = f"/api/api-keys/{key['id']}"
    grantee, owner = await user(client, "grantee"), await user(client, "owner")
    assert (await anonymous.get(path, headers=grantee)).json() == marked
    assert (await anonymous.get(path, headers=owner)).json() == key
    assert (await client.get(path)).json() == key
    for query in ("", "?userId=grantee", "/provider/OPENAI", "?provider=OPENAI&isValid=true"):
        answer = await anonymous.get(f"/api/api-keys{query}", headers=grantee)
        assert answer.json() == [marked]
    assert (await client.get("/api/api-keys?userId=grantee")).json() == [marked]
    assert (await client.get("/api/api-keys")).json() == [key]
    assert (await anonymous.get("/api/api-keys", headers=owner)).json() == [key]


async def test_lists_mix_own_and_shared_keys_newest_first_and_count_both(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    for number, owner in enumerate(["u", "v", "u", "v", "w"]):
        key = await stored(client, userId=owner, keyName=f"{number} of {owner}")
        if owner == "v":
            await shared(client, key, "u")
            await shared(client, key, "w")
    headers = await user(client, "u")
    mixed = ["3 of v", "2 of u", "1 of v", "0 of u"]
    assert await names(anonymous, headers) == mixed
    page = (await anonymous.get("/api/api-keys?page=2&limit=3", headers=headers)).json()
    assert ([key["keyName"] for key in page["data"]], page["total"]) == (mixed[3:], 4)
    assert await names(anonymous, headers, "?isActive=false") == []
    assert await names(anonymous, headers, "/provider/GOOGLE") == []


async def test_nothing_is_left_after_revocation_expiry_or_the_keys_end(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database
) -> None:
    async def has_it(headers: Headers, key: dict[str, Any]) -> tuple[int, int, int]:
        path = f"/api/api-keys/{key['id']}"
        asked = INTERNAL | {"x-user-id": "grantee"}
        found = await anonymous.get(path, headers=dict(headers))
        value = await anonymous.get(f"{path}/decrypt", headers=asked)
        return len(await names(anonymous, headers)), found.status_code, value.status_code

    grantee = await user(client, "grantee")
    revoked, expired, deleted = [await stored(client, keyName=name) for name in ("r", "e", "d")]
    share = await shared(client, revoked, "grantee", scope="reveal")
    assert await has_it(grantee, revoked) == (1, 200, 200)
    path = f"/api/api-keys/{revoked['id']}/shares/{share['id']}"
    owner = await user(client, "owner")
    assert (await anonymous.delete(path, headers=owner)).status_code == 204
    assert await has_it(grantee, revoked) == (0, 404, 403)
    assert (await anonymous.delete(path, headers=owner)).status_code == 404
    await expire(database, await shared(client, expired, "grantee", scope="reveal"))
    assert await has_it(grantee, expired) == (0, 404, 403)
    await shared(client, deleted, "grantee", scope="reveal")
    await client.delete(f"/api/api-keys/{deleted['id']}")
    assert await has_it(grantee, deleted) == (0, 404, 404)
    async with database.single() as connection:
        left = await connection.execute(select(key_shares.c.key_id))
    assert [str(key_id) for key_id in left.scalars()] == [expired["id"]]


async def test_a_grant_is_revoked_under_its_own_key_only(client: httpx.AsyncClient) -> None:
    one, other = await stored(client), await stored(client, keyName="other")
    share = await shared(client, one, "grantee")
    for key_id, share_id in ((other["id"], share["id"]), (one["id"], uuid7())):
        answer = await client.delete(f"/api/api-keys/{key_id}/shares/{share_id}")
        assert answer.status_code == 404
    listed = await client.get(f"/api/api-keys/{one['id']}/shares")
    assert listed.json()["data"] == [share]


async def test_a_service_shares_for_the_owner_it_names(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    key = await stored(client)
    path, body = f"/api/api-keys/{key['id']}/shares", {"granteeUserId": "grantee"}
    headers = await service(client, "owner")
    made = await anonymous.post(path, json=body, headers=headers)
    assert made.status_code == 201
    gone = await anonymous.delete(f"{path}/{made.json()['id']}", headers=headers)
    assert gone.status_code == 204


async def test_granting_and_revoking_are_audited_and_told_to_every_process(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database
) -> None:
    async def version() -> int:
        query = select(change_versions.c.version).where(change_versions.c.topic == "keys")
        async with database.single() as connection:
            return int(await connection.scalar(query) or 0)

    key = await stored(client)
    before = await version()
    share = await shared(client, key, "grantee", scope="reveal")
    assert await version() == before + 1
    owner = await user(client, "owner")
    await anonymous.delete(f"/api/api-keys/{key['id']}/shares/{share['id']}", headers=owner)
    assert await version() == before + 2
    records = (await client.get(f"/api/api-keys/{key['id']}/audit")).json()["data"]
    told = [
        (one["type"], one["actor"], one["purpose"], one["reason"])
        for one in records
        if one["type"] in ("key.share", "key.unshare")
    ]
    reason = f"share:{share['id']} grantee:grantee"
    assert told == [
        ("key.unshare", "user:owner", "reveal", reason),
        ("key.share", "administrator", "reveal", reason),
    ]


async def prepared_model(client: httpx.AsyncClient, name: str, **changes: Any) -> str:
    body = {"name": name, "provider": "OPENAI", "modelId": "gpt-4o"} | changes
    answer = await client.post("/api/models", json=body)
    assert answer.status_code == 201, answer.text
    return f"/api/models/{answer.json()['id']}"


@pytest.mark.parametrize(
    ("grant", "revealed"),
    [
        ({"scope": "use"}, {"m": None, "n": None}),
        ({"scope": "reveal"}, {"m": VALUE, "n": VALUE}),
        ({"scope": "reveal", "models": ["m"]}, {"m": VALUE, "n": None}),
    ],
)
async def test_a_model_comes_with_a_shared_key_only_where_its_value_is_granted(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    grant: dict[str, Any],
    revealed: dict[str, str | None],
) -> None:
    await shared(client, await stored(client), "grantee", **grant)
    found = {}
    for name in revealed:
        path = await prepared_model(client, name)
        answer = await anonymous.get(f"{path}?userId=grantee", headers=INTERNAL)
        found[name] = answer.json()["apiKey"]
    assert found == revealed


async def test_a_model_comes_with_no_key_of_another_user_than_the_one_named(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    await stored(client)
    path = await prepared_model(client, "m")
    naming = INTERNAL | {"x-user-id": "other"}
    assert (await anonymous.get(f"{path}?userId=owner", headers=naming)).status_code == 403
    same = await anonymous.get(f"{path}?userId=owner", headers=INTERNAL | {"x-user-id": "owner"})
    assert same.json()["apiKey"] == VALUE
    ignored = await anonymous.get(f"{path}?userId=owner", headers=await user(client, "other"))
    assert "apiKey" not in ignored.json()


async def test_own_keys_are_preferred_to_shared_ones_and_valid_ones_to_both(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    path = await prepared_model(client, "m")

    async def comes_with() -> str:
        answer = await anonymous.get(f"{path}?userId=grantee", headers=INTERNAL)
        return str(answer.json()["apiKey"])

    own, unchecked = "sk-sandbox-of-the-grantee", "sk-sandbox-never-checked"
    body = {"userId": "grantee", "provider": "OPENAI", "keyName": "own", "apiKey": unchecked}
    await client.post("/api/api-keys?validate=false", json=body)
    assert await comes_with() == unchecked
    await shared(client, await stored(client), "grantee", scope="reveal")
    assert await comes_with() == VALUE
    await stored(client, userId="grantee", keyName="checked", apiKey=own)
    assert await comes_with() == own


async def test_what_a_provider_offers_is_listed_by_a_shared_key_whose_value_stays_inside(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    key = await stored(client)
    path = "/api/models/providers/OPENAI/available-models"
    grantee = await user(client, "grantee")
    assert (await anonymous.get(path, headers=grantee)).status_code == 404
    share = await shared(client, key, "grantee")
    offered = await anonymous.get(path, headers=grantee)
    assert offered.status_code == 200
    assert len(offered.json()) > 1
    assert VALUE not in offered.text
    await client.delete(f"/api/api-keys/{key['id']}/shares/{share['id']}")
    assert (await anonymous.get(path, headers=grantee)).status_code == 404, "not from memory"


async def test_a_grant_limited_to_models_lists_what_is_behind_these(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    path = "/api/models/providers/OPENAI/available-models"
    key = await stored(client)
    everything = [one["id"] for one in (await client.get(f"{path}?userId=owner")).json()]
    await prepared_model(client, "granted", modelId=everything[0])
    await prepared_model(client, "another", modelId=everything[1])
    await shared(client, key, "grantee", models=["granted", "unknown"])
    offered = await anonymous.get(path, headers=await user(client, "grantee"))
    assert [one["id"] for one in offered.json()] == everything[:1]


async def test_a_user_asks_what_a_provider_offers_for_itself_alone(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    await stored(client)
    path = "/api/models/providers/OPENAI/available-models"
    other = await user(client, "other")
    assert (await anonymous.get(f"{path}?userId=owner", headers=other)).status_code == 403
    owner = await user(client, "owner")
    assert (await anonymous.get(path, headers=owner)).status_code == 200
    plain = await service(client)
    assert (await anonymous.get(path, headers=plain)).status_code == 400
    assert (await anonymous.get(f"{path}?userId=owner", headers=plain)).status_code == 200
