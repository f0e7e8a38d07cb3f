"""A provider that is no provider: every answer it can think of, at every door."""

import asyncio
import contextlib
import gzip
import secrets
import time
from collections.abc import AsyncIterator
from itertools import product

import httpx
import pytest
import pytest_asyncio

from model_service.gateway import circuit, outbound, streaming
from model_service.kernel.types import Provider
from tests.faults.gateway_doors import DOORS, OPENAI_CHAT, Answer, Door, refusal
from tests.faults.hostile import OK, Script, Server, Wire, answering_then_closing, serve
from tests.gateway_world import GatewayWorld

WAYS = list(product(DOORS, (False, True)))
CHUNKED = b"transfer-encoding: chunked\r\n"
EVENTS = OK + b"content-type: text/event-stream\r\n" + CHUNKED + b"\r\n"
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]}\n\n'
)
FINISH = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
DONE = b"data: [DONE]\n\n"
WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
)


def answer(status: bytes, body: bytes = b"", *lines: bytes) -> bytes:
    """A whole HTTP answer."""
    head = b"".join(line + b"\r\n" for line in lines)
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, head, len(body), body)


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture(autouse=True)
def _seen_by_every_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """No circuit opens, however often the one model fails."""
    monkeypatch.setattr(circuit, "STREAK", 1_000_000)
    monkeypatch.setattr(circuit, "VOLUME", 1_000_000)


@pytest_asyncio.fixture(scope="module")
async def caller(shared_world: GatewayWorld) -> AsyncIterator[httpx.AsyncClient]:
    user = secrets.token_hex(6)
    await shared_world.key(Provider.CUSTOM, "sk-sandbox-" + secrets.token_hex(8), user=user)
    async with shared_world.client(await shared_world.token(user)) as client:
        yield client


async def played(world: GatewayWorld, server: Server) -> str:
    """A model that the server plays."""
    name = secrets.token_hex(6)
    base_url = f"http://127.0.0.1:{server.port}/v1"
    settings = {"baseUrl": base_url, "policy": {"retries": 0}}
    await world.model(name, Provider.CUSTOM, providerSettings=settings)
    return name


async def asked(
    world: GatewayWorld, caller: httpx.AsyncClient, script: Script
) -> list[tuple[Door, bool, Answer]]:
    """What every door makes of a script, all at the same time."""
    async with serve(script) as server:
        model = await played(world, server)
        answers = await asyncio.gather(
            *(door.ask(caller, model, stream=stream) for door, stream in WAYS)
        )
    assert not any(one.is_broken for one in answers)
    return [(*way, given) for way, given in zip(WAYS, answers, strict=True)]


async def all_refused(
    world: GatewayWorld, caller: httpx.AsyncClient, script: Script, status: int = 502
) -> None:
    """Fails unless the script is an HTTP error at every door, whole and streaming."""
    for door, stream, given in await asked(world, caller, script):
        assert given.status == status, (door.name, stream, given.text)
        assert refusal(door, given)[1]


