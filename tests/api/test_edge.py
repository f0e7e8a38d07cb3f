"""What holds for every request: error shape, request id, bounds, strict JSON, the two modes."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from model_service.http.auth import Authenticator, Credentials
from model_service.http.middleware import BrowserGuard, Edge
from model_service.kernel.secret import Secret
from model_service.service import Service

MODEL = {"name": "m", "provider": "OPENAI", "modelId": "gpt"}


def assert_problem(answer: httpx.Response, status: int, path: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() >= {"statusCode", "timestamp", "path", "message", "code", "requestId"}
    assert body["statusCode"] == status
    assert body["path"] == path
    assert body["requestId"] == answer.headers["x-request-id"]
    assert body["timestamp"].endswith("Z")
    assert answer.headers["content-type"] == "application/json"


async def test_an_unknown_route_and_a_wrong_method_have_the_one_shape(
    client: httpx.AsyncClient,
) -> None:
    assert_problem(await client.get("/api/nothing"), 404, "/api/nothing")
    assert_problem(await client.get("/api/models/"), 404, "/api/models/")
    wrong = await client.patch("/api/models", json={})
    assert_problem(wrong, 405, "/api/models")
    assert wrong.headers["allow"] == "GET, HEAD, POST"
    one = await client.post("/api/models/01890000-0000-7000-8000-000000000000")
    assert one.headers["allow"] == "DELETE, GET, HEAD, PUT"


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    for path in ("/api/health", "/api/models"):
        got, head = await client.get(path), await client.head(path)
        assert head.status_code == got.status_code == 200
        assert head.headers["content-type"] == got.headers["content-type"]
    assert (await client.head("/api/nothing")).status_code == 404


@pytest.mark.parametrize("given", ["abc-123", "a.b:c_d", "x" * 128])
async def test_a_sane_request_id_is_kept(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/api/health", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "with space", "<script>", "-leading", "ä"])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/api/health", headers={b"x-request-id": given.encode()})
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 36


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b'"text"', b"7", b"{'a': 1}", b'{"a": NaN}', b'{"a": Infinity}',
        b"\xff\xfe", b'{"name": "\\ud800"}', b"[" * 100_000, b'{"a":' * 50_000,
        b'{"maxTokens": ' + b"9" * 100_000 + b"}",
    ],
)  # fmt: skip
async def test_what_is_not_a_json_object_is_refused(
    client: httpx.AsyncClient, content: bytes
) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post("/api/models", content=content, headers=headers)
    assert_problem(answer, 400, "/api/models")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", ""]
)
async def test_a_wrong_content_type_is_refused(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post(
        "/api/models", content=json.dumps(MODEL), headers={"content-type": kind}
    )
    assert_problem(answer, 400, "/api/models")
    assert (await client.get("/api/models")).json() == []


async def test_a_body_over_one_mebibyte_is_413_however_it_is_sent(
    client: httpx.AsyncClient,
) -> None:
    big = json.dumps(MODEL | {"description": "x" * (1024 * 1024)}).encode()

    async def in_chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 65_536):
            yield big[start : start + 65_536]

    headers = {"content-type": "application/json"}
    for content in (big, in_chunks()):
        answer = await client.post("/api/models", content=content, headers=headers)
        assert_problem(answer, 413, "/api/models")


async def test_an_unexpected_error_is_a_500_without_detail(
    service: Service, monkeypatch: pytest.MonkeyPatch, client: httpx.AsyncClient
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret detail sk-proj-0123456789abcdef")

    monkeypatch.setattr(type(service.models), "get", fail)
    answer = await client.get("/api/models/01890000-0000-7000-8000-000000000000")
    assert_problem(answer, 500, "/api/models/01890000-0000-7000-8000-000000000000")
    assert answer.json()["message"] == "Internal server error"
    assert "detail" not in answer.text


async def test_health_metrics_and_documentation(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    health = (await anonymous.get("/api/health")).json()
    assert (health["status"], health["service"]) == ("ok", "model-service")
    ready = await anonymous.get("/api/health/ready")
    assert ready.status_code == 200
    assert set(ready.json()["checks"].values()) == {"ok"}
    assert ready.json()["checks"].keys() == {
        "database", "migrations", "keyring", "audit", "journal", "gateway",
    }  # fmt: skip
    metrics = (await client.get("/metrics")).text
    assert 'http_route="/api/health"' in metrics
    document = (await client.get("/api/openapi.json")).json()
    assert document["openapi"].startswith("3.")
    assert "422" not in json.dumps(document)
    page = await client.get("/api/docs")
    assert page.headers["content-type"].startswith("text/html")


@pytest.fixture
def development(service: Service) -> Edge:
    """The same routes as in development mode: no credential needed from loopback."""
    app = service.app
    credentials = Credentials.of(
        admin_token=None, internal_secrets=[Secret("s" * 32)], loopback_is_administrator=True
    )

    async def with_credentials(scope, receive, send):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        before = app.state.authenticator
        app.state.authenticator = Authenticator(credentials)
        try:
            await app(scope, receive, send)
        finally:
            app.state.authenticator = before

    from model_service.http.metrics import Metrics

    return Edge(with_credentials, metrics=Metrics(version="test"), guard=BrowserGuard())


@pytest.mark.parametrize(
    ("host", "headers", "client_address", "status"),
    [
        ("localhost:3004", {}, "127.0.0.1", 200),
        ("127.0.0.1:3004", {}, "127.0.0.1", 200),
        ("[::1]:3004", {}, "::1", 200),
        ("localhost:3004", {"origin": "http://localhost:3004"}, "127.0.0.1", 200),
        ("localhost:3004", {"origin": "https://LOCALHOST:3004"}, "127.0.0.1", 200),
        ("[::1]:3004", {"origin": "http://[::1]:3004"}, "::1", 200),
        ("localhost:3004", {"origin": "http://localhost:8000"}, "127.0.0.1", 403),
        ("localhost:3004", {"origin": "http://localhost"}, "127.0.0.1", 403),
        ("localhost:3004", {"origin": "http://127.0.0.1:3004"}, "127.0.0.1", 403),
        ("localhost:3004", {"origin": "localhost:3004"}, "127.0.0.1", 403),
        ("localhost:3004", {"origin": "http://localhost:3004/"}, "127.0.0.1", 403),
        ("localhost:3004", {"origin": ""}, "127.0.0.1", 403),
        ("localhost:3004", {"origin": "https://evil.example"}, "127.0.0.1", 403),
        ("localhost:3004", {"origin": "http://localhost.evil.example"}, "127.0.0.1", 403),
        ("localhost:3004", {"origin": "null"}, "127.0.0.1", 403),
        ("localhost:3004", {"sec-fetch-site": "cross-site"}, "127.0.0.1", 403),
        ("localhost:3004", {"sec-fetch-site": "same-site"}, "127.0.0.1", 403),
        ("localhost:3004", {"sec-fetch-site": "same-origin"}, "127.0.0.1", 200),
        ("localhost:3004", {"sec-fetch-site": "none"}, "127.0.0.1", 200),
        ("evil.example", {}, "127.0.0.1", 403),
        ("127.0.0.1.evil.example:3004", {}, "127.0.0.1", 403),
        ("localhost:3004", {}, "192.0.2.7", 401),
        ("localhost:3004", {"x-forwarded-for": "192.0.2.7"}, "127.0.0.1", 401),
        ("localhost:3004", {"authorization": "Bearer guess"}, "127.0.0.1", 401),
    ],
)
async def test_development_lets_loopback_in_and_web_pages_out(
    development: Edge, host: str, headers: dict[str, str], client_address: str, status: int
) -> None:
    transport = httpx.ASGITransport(development, client=(client_address, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/api/models", headers={"host": host, **headers})
    assert answer.status_code == status, answer.text


NAVIGATION = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/docs", NAVIGATION, 200),
        ("GET", "/api/docs", NAVIGATION | {"sec-fetch-dest": "document"}, 200),
        ("GET", "/api/docs", NAVIGATION | {"sec-fetch-site": "same-site"}, 200),
        ("GET", "/api/docs", NAVIGATION | {"sec-fetch-site": "none"}, 200),
        ("GET", "/api/docs", NAVIGATION | {"sec-fetch-dest": "iframe"}, 403),
        ("GET", "/api/docs", NAVIGATION | {"sec-fetch-mode": "no-cors"}, 403),
        ("GET", "/api/docs", NAVIGATION | {"origin": "http://localhost:8000"}, 403),
        ("GET", "/api/docs", NAVIGATION | {"origin": "http://localhost:3004"}, 403),
        ("GET", "/api/models", NAVIGATION, 403),
        ("POST", "/api/docs", NAVIGATION, 403),
    ],
)
async def test_in_development_a_link_elsewhere_leads_to_the_documentation_alone(
    development: Edge, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    transport = httpx.ASGITransport(development, client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.request(method, path, headers={"host": "localhost:3004", **headers})
    assert answer.status_code == status, answer.text
