"""The egress guard at the socket: what was checked is what is connected to, every time."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from model_service.kernel.errors import ConnectFailed, EgressRefused
from model_service.providers.egress import EgressPolicy
from model_service.providers.endpoint import parse_endpoint
from tests.faults.authority import Authority
from tests.faults.hostile import (
    HELLO,
    Wire,
    a_transport,
    always_hello,
    answering_then_closing,
    ask,
    fetch,
    resolving_to,
    serve,
)

# 127.0.0.2 plays the public address: the only one the policy opens.
PLAYS_PUBLIC = EgressPolicy.parse("127.0.0.2/32", loopback_allowed=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def test_name_that_turns_to_loopback_is_refused_at_the_next_connection(
    authority: Authority, tmp_path: Path
) -> None:
    tls = authority.server_context("rebinding.test")
    async with (
        serve(answering_then_closing(HELLO), host="127.0.0.2", tls=tls) as public,
        serve(always_hello, host="127.0.0.1", port=public.port, tls=tls) as private,
        a_transport(
            PLAYS_PUBLIC,
            ssl_context=authority.client_context(),
            resolver=resolving_to(["127.0.0.2"], ["127.0.0.1"]),
        ) as transport,
    ):
        endpoint = parse_endpoint(f"https://rebinding.test:{public.port}")
        assert await fetch(transport, endpoint) == b"hello"
        with pytest.raises(EgressRefused):
            await fetch(transport, endpoint)
        assert private.connections == 0
        assert transport.open_connections == 0


async def test_name_with_one_private_address_among_public_ones_is_refused() -> None:
    async with (
        serve(always_hello, host="127.0.0.2") as public,
        a_transport(PLAYS_PUBLIC, resolver=resolving_to(["127.0.0.2", "10.0.0.1"])) as transport,
    ):
        with pytest.raises(EgressRefused):
            await fetch(transport, parse_endpoint(f"https://mixed.test:{public.port}"))
        assert public.connections == 0


async def test_name_is_resolved_once_for_each_new_connection(authority: Authority) -> None:
    asked: list[tuple[str, int]] = []

    async def resolver(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.2"]

    async def two_answers(wire: Wire) -> None:
        for _ in range(2):
            await wire.request()
            await wire.send(HELLO)

    tls = authority.server_context("upstream.test")
    async with (
        serve(two_answers, host="127.0.0.2", tls=tls) as server,
        a_transport(
            PLAYS_PUBLIC, ssl_context=authority.client_context(), resolver=resolver
        ) as transport,
    ):
        endpoint = parse_endpoint(f"https://upstream.test:{server.port}")
        for _ in range(4):
            assert await fetch(transport, endpoint) == b"hello"
        assert server.connections == 2
        assert asked == [("upstream.test", server.port)] * 2


async def test_second_address_is_tried_when_the_first_refuses() -> None:
    async with (
        serve(always_hello) as server,
        a_transport(resolver=resolving_to(["::1", "127.0.0.3", "127.0.0.1"])) as transport,
    ):
        assert await fetch(transport, server.endpoint(host="upstream.test")) == b"hello"


async def test_name_without_an_address_fails_the_connection() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    async with a_transport(resolver=unknown) as transport:
        with pytest.raises(ConnectFailed, match="resolved"):
            await fetch(transport, parse_endpoint("https://nowhere.test"))


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254", "http://[fd00:ec2::254]", "http://metadata.test"]
)
async def test_metadata_service_is_refused_even_to_trusted_endpoints(url: str) -> None:
    policy = EgressPolicy.parse("169.254.169.254/32 metadata.test:80", loopback_allowed=True)
    async with a_transport(policy, resolver=resolving_to(["169.254.169.254"])) as transport:
        with pytest.raises(EgressRefused):
            await ask(transport, parse_endpoint(url, trusted=True))


async def test_proxy_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        serve(always_hello) as proxy,
        serve(always_hello) as server,
        a_transport() as transport,
    ):
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert await fetch(transport, server) == b"hello"
        assert proxy.connections == 0


async def test_operator_set_localhost_is_reached_through_the_system_resolver() -> None:
    async with serve(always_hello) as server, a_transport() as transport:
        assert await fetch(transport, server.endpoint(host="localhost")) == b"hello"
