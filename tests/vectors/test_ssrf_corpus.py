"""Every form of the corpus gets its verdict."""

from collections.abc import Sequence

import pytest

from model_service.kernel.errors import EgressRefused
from model_service.providers.egress import EgressPolicy, resolve
from model_service.providers.endpoint import parse_endpoint
from tests.vectors.ssrf_corpus import ALLOWED, FORBIDDEN, MALFORMED

PRODUCTION = EgressPolicy()
PUBLIC = ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")
NAMES: dict[str, Sequence[str]] = {
    "localhost": ("127.0.0.1", "::1"),
    "loopback.test": ("127.0.0.1",),
    "loopback6.test": ("::1",),
    "private.test": ("192.168.0.7",),
    "metadata.test": ("169.254.169.254",),
    "mapped.test": ("::ffff:10.0.0.1",),
    "mixed.test": (*PUBLIC, "10.0.0.1"),
    "mixed6.test": ("fd00::1", *PUBLIC),
    "unspecified.test": ("0.0.0.0",),  # noqa: S104 (an answer, not a place to listen)
    "scoped.test": ("fe80::1%eth0",),
    "nonsense.test": ("not an address",),
}


async def dns(host: str, port: int) -> Sequence[str]:
    return NAMES.get(host, PUBLIC)


def test_corpus_has_two_hundred_forms_and_none_twice() -> None:
    forms = [*MALFORMED, *FORBIDDEN, *(url for url, _, _ in ALLOWED)]
    assert len(forms) >= 200
    assert len(forms) == len(set(forms))


@pytest.mark.parametrize("url", MALFORMED)
@pytest.mark.parametrize("trusted", [False, True], ids=["untrusted", "trusted"])
def test_malformed_url_is_refused_by_its_form(url: str, trusted: bool) -> None:
    with pytest.raises(EgressRefused) as refusal:
        parse_endpoint(url, trusted=trusted)
    assert "made-up" not in refusal.value.message
    assert "password@" not in refusal.value.message


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_forbidden_place_is_refused(url: str) -> None:
    endpoint = parse_endpoint(url)
    with pytest.raises(EgressRefused):
        await resolve(endpoint, PRODUCTION, dns)


@pytest.mark.parametrize(("url", "origin", "prefix"), ALLOWED)
async def test_ordinary_upstream_is_reached_at_its_public_addresses(
    url: str, origin: str, prefix: str
) -> None:
    endpoint = parse_endpoint(url)
    assert (endpoint.origin, endpoint.path_prefix) == (origin, prefix)
    addresses = await resolve(endpoint, PRODUCTION, dns)
    expected = PUBLIC if endpoint.address is None else (endpoint.host,)
    assert [str(address) for address in addresses] == list(expected)


@pytest.mark.parametrize(("url", "origin", "prefix"), ALLOWED)
def test_normal_form_parses_to_itself(url: str, origin: str, prefix: str) -> None:
    endpoint = parse_endpoint(url)
    assert parse_endpoint(origin + prefix) == endpoint
