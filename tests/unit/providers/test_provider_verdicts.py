"""What each answer of a provider says of the key, over real HTTP and as a table."""

from itertools import product
from typing import Any

import pytest

from model_service.kernel.errors import (
    ConnectFailed,
    EgressRefused,
    UpstreamClosed,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.errors import (
    retry_after_seconds,
    verdict_of_answer,
    verdict_of_error,
)
from model_service.providers.registry import SPECS
from tests.unit.providers.provider_fakes import (
    HTML,
    KEY,
    SILENCE,
    CannedServer,
    answer,
    answering,
    endpoint_of,
    gzipped,
    http,
    providers_at,
)

VALIDATED = [provider for provider, spec in SPECS.items() if spec.validates_keys]
UNCHECKED = [provider for provider, spec in SPECS.items() if not spec.validates_keys]
BRIEFLY = 0.1  # seconds: the patience of tests that wait until it ends

CUT = http(200, {"data": []}).replace(b"Content-Length: 11", b"Content-Length: 500")

# Status and body mean this whoever the provider is.
EVERYWHERE: dict[str, tuple[bytes, Verdict]] = {
    "200": (http(200, {"data": []}), Verdict.VALID),
    "201": (http(201, {"id": "msg_1"}), Verdict.VALID),
    "200 compressed": (gzipped({"data": []}), Verdict.VALID),
    "200 chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        Verdict.VALID,
    ),
    "401": (http(401, {"error": {"message": "no"}}), Verdict.INVALID),
    "401 in HTML": (http(401, HTML), Verdict.INVALID),
    "401 without a body": (http(401), Verdict.INVALID),
    "401 that never ends": (
        b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\n" + SILENCE,
        Verdict.INVALID,
    ),
    "429": (http(429, {"error": {}}, "Retry-After: 7"), Verdict.RATE_LIMITED),
    "500": (http(500, {"error": {}}), Verdict.PROVIDER_ERROR),
    "502 in HTML": (http(502, HTML), Verdict.PROVIDER_ERROR),
    "503": (http(503), Verdict.PROVIDER_ERROR),
    "529": (http(529, {"error": {"type": "overloaded_error"}}), Verdict.PROVIDER_ERROR),
    "200 in HTML": (http(200, HTML), Verdict.UNEXPECTED_ANSWER),
    "200 in garbage": (http(200, bytes(range(256))), Verdict.UNEXPECTED_ANSWER),
    "200 without a body": (http(200), Verdict.VALID),
    "200 in plain text": (http(200, b"ok"), Verdict.VALID),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", Verdict.VALID),
    "200 with an array": (http(200, [{}]), Verdict.VALID),
    "200 nested without end": (http(200, b'{"a":' * 100_000), Verdict.UNEXPECTED_ANSWER),
    "200 in an unknown coding": (
        http(200, {}, "Content-Encoding: br"),
        Verdict.UNEXPECTED_ANSWER,
    ),
    "200 cut short": (CUT, Verdict.UNEXPECTED_ANSWER),
    "200 larger than any listing": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 8388609\r\n\r\n",
        Verdict.UNEXPECTED_ANSWER,
    ),
    "301": (http(301, b"", "Location: https://example.com/"), Verdict.UNEXPECTED_ANSWER),
    "302": (
        http(302, b"", "Location: http://169.254.169.254/latest/meta-data/"),
        Verdict.UNEXPECTED_ANSWER,
    ),
    "307": (http(307, b"", "Location: /elsewhere"), Verdict.UNEXPECTED_ANSWER),
    "400 in HTML": (http(400, HTML), Verdict.UNEXPECTED_ANSWER),
    "403 in HTML": (http(403, HTML), Verdict.UNEXPECTED_ANSWER),
    "404 in HTML": (http(404, HTML), Verdict.UNEXPECTED_ANSWER),
    "404": (http(404, {"error": {"message": "Not Found"}}), Verdict.UNEXPECTED_ANSWER),
    "402": (http(402, {"error": {"type": "billing_error"}}), Verdict.UNEXPECTED_ANSWER),
    "418": (http(418, {}), Verdict.UNEXPECTED_ANSWER),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", Verdict.UNEXPECTED_ANSWER),
    "closed without a word": (b"", Verdict.UNEXPECTED_ANSWER),
}

# A 400, 403 or 404, which each provider means in its own way.
YES, NO, UNSURE = Verdict.VALID, Verdict.INVALID, Verdict.UNEXPECTED_ANSWER


def google_refusal(reason: object, kind: str = "type.googleapis.com/google.rpc.ErrorInfo") -> Any:
    return {"error": {"code": 400, "details": [{"@type": kind, "reason": reason}]}}


def anthropic(kind: object, message: object = "") -> Any:
    return {"type": "error", "error": {"type": kind, "message": message}}