@pytest.mark.parametrize(
    "status",
    [b"204 No Content", b"205 Reset Content", b"300 Multiple", b"304 Not Modified", b"399 x"],
)
async def test_an_answer_that_is_none_is_a_502(
    world: GatewayWorld, caller: httpx.AsyncClient, status: bytes
) -> None:
    await all_refused(world, caller, answering_then_closing(b"HTTP/1.1 " + status + b"\r\n\r\n"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + answer(b"200 OK", WHOLE),
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
        b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 000 What\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        OK + b"content-length: 5\r\n" + CHUNKED + b"\r\nhello",
        OK + b"content-length: -1\r\n\r\n" + WHOLE,
        OK + CHUNKED + b"\r\nzz\r\nhello\r\n0\r\n\r\n",
        OK + CHUNKED + b"\r\n" + b"f" * 32 + b"\r\nhello",
        OK + b"x: " + b"a" * 1_000_000 + b"\r\ncontent-length: 0\r\n\r\n",
        OK + b"x: y\r\n" * 10_000 + b"content-length: 0\r\n\r\n",
        OK + b"bad header\r\ncontent-length: 0\r\n\r\n",
        OK + b"content-encoding: zstd\r\ncontent-length: 1\r\n\r\nx",
        OK + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
    ],
    ids=range(19),
)
async def test_what_is_no_sound_http_is_a_502(
    world: GatewayWorld, caller: httpx.AsyncClient, raw: bytes
) -> None:
    await all_refused(world, caller, answering_then_closing(raw))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"chat"',
        b"<html>Sign in to the hotel's network</html>",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"choices":' + b"[" * 2000,
        b'{"id":1e999999}',
        b'{"choices":[]}',
        b'{"choices":{}}',
        b'{"choices":[null]}',
        b'{"choices":[{"message":5,"finish_reason":"stop"}]}',
        b'{"error":{"message":5,"code":[1],"param":{"a":1}}}',
        b'{"error":"no"}',
        b'{"choices":[],"usage":"much"}',
    ],
    ids=range(17),
)
async def test_a_200_that_is_no_answer_is_a_502(
    world: GatewayWorld, caller: httpx.AsyncClient, body: bytes
) -> None:
    """At the provider's own door what is JSON passes unchanged, but for errors."""
    html = b"content-type: text/html"
    script = answering_then_closing(answer(b"200 OK", body, html))
    for door, stream, given in await asked(world, caller, script):
        passes = door is OPENAI_CHAT and not stream and body[:2] in (b"{}", b'{"')
        if passes and given.status == 200:
            assert b"error" not in body
            assert given.document["model"]
            continue
        assert given.status == 502, (door.name, stream, given.text)
        assert refusal(door, given)[1]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    world: GatewayWorld, caller: httpx.AsyncClient, status: int
) -> None:
    async with serve(answering_then_closing(answer(b"200 OK", WHOLE))) as elsewhere:
        location = f"location: http://127.0.0.1:{elsewhere.port}/".encode()
        script = answering_then_closing(answer(b"%d Over there" % status, b"", location))
        await all_refused(world, caller, script)
        assert elsewhere.connections == 0


async def test_interim_answers_are_passed_over(
    world: GatewayWorld, caller: httpx.AsyncClient
) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with serve(answering_then_closing(early + answer(b"200 OK", WHOLE))) as server:
        model = await played(world, server)
        for door in DOORS:
            given = await door.ask(caller, model, stream=False)
            assert given.status == 200
            assert door.text(given) == "hi"


async def test_a_gzip_bomb_is_given_up_before_it_fills_the_memory(
    world: GatewayWorld, caller: httpx.AsyncClient
) -> None:
    bomb = gzip.compress(bytes(100 * 1024 * 1024), 9)
    script = answering_then_closing(answer(b"200 OK", bomb, b"content-encoding: gzip"))
    async with serve(script) as server:
        model = await played(world, server)
        for stream in (False, True):
            given = await OPENAI_CHAT.ask(caller, model, stream=stream)
            assert given.status == 502, given.text[:300]


@pytest.mark.parametrize("size", [2_000_000, 20_000_000])
async def test_an_error_with_a_huge_body_keeps_its_status(
    world: GatewayWorld, caller: httpx.AsyncClient, size: int
) -> None:
    body = b'{"error":{"message":"' + b"x" * size + b'"}}'
    for door, _, given in await asked(
        world, caller, answering_then_closing(answer(b"429 Slow", body, b"retry-after: 3"))
    ):
        assert given.status == 429
        assert given.headers["retry-after"] == "3"
        assert len(given.text) < 20_000
        assert refusal(door, given)[1]


