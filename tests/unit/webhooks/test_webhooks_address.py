"""Which URLs a webhook may have."""

import pytest

from model_service.kernel.errors import EgressRefused
from model_service.providers.addresses import is_global
from model_service.providers.egress import EgressPolicy, resolve
from model_service.webhooks.address import parse_address
from tests.vectors.ssrf_corpus import ALLOWED, FORBIDDEN, MALFORMED
from tests.vectors.test_ssrf_corpus import NAMES, dns

PRODUCTION = EgressPolicy()
DEVELOPMENT = EgressPolicy(loopback_allowed=True)


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://hooks.example.com", "https://hooks.example.com", "/"),
        ("https://hooks.example.com/", "https://hooks.example.com", "/"),
        ("https://hooks.example.com/a/b/", "https://hooks.example.com", "/a/b/"),
        ("https://hooks.example.com:8443/a", "https://hooks.example.com:8443", "/a"),
        ("https://hooks.example.com?a=b", "https://hooks.example.com", "/?a=b"),
        ("https://hooks.example.com/a?b=c/d", "https://hooks.example.com", "/a?b=c/d"),
        ("https://hooks.example.com/a%20b?c=%2F", "https://hooks.example.com", "/a%20b?c=%2F"),
        ("HTTPS://Hooks.Example.com/Case", "https://hooks.example.com", "/Case"),
    ],
)
def test_path_and_query_are_sent_as_they_are_written(url: str, origin: str, target: str) -> None:
    endpoint, path_and_query = parse_address(url, PRODUCTION)
    assert (endpoint.origin, path_and_query) == (origin, target)
    assert not endpoint.trusted


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "https://",
        "https:///a",
        "https://?a",
        "https://user:made-up@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://hooks.example.com/?a#part",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/a\r\nHost: other",
        "https://hooks.example.com/a\x00",
        "https://hooks.example.com/\u00e4",
        "https://hooks.example.com/..",
        "https://hooks.example.com/a/../b",
        "https://hooks.example.com/%2e%2e/b",
        "https://hooks.example.com\\@10.0.0.1/",
        "ftp://hooks.example.com/",
        "https://hooks.example.com/" + "a" * 2048,
    ],
)
def test_other_forms_are_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(EgressRefused) as refused:
        parse_address(url, DEVELOPMENT)
    assert "made-up" not in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "http://127.0.0.1:8000/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_plain_http_and_private_addresses_are_refused_in_production(url: str) -> None:
    with pytest.raises(EgressRefused):
        parse_address(url, PRODUCTION)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/", "http://localhost:8000/", "http://[::1]/"]
)
def test_loopback_is_a_receiver_in_development(url: str) -> None:
    assert parse_address(url, DEVELOPMENT)[0].scheme == "http"


def test_a_listed_host_is_a_receiver_in_production() -> None:
    policy = EgressPolicy.parse("hooks.internal:8080 10.1.0.0/16", loopback_allowed=False)
    assert parse_address("http://hooks.internal:8080/a", policy)[1] == "/a"
    assert parse_address("https://10.1.2.3/a", policy)[1] == "/a"
    with pytest.raises(EgressRefused):
        parse_address("https://10.2.0.1/a", policy)


@pytest.mark.parametrize("policy", [PRODUCTION, DEVELOPMENT], ids=["production", "development"])
def test_no_policy_opens_the_metadata_services(policy: EgressPolicy) -> None:
    listed = EgressPolicy.parse("169.254.0.0/16", loopback_allowed=policy.loopback_allowed)
    for opened in (policy, listed):
        with pytest.raises(EgressRefused):
            parse_address("https://169.254.169.254/", opened)


@pytest.mark.parametrize("url", [*MALFORMED, *FORBIDDEN])
async def test_no_form_that_fools_guards_leads_to_a_private_address(url: str) -> None:
    try:
        endpoint, target = parse_address(url, PRODUCTION)
        addresses = await resolve(endpoint, PRODUCTION, dns)
    except EgressRefused:
        return
    # What a base URL may not have, a query or percent escapes: the host is an ordinary one.
    assert "?" in target or "%" in target or "//" in target
    assert endpoint.host not in NAMES
    assert all(is_global(address) for address in addresses)


@pytest.mark.parametrize("url", [url for url, _, _ in ALLOWED])
def test_every_ordinary_base_url_is_fine_for_a_webhook_too(url: str) -> None:
    assert parse_address(url, PRODUCTION)[0].scheme == "https"
