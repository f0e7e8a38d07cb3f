"""Each timeout rings for its own part of an exchange, and only for that."""

import asyncio
import socket
from collections.abc import Sequence

import pytest

from model_service.kernel.errors import UpstreamTimeout
from model_service.providers.egress import EgressPolicy
from model_service.providers.endpoint import parse_endpoint
from model_service.providers.transport import Timeouts
from tests.faults.hostile import (
    BRIEFLY,
    HELLO,
    OK,
    Server,
    Wire,
    a_transport,
    always_hello,
    ask,
    fetch,
    serve,
    silent,
    with_timeouts,
)


async def phase_that_ran_out(server: Server, timeouts: Timeouts) -> str:
    """Fetch from the server, expecting a timeout and, soon after, a closed connection."""
    async with a_transport() as transport:
        with pytest.raises(UpstreamTimeout) as caught:
            await fetch(transport, server, timeouts=timeouts)
        assert transport.open_connections == 0
    return caught.value.phase


async def drip(wire: Wire, data: bytes) -> None:
    """Send a byte at a time, each well within any single timeout, until the client leaves."""
    gone = asyncio.ensure_future(wire.gone())
    for byte in data:
        await wire.send(bytes((byte,)))
        done, _ = await asyncio.wait([gone], timeout=BRIEFLY / 10)
        if done:
            return
    await gone


async def test_server_that_never_accepts_runs_out_of_connect_time() -> None:
    with socket.socket() as listening, socket.socket() as filler, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)  # room for one connection, which nobody accepts
        for filling in (filler, second):
            filling.setblocking(False)
            filling.connect_ex(listening.getsockname())
        endpoint = parse_endpoint(f"http://127.0.0.1:{listening.getsockname()[1]}", trusted=True)
        async with a_transport() as transport:
            with pytest.raises(UpstreamTimeout) as caught:
                await fetch(transport, endpoint, timeouts=with_timeouts(connect=BRIEFLY))
        assert caught.value.phase == "connect"


async def test_server_that_never_answers_tls_runs_out_of_connect_time() -> None:
    async with serve(silent) as server, a_transport() as transport:
        with pytest.raises(UpstreamTimeout) as caught:
            await fetch(
                transport, server.endpoint(scheme="https"), timeouts=with_timeouts(connect=BRIEFLY)
            )
        assert caught.value.phase == "connect"
        await server.client_left()
        assert transport.open_connections == 0


async def test_name_that_never_resolves_runs_out_of_connect_time() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.get_running_loop().create_future()
        return []

    async with a_transport(EgressPolicy(), resolver=never) as transport:
        endpoint = parse_endpoint("https://upstream.test")
        with pytest.raises(UpstreamTimeout) as caught:
            await fetch(transport, endpoint, timeouts=with_timeouts(connect=BRIEFLY))
        assert caught.value.phase == "connect"
        assert transport.open_connections == 0


async def test_waiting_for_a_free_connection_counts_as_connecting() -> None:
    async with (
        serve(silent) as server,
        a_transport(max_connections_per_origin=1) as transport,
    ):
        holding = asyncio.ensure_future(ask(transport, server))
        await server.client_came()
        with pytest.raises(UpstreamTimeout) as caught:
            await fetch(transport, server, timeouts=with_timeouts(connect=BRIEFLY))
        assert caught.value.phase == "connect"
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding


async def test_total_shorter_than_connect_is_named_as_total() -> None:
    async with serve(silent) as server, a_transport() as transport:
        with pytest.raises(UpstreamTimeout) as caught:
            await fetch(
                transport, server.endpoint(scheme="https"), timeouts=with_timeouts(total=BRIEFLY)
            )
        assert caught.value.phase == "total"


async def test_server_that_never_answers_runs_out_of_first_byte_time() -> None:
    async with serve(silent) as server:
        assert await phase_that_ran_out(server, with_timeouts(first_byte=BRIEFLY)) == "first_byte"
        await server.client_left()


async def test_head_sent_byte_by_byte_does_not_extend_the_first_byte_time() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await drip(wire, OK + b"X-Padding: " + b"x" * 1000)

    async with serve(script) as server:
        timeouts = with_timeouts(first_byte=2 * BRIEFLY, idle=BRIEFLY)
        assert await phase_that_ran_out(server, timeouts) == "first_byte"


async def test_interim_answers_do_not_extend_the_first_byte_time() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 3)
        await wire.gone()

    async with serve(script) as server:
        assert await phase_that_ran_out(server, with_timeouts(first_byte=BRIEFLY)) == "first_byte"


async def test_silence_in_the_body_runs_out_of_idle_time_after_what_came_was_read() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"Content-Length: 10\r\n\r\nhello")
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        response = await ask(transport, server, timeouts=with_timeouts(idle=BRIEFLY))
        pieces = response.chunks()
        assert await anext(pieces) == b"hello"
        with pytest.raises(UpstreamTimeout) as caught:
            await anext(pieces)
        assert caught.value.phase == "idle"
        await server.client_left()


async def test_body_sent_byte_by_byte_runs_out_of_total_time() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"Content-Length: 1000\r\n\r\n")
        await drip(wire, bytes(1000))

    async with serve(script) as server:
        timeouts = with_timeouts(idle=10 * BRIEFLY, total=2 * BRIEFLY)
        assert await phase_that_ran_out(server, timeouts) == "total"


async def test_slow_head_within_its_time_is_not_cut_off_by_the_shorter_idle_time() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        loop = asyncio.get_running_loop()
        later: asyncio.Future[None] = loop.create_future()
        loop.call_later(2 * BRIEFLY, later.set_result, None)
        await later
        await wire.send(HELLO)
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        assert await fetch(transport, server, timeouts=with_timeouts(idle=BRIEFLY)) == b"hello"


async def test_short_timeout_rings_on_a_connection_that_served_patient_requests() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HELLO)
        await wire.request()
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        assert await fetch(transport, server) == b"hello"
        with pytest.raises(UpstreamTimeout) as caught:
            await fetch(transport, server, timeouts=with_timeouts(first_byte=BRIEFLY))
        assert caught.value.phase == "first_byte"
        assert server.connections == 1


async def test_endless_timeouts_are_allowed() -> None:
    forever = float("inf")
    timeouts = Timeouts(connect=forever, first_byte=forever, idle=forever, total=forever)
    async with serve(always_hello) as server, a_transport() as transport:
        for _ in range(2):
            assert await fetch(transport, server, timeouts=timeouts) == b"hello"