OWN_WAYS: list[tuple[Provider, int, Any, Verdict]] = [
    (Provider.OPENAI, 403, {"error": {"code": None, "message": "Missing scopes"}}, YES),
    (Provider.OPENAI, 403, {"error": {"code": "unsupported_country_region_territory"}}, UNSURE),
    (Provider.OPENAI, 403, {"error": "forbidden"}, YES),
    (Provider.OPENAI, 403, {}, YES),
    (Provider.OPENAI, 403, None, UNSURE),
    (Provider.OPENAI, 400, {"error": {"code": "invalid_api_key"}}, UNSURE),
    (Provider.OPENAI, 404, {"error": {"code": "not_found"}}, UNSURE),
    (Provider.ANTHROPIC, 400, anthropic("invalid_request_error", "credit balance too low"), YES),
    (Provider.ANTHROPIC, 400, {"message": "Bad Request"}, YES),
    (Provider.ANTHROPIC, 400, anthropic(None), YES),
    (Provider.ANTHROPIC, 403, anthropic("permission_error"), YES),
    (Provider.ANTHROPIC, 403, anthropic("forbidden", "Request not allowed"), UNSURE),
    (Provider.ANTHROPIC, 403, {"error": []}, UNSURE),
    (Provider.ANTHROPIC, 404, anthropic("not_found_error", "model: claude-haiku-5-5"), YES),
    (Provider.ANTHROPIC, 404, anthropic("not_found_error", "Not Found"), UNSURE),
    (Provider.ANTHROPIC, 404, anthropic("not_found_error", 7), UNSURE),
    (Provider.ANTHROPIC, 404, anthropic("other", "model: claude-haiku-5-5"), UNSURE),
    (Provider.GOOGLE, 400, google_refusal("API_KEY_INVALID"), NO),
    (Provider.GOOGLE, 400, google_refusal("LOCATION_NOT_SUPPORTED"), UNSURE),
    (Provider.GOOGLE, 400, google_refusal("API_KEY_INVALID", "type.googleapis.com/x"), UNSURE),
    (Provider.GOOGLE, 400, google_refusal(["API_KEY_INVALID"]), UNSURE),
    (Provider.GOOGLE, 400, google_refusal({"API_KEY_INVALID": 1}), UNSURE),
    (Provider.GOOGLE, 400, {"error": {"message": "API_KEY_INVALID: not valid"}}, NO),
    (Provider.GOOGLE, 400, {"error": {"details": [1, None, []]}}, UNSURE),
    (Provider.GOOGLE, 400, {"error": {"details": {}}}, UNSURE),
    (
        Provider.GOOGLE,
        400,
        {"error": {"details": [{}] * 32 + google_refusal("API_KEY_INVALID")["error"]["details"]}},
        UNSURE,
    ),
    (Provider.GOOGLE, 403, {"error": {"status": "PERMISSION_DENIED"}}, NO),
    (Provider.GOOGLE, 404, {"error": {"status": "NOT_FOUND"}}, UNSURE),
    (Provider.AZURE, 403, {"error": {"code": "403", "message": "Firewall rules"}}, YES),
    (Provider.AZURE, 400, {"error": {"code": "400"}}, UNSURE),
    (Provider.AZURE, 404, {"error": {"code": "404", "message": "Resource not found"}}, UNSURE),
    (Provider.OLLAMA, 403, {"error": "forbidden"}, UNSURE),
    (Provider.OLLAMA, 404, {"error": "not found"}, UNSURE),
]


async def verdict(provider: Provider, server: CannedServer, patience: float = 10) -> Verdict:
    async with providers_at(server, validation_seconds=patience) as providers:
        return await providers.validate(provider, KEY, endpoint_of(provider, server))


@pytest.mark.parametrize(("provider", "case"), list(product(VALIDATED, EVERYWHERE)))
async def test_an_answer_means_the_same_with_every_provider(provider: Provider, case: str) -> None:
    canned, expected = EVERYWHERE[case]
    async with answering(canned) as server:
        assert await verdict(provider, server) is expected
    assert len(server.requests) == 1, "nothing is asked twice and no redirect is followed"


@pytest.mark.parametrize(("provider", "status", "document", "expected"), OWN_WAYS)
async def test_some_answers_mean_what_their_provider_means(
    provider: Provider, status: int, document: Any, expected: Verdict
) -> None:
    assert verdict_of_answer(answer(status, document), SPECS[provider].dialect) is expected


