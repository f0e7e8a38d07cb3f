"""Kept-alive connections: used again, replaced when stale, limited, and never confused."""

import asyncio
import contextlib
import os

import pytest

from model_service.kernel.errors import ConnectFailed, EgressRefused, UpstreamClosed
from model_service.providers import transport as transport_module
from model_service.providers.connection import Connection
from model_service.providers.egress import EgressPolicy
from model_service.providers.endpoint import parse_endpoint
from model_service.providers.exchange import Exchange
from model_service.providers.pool import Pool
from model_service.providers.transport import Limits, UpstreamRequest, UpstreamResponse
from tests.faults.hostile import (
    BRIEFLY,
    HELLO,
    OK,
    PATIENT,
    Wire,
    a_transport,
    always_hello,
    answering,
    answering_then_closing,
    ask,
    fetch,
    serve,
    silent,
)


async def test_connection_is_used_again() -> None:
    async with serve(always_hello) as server, a_transport() as transport:
        for _ in range(5):
            assert await fetch(transport, server) == b"hello"
        assert server.connections == 1


async def test_connection_serves_again_before_its_last_answer_is_read() -> None:
    async with serve(always_hello) as server, a_transport() as transport:
        first = await ask(transport, server)
        second = await ask(transport, server)
        assert server.connections == 1
        assert await second.read() == b"hello"
        assert await first.read() == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
async def test_connection_the_server_will_close_is_not_used_again(answer: bytes) -> None:
    async with serve(answering(answer)) as server, a_transport() as transport:
        assert await fetch(transport, server) == b"hello"
        await server.client_left()
        assert await fetch(transport, server) == b"hello"
        assert server.connections == 2


async def test_a_request_that_may_not_be_sent_takes_no_connection() -> None:
    over: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    async with serve(always_hello) as server, a_transport() as transport:
        await fetch(transport, server)
        for value in ("a\nb", "sound"):
            request = UpstreamRequest(server.endpoint(), "GET", "/", (("x-a", value),))
            with contextlib.suppress(EgressRefused):
                assert transport.begin(request, PATIENT, Limits(), over.set_result) is not None
        assert (await over).taken() == b"hello"
        assert server.connections == 1


async def test_connection_closed_while_free_is_not_used_again() -> None:
    async with serve(answering_then_closing(HELLO)) as server, a_transport() as transport:
        for _ in range(3):
            assert await fetch(transport, server, method="POST", body=b"x") == b"hello"
        assert server.connections == 3


async def test_stale_connection_is_replaced_by_a_fresh_one() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HELLO)
        await wire.request()
        if wire.server.connections > 1:
            await wire.send(HELLO)
        # else: close with the second request read and nothing answered

    async with serve(script) as server, a_transport() as transport:
        assert await fetch(transport, server) == b"hello"
        assert await fetch(transport, server, "/again", method="POST", body=b"x") == b"hello"
        assert server.connections == 2
        assert [received.body for received in server.requests] == [b"", b"x", b"x"]


async def test_stale_connection_is_not_replaced_by_another_kept_alive_one() -> None:
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await release.wait()
        await wire.send(HELLO)
        await wire.request()
        if wire.server.connections > 2:
            await wire.send(HELLO)

    async with serve(script) as server, a_transport() as transport:
        first, second = (asyncio.ensure_future(fetch(transport, server)) for _ in range(2))
        release.set()
        assert list(await asyncio.gather(first, second)) == [b"hello", b"hello"]
        assert server.connections == 2
        assert await fetch(transport, server) == b"hello"
        assert server.connections == 3


async def test_fresh_connection_closed_without_an_answer_fails_the_request() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        if wire.server.connections == 1:
            await wire.send(HELLO)
            await wire.request()

    async with serve(script) as server, a_transport() as transport:
        assert await fetch(transport, server) == b"hello"
        with pytest.raises(UpstreamClosed):
            await fetch(transport, server)
        assert server.connections == 2


async def test_stale_connection_is_replaced_when_the_pool_is_full() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HELLO)
        await wire.request()

    async with (
        serve(script) as server,
        a_transport(max_connections_per_origin=1) as transport,
    ):
        for _ in range(3):
            assert await fetch(transport, server) == b"hello"
        assert server.connections == 3


async def test_bytes_nobody_asked_for_discard_a_free_connection() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HELLO)
        if wire.server.connections == 1:
            await wire.send(OK + b"Content-Length: 5\r\n\r\nwrong")
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        assert await fetch(transport, server) == b"hello"
        await server.client_left()
        assert await fetch(transport, server) == b"hello"
        assert server.connections == 2


async def test_bytes_the_loop_has_not_read_yet_are_not_the_next_answer() -> None:
    wires: list[Wire] = []

    async def script(wire: Wire) -> None:
        wires.append(wire)
        await always_hello(wire)

    async with serve(script) as server, a_transport() as transport:
        assert await fetch(transport, server) == b"hello"
        # Straight into the kernel: the transport's loop gets no turn before the next request.
        os.write(
            wires[0].writer.get_extra_info("socket").fileno(),
            OK + b"Content-Length: 5\r\n\r\nwrong",
        )
        assert await fetch(transport, server) == b"hello"
        assert server.connections == 2


