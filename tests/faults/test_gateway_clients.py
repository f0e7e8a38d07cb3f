"""Callers that are slow, rude or gone: the provider's connection closes, and memory stays flat."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest
import pytest_asyncio

from model_service.gateway import call as calls
from model_service.gateway import wire
from model_service.kernel.types import Provider
from tests.faults.hostile import OK, Server, Wire, serve
from tests.gateway_world import GatewayWorld

CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":'
    b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
)
EVENTS = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Caller:
    """A caller with a bare socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    def leave(self) -> None:
        self.writer.transport.abort()


Dial = Callable[[], Awaitable[Caller]]


@pytest_asyncio.fixture
async def dial(world: GatewayWorld) -> AsyncIterator[Dial]:
    """Makes connections to the gateway, which are gone at the end."""
    host, _, port = world.url.removeprefix("http://").partition(":")
    made: list[Caller] = []

    async def connected() -> Caller:
        made.append(Caller(*await asyncio.open_connection(host, int(port))))
        return made[-1]

    yield connected
    for one in made:
        one.leave()
        with contextlib.suppress(ConnectionError):
            await one.writer.wait_closed()


async def asks(world: GatewayWorld, server: Server, *, stream: bool = True) -> bytes:
    """A request for a model that the server plays, by a user of its own."""
    model, user = secrets.token_hex(6), secrets.token_hex(6)
    await world.model(
        model,
        Provider.CUSTOM,
        providerSettings={"baseUrl": f"http://127.0.0.1:{server.port}"},
    )
    await world.key(Provider.CUSTOM, "*", user=user)
    body = orjson.dumps(
        {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    )
    return request(await world.token(user), body)


def request(token: str, body: bytes, *, path: str = "/v1/chat/completions") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


async def silent(connection: Wire) -> None:
    await connection.request()
    await connection.gone()


async def talking(connection: Wire) -> None:
    await connection.request()
    await connection.send(EVENTS + framed(CHUNK % b"hello"))
    await connection.gone()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_before_the_first_byte_ends_the_providers_call(
    world: GatewayWorld, dial: Dial, stream: bool
) -> None:
    async with serve(silent) as server:
        rude = await dial()
        rude.writer.write(await asks(world, server, stream=stream))
        await server.client_came()
        rude.leave()
        await server.client_left()


async def test_a_caller_who_leaves_in_mid_stream_ends_the_providers_call(
    world: GatewayWorld, dial: Dial
) -> None:
    async with serve(talking) as server:
        rude = await dial()
        rude.writer.write(await asks(world, server))
        assert b"200 OK" in await rude.head()
        await rude.reader.readuntil(b"\n\n")
        rude.leave()
        await server.client_left()


async def test_a_caller_who_closes_its_half_is_taken_as_gone(
    world: GatewayWorld, dial: Dial
) -> None:
    async with serve(talking) as server:
        rude = await dial()
        rude.writer.write(await asks(world, server))
        await rude.head()
        rude.writer.write_eof()
        await server.client_left()


async def test_a_caller_who_does_not_read_stops_the_provider(
    world: GatewayWorld, dial: Dial
) -> None:
    """What is under way fits into the sockets and a bounded buffer, however much is sent."""
    sent = 0
    stuck = asyncio.Event()
    piece = framed(CHUNK % (b"x" * 60_000))

    async def flooding(connection: Wire) -> None:
        nonlocal sent
        await connection.request()
        await connection.send(EVENTS)
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await connection.send(piece)
            except TimeoutError:
                stuck.set()
                await connection.gone()
                return
            sent += len(piece)

    async with serve(flooding) as server:
        lazy = await dial()
        lazy.writer.write(await asks(world, server))
        async with asyncio.timeout(30):
            await stuck.wait()
        assert sent < 16 * 1024 * 1024
        lazy.leave()
        await server.client_left()


async def test_a_caller_who_never_reads_is_given_up(
    world: GatewayWorld, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "STALL_SECONDS", 0.2)

    async def flooding(connection: Wire) -> None:
        await connection.request()
        await connection.send(EVENTS)
        try:
            while True:
                await connection.send(framed(CHUNK % (b"x" * 60_000)))
        except ConnectionError:
            connection.server.departures.release()

    async with serve(flooding) as server:
        lazy = await dial()
        lazy.writer.write(await asks(world, server))
        async with asyncio.timeout(20):
            await server.departures.acquire()


async def test_a_body_that_comes_byte_by_byte_is_read(world: GatewayWorld, dial: Dial) -> None:
    async def answering(connection: Wire) -> None:
        received = await connection.request()
        assert orjson.loads(received.body)["messages"][0]["content"] == "hello"
        await connection.send(EVENTS + framed(CHUNK % b"hi") + framed(b"data: [DONE]\n\n"))
        await connection.gone()

    async with serve(answering) as server:
        slow = await dial()
        for byte in await asks(world, server):
            slow.writer.write(bytes([byte]))
            await slow.writer.drain()
        assert b"200 OK" in await slow.head()
        slow.leave()


async def test_calls_and_other_requests_follow_one_another_on_one_connection(
    world: GatewayWorld, dial: Dial
) -> None:
    health = b"GET /api/health HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serve(_whole) as server:
        call = await asks(world, server, stream=False)
        pipelined = await dial()
        pipelined.writer.write(call + health + call + health + call)
        call_said, other_said = b"chat.completion", b"model-service"
        for expected in (call_said, other_said, call_said, other_said, call_said):
            head = await pipelined.head()
            assert b"200 OK" in head
            assert expected in await pipelined.reader.readexactly(_length(head))
        pipelined.leave()


async def test_a_body_beyond_the_bound_gets_its_413_whole(world: GatewayWorld, dial: Dial) -> None:
    token = await world.token()
    large = await dial()
    large.writer.write(request(token, b"x" * (calls.MAX_BODY + 1)))
    head = await large.head()
    assert b" 413 " in head
    assert orjson.loads(await large.reader.readexactly(_length(head)))["error"]["code"]
    assert await large.reader.read() == b""


async def test_a_chunked_body_beyond_the_bound_is_refused_before_its_end(
    world: GatewayWorld, dial: Dial
) -> None:
    token = await world.token()
    endless = await dial()
    endless.writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
        "transfer-encoding: chunked\r\n\r\n".encode()
    )
    piece = framed(b"x" * 1_000_000)
    sending = asyncio.create_task(_send_for_ever(endless, piece))
    head = await endless.head()
    sending.cancel()
    assert b" 413 " in head
    endless.leave()


