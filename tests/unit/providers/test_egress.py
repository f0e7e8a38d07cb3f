import asyncio
from collections.abc import Sequence

import pytest

from model_service.kernel.errors import (
    ConnectFailed,
    EgressRefused,
    StartupFault,
    UpstreamTimeout,
)
from model_service.providers import egress
from model_service.providers.egress import (
    EgressPolicy,
    Resolver,
    resolve,
    system_resolver,
    vetted_endpoint,
)
from model_service.providers.endpoint import parse_endpoint

PRODUCTION = EgressPolicy()
DEVELOPMENT = EgressPolicy(loopback_allowed=True)


def always(*addresses: str) -> Resolver:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolver


async def reached(
    url: str, policy: EgressPolicy, *addresses: str, trusted: bool = False
) -> list[str]:
    endpoint = parse_endpoint(url, trusted=trusted)
    return [str(address) for address in await resolve(endpoint, policy, always(*addresses))]


def opened(*entries: str) -> EgressPolicy:
    return EgressPolicy.parse(",".join(entries), loopback_allowed=False)


async def test_name_that_answers_publicly_first_and_with_loopback_then_is_refused_then() -> None:
    answers = [["93.184.215.14"], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    endpoint = parse_endpoint("https://rebinding.test")
    assert [str(a) for a in await resolve(endpoint, PRODUCTION, rebinding)] == ["93.184.215.14"]
    with pytest.raises(EgressRefused):
        await resolve(endpoint, PRODUCTION, rebinding)


@pytest.mark.parametrize("private", ["10.0.0.1", "::1", "169.254.169.254"])
async def test_one_private_address_refuses_all(private: str) -> None:
    with pytest.raises(EgressRefused):
        await reached("https://mixed.test", PRODUCTION, "93.184.215.14", private)


async def test_families_alternate_from_the_resolver_s_first_choice() -> None:
    found = await reached("https://a.test", PRODUCTION, "2a00::1", "2a00::2", "1.1.1.1", "2a00::1")
    assert found == ["2a00::1", "1.1.1.1", "2a00::2"]


async def test_refusal_does_not_tell_the_private_address() -> None:
    with pytest.raises(EgressRefused) as refusal:
        await reached("https://private.test", PRODUCTION, "10.1.2.3")
    assert "10.1.2.3" not in refusal.value.message


# UPSTREAM_ALLOWED_HOSTS


async def test_listed_host_and_port_may_be_private_and_plain() -> None:
    policy = opened("proxy.internal:8080")
    assert await reached("http://PROXY.internal:8080", policy, "10.0.0.5") == ["10.0.0.5"]


@pytest.mark.parametrize(
    "url", ["http://proxy.internal:8081", "http://proxy.internal", "http://x.proxy.internal:8080"]
)
async def test_listed_host_opens_no_other_port_and_no_other_name(url: str) -> None:
    with pytest.raises(EgressRefused):
        await reached(url, opened("proxy.internal:8080"), "10.0.0.5")


async def test_listed_network_opens_its_addresses_under_any_name_with_tls() -> None:
    policy = opened("10.1.0.0/16", "fd00:1::/32")
    found = await reached("https://inside.test", policy, "10.1.2.3", "fd00:1::1")
    assert found == ["10.1.2.3", "fd00:1::1"]
    with pytest.raises(EgressRefused):
        await reached("https://inside.test", policy, "10.2.0.1")


async def test_plain_http_to_a_listed_network_needs_the_address_in_the_url() -> None:
    policy = opened("10.1.0.0/16")
    assert await reached("http://10.1.2.3:8000", policy) == ["10.1.2.3"]
    with pytest.raises(EgressRefused, match="plain http"):
        await reached("http://inside.test", policy, "10.1.2.3")


@pytest.mark.parametrize("entry", ["10.0.0.5", "10.0.0.5:8000", "10.0.0.5/32"])
async def test_single_address_can_be_listed_in_three_ways(entry: str) -> None:
    assert await reached("http://10.0.0.5:8000", opened(entry)) == ["10.0.0.5"]


async def test_listed_ipv6_host_has_brackets() -> None:
    assert await reached("http://[fd00::5]:8000", opened("[FD00::5]:8000")) == ["fd00::5"]


async def test_listed_ipv4_network_does_not_open_the_mapped_ipv6_addresses() -> None:
    with pytest.raises(EgressRefused):
        await reached("https://a.test", opened("10.0.0.0/8"), "::ffff:10.0.0.1")


@pytest.mark.parametrize(
    "metadata", ["169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"]
)
async def test_metadata_address_stays_closed_whatever_is_listed(metadata: str) -> None:
    policy = EgressPolicy.parse(
        "169.254.0.0/16 100.64.0.0/10 fd00::/8 metadata.test:443", loopback_allowed=True
    )
    for trusted in (False, True):
        with pytest.raises(EgressRefused):
            await reached("https://metadata.test", policy, metadata, trusted=trusted)


def test_list_is_separated_by_commas_or_spaces() -> None:
    policy = EgressPolicy.parse(" a.test:1,b.test:2\n10.0.0.0/8,, ", loopback_allowed=False)
    assert len(policy.allowed) == 3
    assert EgressPolicy.parse("", loopback_allowed=True) == DEVELOPMENT


@pytest.mark.parametrize(
    "entry",
    [
        "a.test",
        "a.test:",
        "a.test:0",
        "a.test:http",
        "https://a.test:443",
        "user@a.test:443",
        ":443",
        "0x7f.1:80",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "a.test/24",
        "0.0.0.0/0",
        "::/0",
        "::1:x",
        "*.test:443",
    ],
)
def test_malformed_entry_is_named_at_start(entry: str) -> None:
    with pytest.raises(StartupFault) as fault:
        EgressPolicy.parse(f"good.test:443,{entry}", loopback_allowed=False)
    (sentence,) = fault.value.faults
    assert repr(entry) in sentence
    assert "UPSTREAM_ALLOWED_HOSTS" in sentence


def test_every_malformed_entry_is_named_at_once() -> None:
    with pytest.raises(StartupFault) as fault:
        EgressPolicy.parse("one two:3 four", loopback_allowed=False)
    assert len(fault.value.faults) == 2


# Development and trusted endpoints


@pytest.mark.parametrize(
    "url", ["http://localhost:11434", "http://127.0.0.1:1", "http://[::1]:1", "http://a.localhost"]
)
async def test_development_reaches_loopback_in_clear(url: str) -> None:
    addresses = [] if "localhost" not in url else ["127.0.0.1", "::1"]
    assert await reached(url, DEVELOPMENT, *addresses)
    with pytest.raises(EgressRefused):
        await reached(url, PRODUCTION, *addresses)


async def test_development_opens_nothing_but_loopback() -> None:
    for address in ("10.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "192.168.1.1"):  # noqa: S104
        with pytest.raises(EgressRefused):
            await reached("https://a.test", DEVELOPMENT, address)
    with pytest.raises(EgressRefused):
        await reached("http://a.test", DEVELOPMENT, "127.0.0.1")


async def test_localhost_that_resolves_elsewhere_gets_nothing_in_clear() -> None:
    with pytest.raises(EgressRefused):
        await reached("http://localhost", DEVELOPMENT, "93.184.215.14")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "93.184.215.14", "fd00::5"])
