"""Every way to stand to a key x everything that can be asked of it, over HTTP."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.types import uuid7
from tests.conftest import ADMIN_TOKEN
from tests.sharing import INTERNAL, OTHER_VALUE, VALUE, Headers, Scene, service, stored, user


@pytest_asyncio.fixture
async def scene(client: httpx.AsyncClient, database: Database) -> Scene:
    return await Scene.built(client, database)


Credential = Callable[[httpx.AsyncClient], Awaitable[Headers]]


def _user(name: str) -> Credential:
    return lambda client: user(client, name)


def _service(name: str | None = None) -> Credential:
    return lambda client: service(client, name)


async def _administrator(client: httpx.AsyncClient) -> Headers:
    return {"authorization": f"Bearer {ADMIN_TOKEN}"}


def _internal(name: str | None = None) -> Credential:
    async def headers(client: httpx.AsyncClient) -> Headers:
        return INTERNAL if name is None else INTERNAL | {"x-user-id": name}

    return headers


MANAGING = {
    "see": 200, "validate": 200, "change": 200, "rotate": 200, "rotation": 200, "policy": 200,
    "shares": 200, "share": 201, "unshare": 204, "value": 401, "delete": 204,
}  # fmt: skip
LOOKING = {
    "see": 200, "validate": 403, "change": 403, "rotate": 403, "rotation": 403, "policy": 403,
    "shares": 200, "share": 403, "unshare": 403, "value": 401, "delete": 403,
}  # fmt: skip
NOTHING = dict.fromkeys(MANAGING, 404) | {"value": 401}
NAME_NEEDED = dict.fromkeys(MANAGING, 400) | {"value": 401}

#: Who asks, what each question is answered with, and what asking for the value is with the
#: internal secret added to what they show.
TABLE: Mapping[str, tuple[Credential, Mapping[str, int], int]] = {
    "the owner": (_user("owner"), MANAGING, 200),
    "a grantee with use": (_user("using"), LOOKING, 403),
    "a grantee with reveal": (_user("revealing"), LOOKING, 200),
    "a grantee with reveal for a model": (_user("limited"), LOOKING, 403),
    "a grantee whose grant expired": (_user("expired"), NOTHING, 403),
    "a grantee whose grant was revoked": (_user("revoked"), NOTHING, 403),
    "another user": (_user("other"), NOTHING, 403),
    "a service for the owner": (_service("owner"), MANAGING, 200),
    "a service for a grantee with use": (_service("using"), LOOKING, 403),
    "a service for a grantee with reveal": (_service("revealing"), LOOKING, 200),
    "a service for another user": (_service("other"), NOTHING, 403),
    "a service that names nobody": (_service(), NAME_NEEDED, 200),
    "an administrator": (_administrator, MANAGING, 200),
    "the internal secret alone": (_internal(), NAME_NEEDED | {"value": 200}, 200),
    "the internal secret for the owner": (_internal("owner"), MANAGING | {"value": 200}, 200),
    "the internal secret for a stranger": (_internal("other"), NOTHING | {"value": 403}, 403),
}


async def ask(
    client: httpx.AsyncClient, scene: Scene, headers: Headers, question: str
) -> httpx.Response:
    path = scene.path
    method, path, body = {
        "see": ("GET", path, None),
        "validate": ("POST", f"{path}/validate", None),
        "change": ("PUT", path, {"metadata": {"a": 1}}),
        "rotate": ("POST", f"{path}/rotate", {"apiKey": OTHER_VALUE}),
        "rotation": ("GET", f"{path}/rotation", None),
        "policy": ("PUT", f"{path}/rotation-policy", {"mode": "remind", "everyDays": 90}),
        "shares": ("GET", f"{path}/shares", None),
        "share": ("POST", f"{path}/shares", {"granteeUserId": "somebody"}),
        "unshare": ("DELETE", f"{path}/shares/{scene.shares['using']['id']}", None),
        "value": ("GET", f"{path}/decrypt", None),
        "delete": ("DELETE", path, None),
    }[question]
    return await client.request(method, path, json=body, headers=dict(headers))


@pytest.mark.parametrize("who", TABLE)
async def test_each_gets_what_the_table_says(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, scene: Scene, who: str
) -> None:
    credential, expected, with_secret = TABLE[who]
    headers = await credential(client)
    value = await ask(anonymous, scene, {**headers, **INTERNAL}, "value")
    assert (value.status_code, VALUE in value.text) == (with_secret, with_secret == 200)
    before = (await client.get(scene.path)).json()
    answers = {question: await ask(anonymous, scene, headers, question) for question in expected}
    assert {question: answer.status_code for question, answer in answers.items()} == expected
    assert all(
        VALUE not in answer.text and OTHER_VALUE not in answer.text
        for question, answer in answers.items()
        if question != "value"
    )
    if expected["delete"] != 204:
        after = (await client.get(scene.path)).json()
        counted = {"usageCount", "lastUsedAt"}
        assert {name: after[name] for name in after if name not in counted} == {
            name: before[name] for name in before if name not in counted
        }


@pytest.mark.parametrize("question", sorted(set(MANAGING) - {"value"}))
async def test_somebody_elses_key_is_answered_as_an_unknown_one(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, question: str
) -> None:
    key = await stored(client)
    headers = await user(client, "other")
    share = {"using": {"id": uuid7()}}
    answers = [
        await ask(anonymous, Scene({"id": key_id}, share), headers, question)
        for key_id in (key["id"], uuid7())
    ]
    told = [(answer.status_code, _told(answer)) for answer in answers]
    assert told[0] == told[1]
    assert told[0][0] == 404


def _told(answer: httpx.Response) -> dict[str, Any]:
    """What an answer tells besides when and where it was given."""
    told: dict[str, Any] = answer.json()
    return {name: told[name] for name in told if name not in ("timestamp", "path", "requestId")}


async def listed(client: httpx.AsyncClient, headers: Headers, query: str) -> list[str] | int:
    """The names of the keys listed, or the status of the refusal."""
    answer = await client.get(f"/api/api-keys{query}", headers=dict(headers))
    if answer.status_code != 200:
        return answer.status_code
    return [key["keyName"] for key in answer.json()]


async def test_lists_are_of_whom_the_caller_may_act_for(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    for owner in ("u", "v"):
        await stored(client, userId=owner, keyName=f"of {owner}")
    of_u, of_v, everything = ["of u"], ["of v"], ["of v", "of u"]
    plain, as_u, acting = await service(client), await user(client, "u"), await service(client, "u")
    for prefix in ("", "/provider/OPENAI"):
        expected: list[tuple[Headers, str, list[str] | int]] = [
            (as_u, "", of_u), (as_u, "?userId=u", of_u), (as_u, "?userId=v", 403),
            (plain, "", 400), (plain, "?userId=v", of_v), (INTERNAL, "", 400),
            (INTERNAL, "?userId=v", of_v), (acting, "", of_u), (acting, "?userId=u", of_u),
            (acting, "?userId=v", 403), (client.headers, "", everything),
            (client.headers, "?userId=v", of_v),
        ]  # fmt: skip
        for headers, query, names in expected:
            assert await listed(anonymous, headers, prefix + query) == names, (prefix, query)


async def test_a_user_stores_keys_for_itself_alone(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    body = {"userId": "u", "provider": "OPENAI", "keyName": "main", "apiKey": VALUE}
    statuses = []
    for headers in (
        await user(client, "v"),
        await service(client, "v"),
        await user(client, "u"),
        await service(client, "u"),
    ):
        answer = await anonymous.post("/api/api-keys", json=body, headers=headers)
        statuses.append(answer.status_code)
    assert statuses == [403, 403, 201, 409]
    stored_by_service = await anonymous.post(
        "/api/api-keys", json=body | {"keyName": "second"}, headers=await service(client)
    )
    assert stored_by_service.status_code == 201


@pytest.mark.parametrize("credential", [_user("u"), _service("u"), _service(), _internal()])
async def test_only_an_administrator_stores_unvalidated(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, credential: Credential
) -> None:
    body = {"userId": "u", "provider": "OPENAI", "keyName": "main", "apiKey": VALUE}
    headers = dict(await credential(client))
    answer = await anonymous.post("/api/api-keys?validate=false", json=body, headers=headers)
    assert answer.status_code == 403
    assert await listed(client, client.headers, "?userId=u") == []


async def test_only_an_administrator_has_a_key_rotated_automatically(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    path = f"/api/api-keys/{(await stored(client))['id']}/rotation-policy"
    policy = {"mode": "automatic", "everyDays": 90}
    refused = await anonymous.put(path, json=policy, headers=await user(client, "owner"))
    assert refused.status_code == 403


async def test_a_body_is_no_reason_to_tell_a_stranger_more(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    path = f"/api/api-keys/{(await stored(client))['id']}"
    headers = await user(client, "other")
    answer = await anonymous.put(path, json={"apiKey": OTHER_VALUE}, headers=headers)
    assert answer.status_code == 404


@pytest.mark.parametrize("provider", ["CUSTOM", "OLLAMA"])
@pytest.mark.parametrize("who", [_user("owner"), _service("owner"), _internal("owner")])
async def test_only_an_administrator_leads_calls_to_a_host_of_his_choice(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, provider: str, who: Credential
) -> None:
    body = {
        "userId": "owner", "provider": provider, "keyName": "theirs", "apiKey": VALUE,
        "metadata": {"endpoint": "https://models.example.com/v1"},
    }  # fmt: skip
    answer = await anonymous.post("/api/api-keys", json=body, headers=await who(client))
    assert answer.status_code == 403
    assert "Only an administrator may say where" in answer.json()["message"]
    assert (await client.post("/api/api-keys", json=body)).status_code == 201
    plain = {**body, "keyName": "plain", "metadata": None}
    answer = await anonymous.post("/api/api-keys", json=plain, headers=await who(client))
    assert answer.status_code == 201, "without a host it is a key like any other"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/decrypt"), ("POST", "/validate"), ("PUT", ""), ("DELETE", "")],
)
async def test_what_a_route_does_not_know_is_not_ignored(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    key = await stored(client)
    answer = await client.request(
        method,
        f"/api/api-keys/{key['id']}{path}?userid=owner",
        headers=INTERNAL,
        json={} if method == "PUT" else None,
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "userid"
    assert (await client.get(f"/api/api-keys/{key['id']}")).status_code == 200
