"""The same behaviour on uvloop, which serves production; the other tests run on asyncio's loop."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from model_service.kernel.errors import ConnectFailed, UpstreamClosed, UpstreamTimeout
from model_service.providers.egress import EgressPolicy
from model_service.providers.endpoint import parse_endpoint
from tests.faults.authority import Authority
from tests.faults.hostile import (
    BRIEFLY,
    HELLO,
    OK,
    Wire,
    a_transport,
    always_hello,
    ask,
    fetch,
    resolving_to,
    serve,
    silent,
    with_timeouts,
)

DEVELOPMENT = EgressPolicy(loopback_allowed=True)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await scenario()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_connection_is_kept_and_stale_ones_are_replaced() -> None:
    async def script(wire: Wire) -> None:
        for _ in range(3):
            await wire.request()
            await wire.send(HELLO)
        if wire.server.connections == 1:
            await wire.request()

    async def scenario() -> None:
        async with serve(script) as server, a_transport() as transport:
            for _ in range(6):
                assert await fetch(transport, server, method="POST", body=b"x") == b"hello"
            assert server.connections == 2

    run(scenario)


def test_slow_reader_stalls_the_server_and_loses_nothing() -> None:
    body = bytes(48 * 1024 * 1024)
    sent = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        sent.set()
        await wire.gone()

    async def scenario() -> None:
        async with serve(script) as server, a_transport() as transport:
            response = await ask(transport, server)
            pieces = response.chunks()
            received = len(await anext(pieces))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2 * BRIEFLY):
                    await sent.wait()
            async for piece in pieces:
                received += len(piece)
            assert received == len(body)

    run(scenario)


@pytest.mark.parametrize("phase", ["connect", "first_byte", "idle", "total"])
def test_timeout_rings_for_its_phase(phase: str) -> None:
    async def half(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"Content-Length: 5\r\n\r\nhe")
        await wire.gone()

    async def scenario() -> None:
        script = silent if phase in ("connect", "first_byte") else half
        async with serve(script) as server, a_transport() as transport:
            endpoint = server.endpoint(scheme="https" if phase == "connect" else "http")
            with pytest.raises(UpstreamTimeout) as caught:
                await fetch(transport, endpoint, timeouts=with_timeouts(**{phase: BRIEFLY}))
            assert caught.value.phase == phase
            await server.client_left()

    run(scenario)


def test_cancelling_closes_the_connection() -> None:
    async def scenario() -> None:
        async with serve(silent) as server, a_transport() as transport:
            task = asyncio.ensure_future(ask(transport, server))
            await server.client_came()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.client_left()

    run(scenario)


def test_certificate_is_checked_for_the_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def scenario() -> None:
        async with (
            serve(always_hello, tls=authority.server_context("upstream.test")) as server,
            a_transport(
                DEVELOPMENT,
                ssl_context=authority.client_context(),
                resolver=resolving_to(["127.0.0.1"]),
            ) as transport,
        ):
            for _ in range(2):
                endpoint = parse_endpoint(f"https://upstream.test:{server.port}")
                assert await fetch(transport, endpoint) == b"hello"
            assert server.connections == 1
            with pytest.raises(ConnectFailed, match="certificate"):
                await fetch(transport, parse_endpoint(f"https://other.test:{server.port}"))

    run(scenario)


def test_unframed_body_needs_the_end_of_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"\r\nhello")
        if wire.server.connections == 1:
            wire.writer.transport.abort()
        else:
            wire.writer.close()
            await wire.gone()

    async def scenario() -> None:
        async with (
            serve(script, tls=authority.server_context("upstream.test")) as server,
            a_transport(
                DEVELOPMENT,
                ssl_context=authority.client_context(),
                resolver=resolving_to(["127.0.0.1"]),
            ) as transport,
        ):
            endpoint = parse_endpoint(f"https://upstream.test:{server.port}")
            with pytest.raises(UpstreamClosed):
                await fetch(transport, endpoint)
            assert await fetch(transport, endpoint) == b"hello"

    run(scenario)