async def test_nobody_fills_the_memory_without_a_token(world: GatewayWorld, dial: Dial) -> None:
    unknown = await dial()
    unknown.writer.write(request("msk_nobody", b"x" * (calls.MAX_UNKNOWN_BODY + 1)))
    assert b" 413 " in await unknown.head()
    unknown.leave()


async def test_slow_bodies_together_do_not_fill_the_memory(
    world: GatewayWorld, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_HELD", 150_000)
    token = await world.token()
    head = request(token, b"x" * 200_000)[:-100_000]
    slow, late = await dial(), await dial()
    slow.writer.write(head)
    while wire.GatewayProtocol.held_bytes < 100_000:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    late.writer.write(head)
    answer = await late.head()
    assert b" 503 " in answer
    assert b"retry-after: 1" in answer
    slow.leave()
    while wire.GatewayProtocol.held_bytes:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    late.leave()


async def test_a_body_of_many_images_is_taken(world: GatewayWorld, dial: Dial) -> None:
    async with serve(_whole) as server:
        call = await asks(world, server, stream=False)
        head, _, body = call.partition(b"\r\n\r\n")
        document = orjson.loads(body)
        document["messages"][0]["content"] = "x" * (30 * 1024 * 1024)
        token = head.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode()
        large = await dial()
        large.writer.write(request(token, orjson.dumps(document)))
        assert b"200 OK" in await large.head()
        assert len(server.requests[0].body) > 30 * 1024 * 1024
        large.leave()


async def test_expect_100_continue_is_answered(world: GatewayWorld, dial: Dial) -> None:
    async with serve(_whole) as server:
        head, _, body = (await asks(world, server, stream=False)).partition(b"\r\n\r\n")
        careful = await dial()
        careful.writer.write(head + b"\r\nexpect: 100-continue\r\n\r\n")
        assert b"100 Continue" in await careful.head()
        careful.writer.write(body)
        assert b"200 OK" in await careful.head()
        careful.leave()


async def test_a_caller_who_asks_first_need_not_send_what_is_too_large(
    world: GatewayWorld, dial: Dial
) -> None:
    token = await world.token()
    careful = await dial()
    careful.writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
        f"content-length: {calls.MAX_BODY + 1}\r\nexpect: 100-continue\r\n\r\n".encode()
    )
    assert b" 413 " in await careful.head()


async def test_many_callers_leave_at_once(world: GatewayWorld, dial: Dial) -> None:
    async with serve(silent) as server:
        call = await asks(world, server)
        crowd = [await dial() for _ in range(50)]
        for one in crowd:
            one.writer.write(call)
        for _ in crowd:
            await server.client_came()
        for one in crowd:
            one.leave()
        for _ in crowd:
            await server.client_left()


async def _whole(connection: Wire) -> None:
    answer = orjson.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "up",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "hi"},
                    "finish_reason": "stop",
                }
            ],
        }
    )
    while True:
        await connection.request()
        await connection.send(OK + b"content-length: %d\r\n\r\n%b" % (len(answer), answer))


async def _send_for_ever(caller: Caller, piece: bytes) -> None:
    while True:
        caller.writer.write(piece)
        await caller.writer.drain()


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
