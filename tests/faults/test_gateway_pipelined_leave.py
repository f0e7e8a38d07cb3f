"""Callers that leave while requests wait behind the one that is being answered."""

import asyncio
import contextlib

import pytest

from tests.faults.hostile import Wire, serve
from tests.faults.test_gateway_clients import CHUNK, EVENTS, Dial, asks, dial, framed
from tests.gateway_world import GatewayWorld


async def on_and_on(wire: Wire) -> None:
    """Noticed by writing: while requests wait the service does not read."""
    await wire.request()
    await wire.send(EVENTS)
    with contextlib.suppress(ConnectionError):
        while True:
            await wire.send(framed(CHUNK % b"hello"))
            await asyncio.sleep(0.02)
    wire.server.departures.release()


@pytest.mark.parametrize("behind", [1, 2, 20])
async def test_a_caller_who_leaves_requests_behind_ends_the_providers_call(
    world: GatewayWorld, dial: Dial, behind: int
) -> None:
    async with serve(on_and_on) as upstream:
        caller = await dial()
        caller.writer.write(await asks(world, upstream) + b"GET /v1/x HTTP/1.1\r\n\r\n" * behind)
        await caller.head()
        caller.leave()
        await upstream.client_left()


async def test_it_is_the_one_that_is_answered_by_then_that_ends(
    world: GatewayWorld, dial: Dial
) -> None:
    async with serve(on_and_on) as upstream:
        caller = await dial()
        first = b"GET /v1/x HTTP/1.1\r\n\r\n"
        caller.writer.write(first + await asks(world, upstream) + first)
        await caller.head()
        await upstream.client_came()
        caller.leave()
        async with asyncio.timeout(5):
            await upstream.departures.acquire()


__all__ = ["dial"]
