"""Input that is not a model, or not a question: 400, and nothing is stored."""

import json
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_service.kernel.types import uuid7

GOOD: dict[str, Any] = {"name": "chat", "provider": "OPENAI", "modelId": "m"}
JSON = {"content-type": "application/json"}


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {"a": inner}
    return inner


OBJECTS: list[Any] = [
    [], "{}", 7, True, {"a": "\x00"}, {"\x00": 1}, {"a": [{"b": "\x00"}]}, nested(20),
    {"a": "x" * 70_000},
]  # fmt: skip

#: Values that a field must not have.
BAD: dict[str, list[Any]] = {
    "name": [None, "", 7, True, ["a"], {"a": 1}, "x" * 256, "a\x00b"],
    "modelId": [None, "", 7, "x" * 256, "\x00"],
    "provider": [None, "", "openai", "OpenAI", "MISTRAL", 1, ["OPENAI"]],
    "description": [7, True, "x" * 10_001, "a\x00b"],
    "maxTokens": [None, 0, -1, 1.5, 1.0, "1", True, 2**31, 2**70, [1]],
    "supportsStreaming": [None, 1, 0, "true", "yes", []],
    "isActive": [None, 1, "false"],
    "isDefault": [None, 0, "true"],
    "defaultTemperature": [-0.1, 2.1, "1", True, [1], 1e300],
    "rateLimitPerMinute": [-1, 1.5, "1", True, 2**31],
    "rateLimitPerHour": [-1, 2**31],
    "rateLimitPerDay": [-1, 2**31],
    "inputCostPer1kTokens": [-0.01, "0.1", True, 1e10, {}],
    "outputCostPer1kTokens": [-1, "1"],
    "cachedInputCostPer1kTokens": [-1, "1"],
    "cacheWriteCostPer1kTokens": [-1, "1"],
    "contextWindow": [0, -1, 1.5, "1", 2**31],
    "providerSettings": OBJECTS,
    "metadata": OBJECTS,
    "capabilities": [
        [], "tools", {"tools": 1}, {"tools": "yes"}, {"": True}, {"Tools": True}, {"to ols": True},
        {"a" * 65: True}, {f"c{number}": True for number in range(51)},
    ],
    "fallbacks": [
        "other", {}, [""], [7], [None], ["a", "a"], ["chat"], ["x" * 256], ["a\x00"],
        [f"m{number}" for number in range(21)],
    ],
}  # fmt: skip


async def nothing_is_stored(client: httpx.AsyncClient) -> bool:
    return bool((await client.get("/api/models")).json() == [])


def assert_refused(answer: httpx.Response, field: str | None = None) -> None:
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert (body["statusCode"], body["code"]) == (400, "validation_failed")
    if field is not None:
        assert any(fault["field"].startswith(field) for fault in body["errors"]), body


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD.items() for value in values]
)
async def test_a_bad_value_is_refused_by_name_at_creation_and_change(
    client: httpx.AsyncClient, field: str, value: Any
) -> None:
    assert_refused(await client.post("/api/models", json=GOOD | {field: value}), field)
    assert await nothing_is_stored(client)
    made = (await client.post("/api/models", json=GOOD)).json()
    path = f"/api/models/{made['id']}"
    assert_refused(await client.put(path, json={"description": "d", field: value}), field)
    assert (await client.get(path)).json() == made


@pytest.mark.parametrize("field", GOOD)
async def test_a_required_field_is_missed_by_name(client: httpx.AsyncClient, field: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != field}
    assert_refused(await client.post("/api/models", json=body), field)


@pytest.mark.parametrize(
    "field",
    ["id", "createdAt", "updatedAt", "apiKey", "model_id", "max_tokens", "Name", "__proto__", ""],
)
async def test_an_unknown_field_is_refused(client: httpx.AsyncClient, field: str) -> None:
    answer = await client.post("/api/models", json=GOOD | {field: "x"})
    assert_refused(answer)
    assert "unknown field" in [fault["message"] for fault in answer.json()["errors"]]
    made = (await client.post("/api/models", json=GOOD)).json()
    assert_refused(await client.put(f"/api/models/{made['id']}", json={field: "x"}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"7",
        b"{",
        b'{"name": NaN}',
        b'{"name": "chat", "provider": "OPENAI", "modelId": "m", "inputCostPer1kTokens": NaN}',
        b'{"name": "chat", "provider": "OPENAI", "modelId": "m", "defaultTemperature": Infinity}',
        b'{"name": "chat", "provider": "OPENAI", "modelId": "m", "defaultTemperature": 1e999}',
        b'{"name": "\\ud800", "provider": "OPENAI", "modelId": "m"}',
        b'{"name": "\xff", "provider": "OPENAI", "modelId": "m"}',
        b'{"metadata": ' + b'{"a":' * 100_000,
    ],
)
async def test_a_body_that_is_not_a_json_object_is_refused(
    client: httpx.AsyncClient, body: bytes
) -> None:
    assert_refused(await client.post("/api/models", content=body, headers=JSON))
    path = f"/api/models/{uuid7()}"
    assert_refused(await client.put(path, content=body, headers=JSON))
    assert await nothing_is_stored(client)