async def test_an_errors_message_is_passed_on_to_a_bounded_length(
    world: GatewayWorld, caller: httpx.AsyncClient
) -> None:
    body = b'{"error":{"message":"' + b"x" * 500_000 + b'","code":"' + b"y" * 9999 + b'"}}'
    for door, _, given in await asked(
        world, caller, answering_then_closing(answer(b"400 No", body))
    ):
        assert given.status == 400
        assert "x" * 100 in refusal(door, given)[1]
        assert len(given.text) < 20_000


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"x"])
async def test_an_error_whose_body_never_ends_is_told_all_the_same(
    world: GatewayWorld,
    caller: httpx.AsyncClient,
    piece: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbound, "ERROR_SECONDS", 0.3)

    async def endless(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 503 No\r\nretry-after: 4\r\n" + CHUNKED + b"\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                await wire.send(framed(piece))
                await asyncio.sleep(0.01 if len(piece) == 1 else 0)

    started = time.monotonic()
    for door, _, given in await asked(world, caller, endless):
        assert given.status == 503
        assert given.headers["retry-after"] == "4"
        assert refusal(door, given)[1]
    assert time.monotonic() - started < 5


async def test_an_error_without_a_body_keeps_its_status(
    world: GatewayWorld, caller: httpx.AsyncClient
) -> None:
    cut = b"HTTP/1.1 429 Slow\r\ncontent-length: 1000\r\n\r\n{"
    await all_refused(world, caller, answering_then_closing(cut), 429)


async def test_an_event_without_end_is_given_up(
    world: GatewayWorld, caller: httpx.AsyncClient
) -> None:
    async def endless(wire: Wire) -> None:
        await wire.request()
        await wire.send(EVENTS + framed(CHUNK) + framed(b"data: "))
        piece = framed(b"x" * 1_000_000)
        with contextlib.suppress(ConnectionError):
            while True:
                await wire.send(piece)

    async with serve(endless) as server:
        model = await played(world, server)
        for door in DOORS:
            given = await door.ask(caller, model, stream=True)
            assert given.status == 200
            assert door.errors(given)
            assert not door.is_complete(given)
            assert len(given.text) < 10_000


@pytest.mark.parametrize(
    "event",
    [
        b"data: \n\n",
        b"data: null\n\n",
        b"data: []\n\n",
        b"data: 5\n\n",
        b'data: {"choices":5}\n\n',
        b'data: {"choices":[{"delta":[]}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":{}}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[]},"finish_reason":5}]}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":"many"}}\n\n',
        b"event: ping\ndata: {}\n\n",
        b": a comment\n\n",
        b"\xef\xbb\xbfdata: {}\n\n",
        b"data: {\xff\xfe}\n\n",
        b"id: 5\nretry: 9\n\n",
        b"\r\n\r\n\r\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"event: " + b"x" * 70_000 + b"\ndata: {}\n\n",
    ],
    ids=range(17),
)
async def test_one_odd_event_is_survived(
    world: GatewayWorld, caller: httpx.AsyncClient, event: bytes
) -> None:
    async def odd(wire: Wire) -> None:
        await wire.request()
        for piece in (CHUNK, event, CHUNK, FINISH, DONE):
            await wire.send((EVENTS if piece is CHUNK and not sent else b"") + framed(piece))
            sent.append(piece)
        await wire.send(b"0\r\n\r\n")

    async with serve(odd) as server:
        model = await played(world, server)
        for door in DOORS:
            sent: list[bytes] = []
            given = await door.ask(caller, model, stream=True)
            assert given.status == 200, given.text
            assert door.is_complete(given), (door.name, given.text)
            assert not door.errors(given)
            if door is not OPENAI_CHAT:  # what is odd passes unchanged at the provider's own
                assert door.text(given) == "hihi"


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error":{"message":"no"}}\n\n',
        b'data: {"error":"no"}\n\n',
        b'data: {"error":{"message":{"a":[1]},"code":[1],"type":{},"param":7}}\n\n',
        b'event: error\ndata: {"error":{"code":500,"message":"no"}}\n\n',
        b'data: {"error":{"code":1e999}}\n\ndata: {"error":{"message":"no"}}\n\n',
        b'data: {"id":"c","error":{"code":429,"message":"no"},"choices":[]}\n\n',
    ],
    ids=range(6),
)
async def test_an_error_event_of_any_shape_ends_the_stream_as_an_error(
    world: GatewayWorld, caller: httpx.AsyncClient, event: bytes
) -> None:
    whole = CHUNK + event + FINISH + DONE
    raw = EVENTS + framed(whole) + b"0\r\n\r\n"
    async with serve(answering_then_closing(raw)) as server:
        model = await played(world, server)
        for door in DOORS:
            given = await door.ask(caller, model, stream=True)
            assert given.status == 200
            assert door.errors(given), (door.name, given.text)
            assert not door.is_complete(given), (door.name, given.text)