async def test_bytes_after_the_end_of_an_answer_spoil_only_the_connection() -> None:
    async with (
        serve(answering(HELLO + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")) as server,
        a_transport() as transport,
    ):
        assert await fetch(transport, server) == b"hello"
        assert await fetch(transport, server) == b"hello"
        assert server.connections == 2


async def test_answer_that_overtakes_its_request_spoils_only_the_connection() -> None:
    async def script(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        response = await ask(transport, server, method="POST", body=bytes(32 * 1024 * 1024))
        assert response.status == 413
        await server.client_left()


async def test_free_connection_is_closed_after_its_keepalive() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HELLO)
        await wire.gone()

    async with (
        serve(script) as server,
        a_transport(idle_keepalive_s=BRIEFLY) as transport,
    ):
        assert await fetch(transport, server) == b"hello"
        assert transport.open_connections == 1
        await server.client_left()
        assert transport.open_connections == 0


async def test_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "_LIFETIME_SECONDS", -1.0)
    async with serve(always_hello) as server, a_transport() as transport:
        for _ in range(2):
            assert await fetch(transport, server) == b"hello"
        assert server.connections == 2


async def test_trusted_and_untrusted_endpoints_do_not_share_connections() -> None:
    policy = EgressPolicy(loopback_allowed=True)
    async with serve(always_hello) as server, a_transport(policy) as transport:
        untrusted = parse_endpoint(f"http://127.0.0.1:{server.port}")
        assert await fetch(transport, server.endpoint()) == b"hello"
        assert await fetch(transport, untrusted) == b"hello"
        assert server.connections == 2


async def test_callers_beyond_the_limit_wait_in_the_order_they_came() -> None:
    async with (
        serve(always_hello) as server,
        a_transport(max_connections_per_origin=2) as transport,
    ):
        paths = [f"/{number}" for number in range(12)]
        answers = await asyncio.gather(*(fetch(transport, server, path) for path in paths))
        assert answers == [b"hello"] * 12
        assert server.connections == 2
        asked = [received.line.split()[1] for received in server.requests]
        # Two wires run side by side, so neighbours may swap, and nobody is overtaken by more.
        assert all(abs(asked.index(path) - number) <= 1 for number, path in enumerate(paths))


async def test_cancelled_waiter_leaves_the_line() -> None:
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await release.wait()
            await wire.send(HELLO)

    async with (
        serve(script) as server,
        a_transport(max_connections_per_origin=1) as transport,
    ):
        first, second, third = (
            asyncio.ensure_future(fetch(transport, server, f"/{number}")) for number in range(3)
        )
        await asyncio.sleep(0)  # one turn: all three are in line
        second.cancel()
        release.set()
        assert list(await asyncio.gather(first, third)) == [b"hello", b"hello"]
        assert second.cancelled()
        assert [received.line for received in server.requests] == [
            "GET /0 HTTP/1.1",
            "GET /2 HTTP/1.1",
        ]


async def test_waiter_cancelled_after_getting_a_connection_passes_it_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release, hand_over = asyncio.Event(), Pool.connection_free

    def hand_over_and_cancel(pool: Pool, connection: Connection) -> None:
        """The connection is handed over, and its new owner has not run yet."""
        hand_over(pool, connection)
        waiting.cancel()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"Content-Length: 5\r\n\r\nhe")
        await release.wait()
        await wire.send(b"llo")
        await always_hello(wire)

    async with (
        serve(script) as server,
        a_transport(max_connections_per_origin=1) as transport,
    ):
        response: UpstreamResponse = await ask(transport, server)
        waiting = asyncio.ensure_future(fetch(transport, server, "/cancelled"))
        await asyncio.sleep(0)  # one turn: it is in line
        monkeypatch.setattr(Pool, "connection_free", hand_over_and_cancel)
        release.set()
        assert await response.read() == b"hello"
        assert await fetch(transport, server, "/after") == b"hello"
        assert waiting.cancelled()
        assert server.connections == 1
        assert [received.line for received in server.requests] == [
            "GET / HTTP/1.1",
            "GET /after HTTP/1.1",
        ]


async def test_failed_connections_make_room_for_those_who_wait() -> None:
    async with serve(always_hello) as server:
        endpoint = server.endpoint()
    async with a_transport(max_connections_per_origin=1) as transport:
        outcomes = await asyncio.gather(
            *(fetch(transport, endpoint) for _ in range(4)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [ConnectFailed] * 4
        assert transport.open_connections == 0


async def test_origin_without_connections_takes_no_room() -> None:
    parting = OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello"
    async with serve(answering(parting)) as server, a_transport() as transport:
        for host in ("127.0.0.1", "localhost"):
            assert await fetch(transport, server.endpoint(host=host)) == b"hello"
            await server.client_left()
        with pytest.raises(ConnectFailed):
            await fetch(transport, server.endpoint(host="127.0.0.2"))
        await asyncio.sleep(0)  # one turn: the empty pools are dropped
        assert transport._pools == {}


async def test_closing_the_transport_fails_what_is_under_way_and_what_comes_later() -> None:
    async with (
        serve(silent) as server,
        a_transport(max_connections_per_origin=1) as transport,
    ):
        running = asyncio.ensure_future(fetch(transport, server))
        waiting = asyncio.ensure_future(fetch(transport, server))
        await server.client_came()
        await transport.aclose()
        await server.client_left()
        with pytest.raises(UpstreamClosed):
            await running
        with pytest.raises(ConnectFailed):
            await waiting
        with pytest.raises(ConnectFailed):
            await fetch(transport, server)