async def test_a_body_over_the_bound_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/models", json=GOOD | {"description": "x" * 2**20})
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert await nothing_is_stored(client)


async def test_a_rename_to_one_of_the_own_fallbacks_is_refused(
    client: httpx.AsyncClient,
) -> None:
    made = (await client.post("/api/models", json=GOOD | {"fallbacks": ["other"]})).json()
    path = f"/api/models/{made['id']}"
    assert_refused(await client.put(path, json={"name": "other"}), "fallbacks")
    both = {"name": "other", "fallbacks": ["chat"]}
    assert (await client.put(path, json=both)).status_code == 200


@pytest.mark.parametrize("url", ["ftp://h", "https://u:p@h", "https://h#f", "h", "", 7, None])
async def test_a_custom_models_base_url_is_checked_at_creation_and_change(
    client: httpx.AsyncClient, url: Any
) -> None:
    field = "providerSettings.baseUrl"
    bad = {"providerSettings": {"baseUrl": url}}
    assert_refused(
        await client.post("/api/models", json=GOOD | {"provider": "CUSTOM"} | bad), field
    )
    made = (await client.post("/api/models", json=GOOD | bad)).json()
    path = f"/api/models/{made['id']}"
    assert_refused(await client.put(path, json={"provider": "CUSTOM"}), field)
    await client.put(path, json={"provider": "CUSTOM", "providerSettings": None})
    assert_refused(await client.put(path, json=bad), field)


@pytest.mark.parametrize(
    "query",
    [
        "provider=openai", "provider=", "provider=MISTRAL", "isActive=1", "isActive=True",
        "isActive=", "supportsStreaming=yes", "page=0", "page=-1", "page=x", "page=1.5",
        "page=2147483648", "limit=0", "limit=201", "pageSize=201", "pageSize=", "unknown=1",
        "page_size=1", "is_active=true", "userId=u",
    ],
)  # fmt: skip
async def test_a_bad_query_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert_refused(await client.get(f"/api/models?{query}"), query.partition("=")[0])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ""),
        ("GET", "/default"),
        ("GET", "/stats"),
        ("GET", "/provider/OPENAI"),
        ("GET", "/providers/OLLAMA/available-models"),
        ("GET", "/{id}"),
        ("PUT", "/{id}"),
        ("DELETE", "/{id}"),
    ],
)
async def test_a_parameter_that_a_route_does_not_know_is_refused(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    url = f"/api/models{path.format(id=uuid7())}?unknown=1"
    body = GOOD if method in ("POST", "PUT") else None
    assert_refused(await client.request(method, url, json=body), "unknown")
    assert await nothing_is_stored(client)


@pytest.mark.parametrize("identity", ["x", "1", "00000000-0000-0000-0000-00000000000g", "%00"])
async def test_an_identifier_that_is_none_is_refused(
    client: httpx.AsyncClient, identity: str
) -> None:
    path = f"/api/models/{identity}"
    for request in (client.get(path), client.put(path, json={}), client.delete(path)):
        assert_refused(await request)


@pytest.mark.parametrize("provider", ["openai", "MISTRAL", "%00", " OPENAI"])
async def test_a_provider_that_is_none_is_refused(client: httpx.AsyncClient, provider: str) -> None:
    for path in (f"/provider/{provider}", f"/providers/{provider}/available-models?userId=u"):
        assert_refused(await client.get(f"/api/models{path}"), "provider")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
fields = st.sampled_from([*BAD, "unknown"])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(fields, anything, max_size=4))
async def test_whatever_is_sent_is_stored_as_sent_or_refused(
    client: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    try:
        content = orjson.dumps(GOOD | changes)
    except TypeError:  # a number or text that JSON cannot carry at all
        return
    answer = await client.post("/api/models", content=content, headers=JSON)
    if answer.status_code == 201:
        # A JSON number is a double, in whichever of its spellings it comes back.
        sent = json.loads(content, parse_int=float)
        made = json.loads(answer.content, parse_int=float)
        assert {name: made[name] for name in sent if sent[name] is not None} == {
            name: value for name, value in sent.items() if value is not None
        }
        assert (await client.delete(f"/api/models/{made['id']}")).status_code == 204
    else:
        assert_refused(answer)
        assert await nothing_is_stored(client)