async def test_a_stream_that_fails_before_its_first_event_is_an_http_error(
    world: GatewayWorld, caller: httpx.AsyncClient
) -> None:
    error = framed(b'data: {"error":{"message":"the engine is gone","code":503}}\n\n')
    async with serve(answering_then_closing(EVENTS + error + b"0\r\n\r\n")) as server:
        model = await played(world, server)
        for door in DOORS:
            given = await door.ask(caller, model, stream=True)
            assert given.status == 503
            assert "the engine is gone" in refusal(door, given)[1]
            assert given.headers["retry-after"]


@pytest.mark.parametrize("end", [b"", FINISH[:-1], CHUNK[:60]], ids=["none", "finish", "piece"])
async def test_a_stream_that_ends_cleanly_without_its_finish_is_an_error(
    world: GatewayWorld, caller: httpx.AsyncClient, end: bytes
) -> None:
    """Also one whose finish lacks the blank line: it may be the half of something."""
    raw = EVENTS + framed(CHUNK) + (framed(end) if end else b"") + b"0\r\n\r\n"
    async with serve(answering_then_closing(raw)) as server:
        model = await played(world, server)
        for door in DOORS:
            given = await door.ask(caller, model, stream=True)
            if end == FINISH[:-1] and door.is_complete(given):
                continue  # the finish itself had come whole
            assert door.errors(given), (door.name, given.text)
            assert not door.is_complete(given)


async def test_a_stream_that_goes_on_after_its_end_is_ended(
    world: GatewayWorld, caller: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "TAIL_SECONDS", 0.1)

    async def endless(wire: Wire) -> None:
        await wire.request()
        await wire.send(EVENTS + framed(CHUNK + FINISH + DONE))
        with contextlib.suppress(ConnectionError):
            while True:
                await wire.send(framed(CHUNK))
                await asyncio.sleep(0.001)
        wire.server.departures.release()

    async with serve(endless) as server:
        model = await played(world, server)
        for door in DOORS:
            given = await door.ask(caller, model, stream=True)
            assert door.is_complete(given)
            assert door.text(given) == "hi"
            async with asyncio.timeout(streaming.TAIL_SECONDS + 2):
                await server.departures.acquire()


async def test_what_the_provider_says_in_headers_goes_nowhere(
    world: GatewayWorld, caller: httpx.AsyncClient
) -> None:
    lines = (
        b"set-cookie: a=b",
        b"x-model-service-key-id: forged",
        b"www-authenticate: Basic",
        b"server: hostile",
        b"retry-after: 99999999999999999999",
        b"x-evil: yes",
        b"connection: x-evil",
    )
    for _, _, given in await asked(
        world, caller, answering_then_closing(answer(b"429 Slow", WHOLE, *lines))
    ):
        names = set(given.headers)
        assert not names & {"set-cookie", "www-authenticate", "server", "x-evil"}
        assert 1 <= int(given.headers["retry-after"]) <= 300
        assert "forged" not in str(given.headers)
