"""TLS: the certificate is checked for the name, whatever address the socket goes to."""

import ssl
import warnings
from pathlib import Path

import pytest

from model_service.kernel.errors import ConnectFailed, UpstreamClosed
from model_service.providers.egress import EgressPolicy
from model_service.providers.endpoint import Endpoint, parse_endpoint
from model_service.providers.transport import Transport
from tests.faults.authority import Authority
from tests.faults.hostile import (
    OK,
    Wire,
    a_transport,
    always_hello,
    fetch,
    resolving_to,
    serve,
    with_timeouts,
)

DEVELOPMENT = EgressPolicy(loopback_allowed=True)
TO_LOOPBACK = resolving_to(["127.0.0.1"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def named(port: int, host: str = "upstream.test") -> Endpoint:
    return parse_endpoint(f"https://{host}:{port}")


async def test_certificate_is_checked_for_the_name_and_the_name_sent_as_sni(
    authority: Authority,
) -> None:
    asked_for: list[str | None] = []
    context = authority.server_context("upstream.test")
    context.sni_callback = lambda _, name, __: asked_for.append(name)
    async with (
        serve(always_hello, tls=context) as server,
        a_transport(
            DEVELOPMENT, ssl_context=authority.client_context(), resolver=TO_LOOPBACK
        ) as transport,
    ):
        assert await fetch(transport, named(server.port)) == b"hello"
        assert await fetch(transport, named(server.port)) == b"hello"
        assert asked_for == ["upstream.test"]
        assert server.requests[0].header("host") == [f"upstream.test:{server.port}"]


async def test_certificate_of_an_address_is_accepted_for_that_address(
    authority: Authority,
) -> None:
    async with (
        serve(always_hello, tls=authority.server_context("127.0.0.1")) as server,
        a_transport(DEVELOPMENT, ssl_context=authority.client_context()) as transport,
    ):
        assert await fetch(transport, named(server.port, "127.0.0.1")) == b"hello"


async def test_certificate_of_another_name_is_refused(authority: Authority) -> None:
    # The address is in the certificate: it must not count when a name was asked for.
    context = authority.server_context("other.test", "127.0.0.1")
    async with (
        serve(always_hello, tls=context) as server,
        a_transport(
            DEVELOPMENT, ssl_context=authority.client_context(), resolver=TO_LOOPBACK
        ) as transport,
    ):
        with pytest.raises(ConnectFailed, match="certificate"):
            await fetch(transport, named(server.port))
        assert server.requests == []


async def test_expired_certificate_is_refused(authority: Authority) -> None:
    context = authority.server_context("upstream.test", expired=True)
    async with (
        serve(always_hello, tls=context) as server,
        a_transport(
            DEVELOPMENT, ssl_context=authority.client_context(), resolver=TO_LOOPBACK
        ) as transport,
    ):
        with pytest.raises(ConnectFailed, match="certificate"):
            await fetch(transport, named(server.port))


async def test_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    context = authority.server_context("upstream.test")
    async with (
        serve(always_hello, tls=context) as server,
        a_transport(DEVELOPMENT, resolver=TO_LOOPBACK) as transport,
    ):
        with pytest.raises(ConnectFailed, match="certificate"):
            await fetch(transport, named(server.port))
        assert server.requests == []


async def test_server_without_tls_is_refused(authority: Authority) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await wire.gone()

    async with (
        serve(script) as server,
        a_transport(
            DEVELOPMENT, ssl_context=authority.client_context(), resolver=TO_LOOPBACK
        ) as transport,
    ):
        with pytest.raises(ConnectFailed, match="TLS"):
            await fetch(transport, named(server.port))


async def test_tls_1_1_is_refused(authority: Authority) -> None:
    context = authority.server_context("upstream.test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with (
        serve(always_hello, tls=context) as server,
        a_transport(
            DEVELOPMENT, ssl_context=authority.client_context(), resolver=TO_LOOPBACK
        ) as transport,
    ):
        with pytest.raises(ConnectFailed):
            await fetch(transport, named(server.port))


async def test_body_without_framing_needs_the_end_of_tls(authority: Authority) -> None:
    async def cut(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"\r\nhello")
        wire.writer.transport.abort()  # TCP ends, and TLS never said so

    async def end(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"\r\nhello")
        wire.writer.close()
        await wire.gone()

    context = authority.server_context("upstream.test")
    async with (
        serve(cut, tls=context) as cutting,
        serve(end, tls=context) as ending,
        a_transport(
            DEVELOPMENT, ssl_context=authority.client_context(), resolver=TO_LOOPBACK
        ) as transport,
    ):
        with pytest.raises(UpstreamClosed):
            await fetch(transport, named(cutting.port))
        assert await fetch(transport, named(ending.port)) == b"hello"


async def test_address_that_hangs_in_tls_does_not_use_up_the_time_of_the_next(
    authority: Authority,
) -> None:
    async def hang(wire: Wire) -> None:
        await wire.gone()

    async with (
        serve(always_hello, tls=authority.server_context("upstream.test")) as server,
        serve(hang, host="127.0.0.2", port=server.port) as hanging,
        a_transport(
            DEVELOPMENT,
            ssl_context=authority.client_context(),
            resolver=resolving_to(["127.0.0.2", "127.0.0.1"]),
        ) as transport,
    ):
        timeouts = with_timeouts(connect=1)
        assert await fetch(transport, named(server.port), timeouts=timeouts) == b"hello"
        assert hanging.connections == 1


@pytest.mark.parametrize("weakened", ["check_hostname", "verify_mode"])
def test_context_that_does_not_verify_is_refused(
    authority: Authority, weakened: str, tmp_path: Path
) -> None:
    context = authority.client_context()
    context.check_hostname = False
    if weakened == "verify_mode":
        context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ValueError, match="verify"):
        Transport(EgressPolicy(), ssl_context=context)