async def test_trusted_endpoint_may_be_anywhere_in_clear(address: str) -> None:
    assert await reached("http://ollama:11434", PRODUCTION, address, trusted=True) == [address]


async def test_address_with_a_zone_is_refused_even_when_trusted() -> None:
    with pytest.raises(EgressRefused):
        await reached("http://ollama:11434", PRODUCTION, "fe80::1%eth0", trusted=True)


def test_vetting_refuses_at_once_what_needs_no_resolver() -> None:
    for url in ("http://api.example.com", "https://10.0.0.1", "https://user@api.example.com"):
        with pytest.raises(EgressRefused):
            vetted_endpoint(url, PRODUCTION)
    assert vetted_endpoint("https://api.example.com/v1", PRODUCTION).path_prefix == "/v1"
    assert vetted_endpoint("http://10.0.0.1", PRODUCTION, trusted=True).trusted


# Resolvers


async def test_resolver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "RESOLVE_SECONDS", 0.02)

    async def hanging(host: str, port: int) -> Sequence[str]:
        await asyncio.get_running_loop().create_future()
        return []

    with pytest.raises(UpstreamTimeout) as timeout:
        await resolve(parse_endpoint("https://slow.test"), PRODUCTION, hanging)
    assert timeout.value.phase == "connect"


async def test_name_without_addresses_fails_the_connection() -> None:
    with pytest.raises(ConnectFailed):
        await reached("https://empty.test", PRODUCTION)


@pytest.mark.parametrize("error", [OSError("no such host"), UnicodeError("label too long")])
async def test_resolver_s_error_fails_the_connection(error: Exception) -> None:
    async def failing(host: str, port: int) -> Sequence[str]:
        raise error

    with pytest.raises(ConnectFailed):
        await resolve(parse_endpoint("https://unknown.test"), PRODUCTION, failing)


async def test_address_in_the_url_asks_no_resolver() -> None:
    async def unwanted(host: str, port: int) -> Sequence[str]:
        raise AssertionError(host)

    endpoint = parse_endpoint("https://1.1.1.1")
    assert [str(a) for a in await resolve(endpoint, PRODUCTION, unwanted)] == ["1.1.1.1"]


async def test_system_resolver_knows_localhost() -> None:
    assert set(await system_resolver("localhost", 80)) <= {"127.0.0.1", "::1"}