@pytest.mark.parametrize("provider", VALIDATED)
@pytest.mark.parametrize(
    "canned",
    [
        SILENCE,
        b"HTTP/1.1 200 OK\r\n" + SILENCE,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{" + SILENCE,
    ],
    ids=["no answer", "half a head", "half a body"],
)
async def test_a_provider_that_does_not_finish_in_time_is_a_timeout(
    provider: Provider, canned: bytes
) -> None:
    async with answering(canned) as server:
        assert await verdict(provider, server, BRIEFLY) is Verdict.TIMEOUT


@pytest.mark.parametrize("provider", VALIDATED)
async def test_a_provider_where_nobody_listens_is_unreachable(provider: Provider) -> None:
    async with answering(b"") as server:
        pass
    assert await verdict(provider, server) is Verdict.UNREACHABLE


async def test_an_azure_resource_that_does_not_exist_is_unreachable() -> None:
    async def no_such_name(host: str, port: int) -> list[str]:
        raise OSError(f"{host}:{port} is not known")

    async with answering(b"") as server, providers_at(server, resolver=no_such_name) as providers:
        endpoint = "https://no-such-resource.openai.azure.com"
        verdict = await providers.validate(Provider.AZURE, KEY, endpoint)
    assert verdict is Verdict.UNREACHABLE


@pytest.mark.parametrize("endpoint", ["https://example.com", "http://169.254.169.254", "nonsense"])
async def test_a_key_is_not_sent_to_an_endpoint_it_may_not_name(endpoint: str) -> None:
    async with answering(http(200, {})) as server, providers_at(server) as providers:
        for provider in VALIDATED:
            assert await providers.validate(provider, KEY, endpoint) is Verdict.UNREACHABLE
    assert server.requests == []


@pytest.mark.parametrize("provider", UNCHECKED)
async def test_keys_nobody_can_check_are_valid_without_asking(provider: Provider) -> None:
    async with answering(http(401)) as server, providers_at(server) as providers:
        assert await providers.validate(provider, Secret("*"), server.origin) is Verdict.VALID
    assert server.requests == []


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("0123456789abcdef0123456789abcdef", Verdict.VALID),
        ("A" * 84, Verdict.VALID),
        ("a" * 20, Verdict.VALID),
        ("sk-sandbox_0123456789", Verdict.VALID),
        ("a" * 19, Verdict.INVALID),
        ("a" * 19 + ".", Verdict.INVALID),
        ("a" * 30 + "!", Verdict.INVALID),
        ("a" * 30 + "\n", Verdict.INVALID),
        ("é" * 30, Verdict.INVALID),
        ("", Verdict.INVALID),
    ],
)
async def test_an_azure_key_without_an_endpoint_is_judged_by_its_form(
    key: str, expected: Verdict
) -> None:
    async with answering(http(401)) as server, providers_at(server) as providers:
        assert await providers.validate(Provider.AZURE, Secret(key), None) is expected
    assert server.requests == []


async def test_an_azure_key_of_the_wrong_form_is_not_sent() -> None:
    async with answering(http(200, {})) as server, providers_at(server) as providers:
        short = Secret("too-short")
        assert await providers.validate(Provider.AZURE, short, server.origin) is Verdict.INVALID
    assert server.requests == []


async def test_a_key_that_could_break_out_of_its_header_is_never_sent() -> None:
    async with answering(http(200, {})) as server, providers_at(server) as providers:
        key = Secret("sk-made-up\r\nx-injected: yes")
        assert await providers.validate(Provider.OPENAI, key, None) is Verdict.UNREACHABLE
    assert server.requests == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UpstreamTimeout("connect"), Verdict.TIMEOUT),
        (UpstreamTimeout("first_byte"), Verdict.TIMEOUT),
        (UpstreamTimeout("total"), Verdict.TIMEOUT),
        (ConnectFailed(), Verdict.UNREACHABLE),
        (EgressRefused(), Verdict.UNREACHABLE),
        (UpstreamClosed(), Verdict.UNEXPECTED_ANSWER),
        (UpstreamProtocolError(), Verdict.UNEXPECTED_ANSWER),
        (UpstreamTooLarge(), Verdict.UNEXPECTED_ANSWER),
    ],
)
def test_each_error_of_the_transport_has_its_verdict(
    error: UpstreamError, expected: Verdict
) -> None:
    assert verdict_of_error(error) is expected


def test_no_error_of_the_transport_is_left_out() -> None:
    for kind in UpstreamError.__subclasses__():
        error = kind("total") if kind is UpstreamTimeout else kind()
        assert not verdict_of_error(error).is_definite


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7),
        ("0", 1),
        ("300", 300),
        ("301", 300),
        ("999999999", 300),
        ("9" * 5000, None),
        ("-1", None),
        ("1.5", None),
        ("+7", None),
        ("\u0667", None),
        ("\u00b2", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_whole_seconds_within_bounds(
    header: str | None, seconds: int | None
) -> None:
    assert retry_after_seconds(header) == seconds
