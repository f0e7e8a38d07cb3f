"""Bytes that are no sound request to the gateway: refused, and never taken for two of them."""

import asyncio
import secrets
from unittest.mock import ANY

import orjson
import pytest

from model_service.http.server import MAX_HEAD
from model_service.kernel.types import Provider
from tests.faults.gateway_doors import OPENAI_CHAT
from tests.faults.test_gateway_clients import Caller, Dial, dial
from tests.gateway_world import GatewayWorld

PATHS = ("/v1/chat/completions", "/v1/messages", "/v1beta/models/m:generateContent")


async def rest(caller: Caller) -> bytes:
    """Everything until the service closes the connection."""
    received = b""
    async with asyncio.timeout(20):
        while piece := await caller.reader.read(65_536):
            received += piece
    return received


async def ready(world: GatewayWorld) -> tuple[str, bytes]:
    """A token, and the body of a call that would be answered."""
    model, user = secrets.token_hex(6), secrets.token_hex(6)
    await world.model(model, Provider.OPENAI)
    await world.key(Provider.OPENAI, "sk-sandbox-" + secrets.token_hex(8), user=user)
    body = orjson.dumps(OPENAI_CHAT.body(model, "hello", False))
    return await world.token(user), body


SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n"

#: Heads of which nobody can say for certain where the body ends.
AMBIGUOUS = {
    "a length and chunks": b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
    "chunks and a length": b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    "two lengths": b"content-length: 5\r\ncontent-length: 6\r\n",
    "lengths in a list": b"content-length: 5, 6\r\n",
    "a negative length": b"content-length: -5\r\n",
    "a length with a sign": b"content-length: +5\r\n",
    "a length in hex": b"content-length: 0x5\r\n",
    "a length beyond all": b"content-length: 99999999999999999999999\r\n",
    "an unknown coding": b"transfer-encoding: xchunked\r\n",
    "chunks that are not last": b"transfer-encoding: chunked, gzip\r\n",
    "a name with a blank": b"content-length : 5\r\n",
    "a folded header": b"x: a\r\n b: c\r\n",
    "a bare CR": b"x: a\rcontent-length: 5\r\n",
    "a NUL": b"x: a\x00b\r\n",
    "no colon": b"content-length 5\r\n",
    "an empty name": b": 5\r\n",
}


@pytest.mark.parametrize("what", AMBIGUOUS)
@pytest.mark.parametrize("path", PATHS)
async def test_a_request_whose_end_is_not_certain_is_refused_whole(
    world: GatewayWorld, dial: Dial, path: str, what: str
) -> None:
    token, _ = await ready(world)
    caller = await dial()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n".encode()
    caller.writer.write(head + AMBIGUOUS[what] + b"\r\n" + b"0\r\n\r\n" + SMUGGLED)
    answers = await rest(caller)
    assert answers.startswith(b"HTTP/1.1 400 "), answers
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answers
    assert not world.sandbox.openai.requests


CHUNKS = {
    "no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "a negative number": b"-5\r\nhello\r\n0\r\n\r\n",
    "a number beyond all": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than said": b"5\r\nhello world\r\n0\r\n\r\n",
    "LF alone": b"5\nhello\n0\n\n",
    "a blank before": b" 5\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("what", CHUNKS)
async def test_chunks_that_are_none_end_the_connection(
    world: GatewayWorld, dial: Dial, what: str
) -> None:
    token, _ = await ready(world)
    caller = await dial()
    head = f"POST {PATHS[0]} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n".encode()
    caller.writer.write(head + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS[what])
    answers = await rest(caller)
    assert answers.startswith(b"HTTP/1.1 400 "), answers
    assert answers.count(b"HTTP/1.1 ") == 1


async def test_sound_chunks_are_one_body(world: GatewayWorld, dial: Dial) -> None:
    token, body = await ready(world)
    caller = await dial()
    head = f"POST {PATHS[0]} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n".encode()
    caller.writer.write(head + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n")
    for start in range(0, len(body), 7):
        piece = body[start : start + 7]
        caller.writer.write(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
    caller.writer.write(b"0\r\ntrailer: x\r\n\r\n")
    answer = await rest(caller)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert len(world.sandbox.openai.requests) == 1


@pytest.mark.parametrize(
    "target",
    [
        b"http://x/v1/chat/completions",
        b"http://evil.example/v1/chat/completions",
        b"//v1/chat/completions",
        b"/v1//chat/completions",
        b"/v1/../v1/chat/completions",
        b"/%76%31/chat/completions",
        b"/v1/chat%2fcompletions",
        b"/v1/chat/completions/",
        b"/v1/chat/completions%00",
        b"/v1/chat/completions;x=1",
        b"/V1/chat/completions",
        b"/v1\\chat\\completions",
        b"/api/../v1/chat/completions",
        b"/v1/models/../chat/completions",
        b"/v1beta/models/%2e%2e:generateContent",
        b"/openai/deployments//chat/completions",
        b"/openai/deployments/..%2f..%2f/chat/completions",
        b"*",
    ],
)
async def test_only_the_path_itself_leads_to_a_door(
    world: GatewayWorld, dial: Dial, target: bytes
) -> None:
    token, body = await ready(world)
    for credential in (b"", b"authorization: Bearer %b\r\n" % token.encode()):
        caller = await dial()
        caller.writer.write(
            b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%bcontent-length: %d\r\n\r\n%b"
            % (target, credential, len(body), body)
        )
        answer = await rest(caller)
        assert answer[9:12] in (b"400", b"401", b"404", b"405"), answer
        # What is asked at no cost, to see whether somebody is well, is no call.
        assert not [one for one in world.sandbox.openai.requests if one.method == "POST"]


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]
)
async def test_another_method_does_nothing(world: GatewayWorld, dial: Dial, method: str) -> None:
    token, body = await ready(world)
    caller = await dial()
    head = f"{method} {PATHS[0]} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
    head += f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    caller.writer.write(head.encode() + body)
    answer = await rest(caller)
    assert answer.startswith(b"HTTP/1.1 405 "), answer
    assert b"allow: POST\r\n" in answer
    assert token.encode() not in answer, "nothing is sent back as TRACE would"
    assert not world.sandbox.openai.requests


@pytest.mark.parametrize("method", [b"CONNECT", b"FROBNICATE"])
async def test_a_tunnel_or_no_method_at_all_is_refused(
    world: GatewayWorld, dial: Dial, method: bytes
) -> None:
    caller = await dial()
    target = b"x:443" if method == b"CONNECT" else b"/v1/chat/completions"
    caller.writer.write(method + b" " + target + b" HTTP/1.1\r\nhost: x\r\n\r\n" + SMUGGLED)
    answer = await rest_or_head(caller)
    assert answer[9:12] in (b"400", b"401", b"404", b"405"), answer
    assert not world.sandbox.openai.requests


async def rest_or_head(caller: Caller) -> bytes:
    async with asyncio.timeout(20):
        return await caller.reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0"])
@pytest.mark.parametrize("cut", [None, 1, 60, -3], ids=str)
async def test_an_upgrade_asked_for_is_not_made_and_the_call_answered(
    world: GatewayWorld, dial: Dial, protocol: str, cut: int | None
) -> None:
    """As some HTTP clients ask with every request; what follows is its body and no request."""
    token, body = await ready(world)
    head = (
        f"POST {PATHS[0]} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
        f"connection: Upgrade, HTTP2-Settings\r\nupgrade: {protocol}\r\n"
        f"http2-settings: AAMAAABkAAQAAP__\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    call = head + body
    caller = await dial()
    for _ in range(2):
        if cut is None:
            caller.writer.write(head)
            await asyncio.sleep(0.02)  # so that the body comes in a piece of its own
            caller.writer.write(body)
        else:
            caller.writer.write(call[:cut])
            await asyncio.sleep(0.02)
            caller.writer.write(call[cut:])
        answer = await rest_or_head(caller)
        assert b" 200 " in answer.partition(b"\r\n")[0]
        length = answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await caller.reader.readexactly(int(length))
    assert [one.body for one in world.sandbox.openai.requests] == [ANY, ANY]


async def test_a_body_after_an_upgrade_asked_for_is_no_request(
    world: GatewayWorld, dial: Dial
) -> None:
    token, _ = await ready(world)
    caller = await dial()
    smuggled = f"GET /v1/models HTTP/1.1\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    head = (
        "POST /api/models HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: h2c\r\n"
        f"content-type: application/json\r\ncontent-length: {len(smuggled)}\r\n\r\n"
    )
    caller.writer.write(head.encode())
    await asyncio.sleep(0.02)
    caller.writer.write(smuggled)
    answers = await rest(caller)
    assert answers.startswith(b"HTTP/1.1 401 ")
    assert answers.count(b"HTTP/1.1 ") == 1


async def test_a_url_without_end_is_refused(world: GatewayWorld, dial: Dial) -> None:
    caller = await dial()
    caller.writer.write(b"POST /v1/" + b"a" * MAX_HEAD)
    assert (await rest(caller)).startswith(b"HTTP/1.1 431 ")


async def test_a_long_url_within_the_bound_is_answered(world: GatewayWorld, dial: Dial) -> None:
    token = await world.token()
    caller = await dial()
    name = "a" * (MAX_HEAD // 2)
    caller.writer.write(
        f"GET /v1/models/{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        f"authorization: Bearer {token}\r\n\r\n".encode()
    )
    answer = await rest(caller)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert len(answer) < 2000, "it is not said back"


@pytest.mark.parametrize("value", ["a\tb", "ü", "'; DROP TABLE models; --", "a" * 200, "%0d%0a"])
async def test_an_odd_request_id_is_not_taken(world: GatewayWorld, dial: Dial, value: str) -> None:
    caller = await dial()
    caller.writer.write(
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: %b\r\n\r\n"
        % value.encode()
    )
    answer = await rest(caller)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert value.encode() not in answer


@pytest.mark.parametrize("name", ["m\r\nx-evil: 1", "m\x00", "ü☃", "../../x", "a b", "%0d%0ax: 1"])
async def test_a_models_name_never_breaks_a_header(world: GatewayWorld, name: str) -> None:
    async with world.client(await world.token()) as client:
        for path in (f"/v1/models/{secrets.token_hex(4)}", "/v1/chat/completions"):
            method = "GET" if "models" in path else "POST"
            answer = await client.request(method, path, json={"model": name})
            assert answer.status_code == 404
            assert "x-evil" not in answer.headers


async def test_an_old_client_of_http_1_0_is_answered_and_closed(
    world: GatewayWorld, dial: Dial
) -> None:
    token, body = await ready(world)
    caller = await dial()
    head = f"POST {PATHS[0]} HTTP/1.0\r\nauthorization: Bearer {token}\r\n"
    caller.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    assert b" 200 " in (await rest(caller)).partition(b"\r\n")[0]


async def test_an_old_client_gets_a_stream_without_chunks(world: GatewayWorld, dial: Dial) -> None:
    token, body = await ready(world)
    streamed = orjson.dumps(orjson.loads(body) | {"stream": True})
    caller = await dial()
    head = f"POST {PATHS[0]} HTTP/1.0\r\nauthorization: Bearer {token}\r\n"
    caller.writer.write(f"{head}content-length: {len(streamed)}\r\n\r\n".encode() + streamed)
    head_, _, answer = (await rest(caller)).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head_
    assert answer.startswith(b"data: {")
    assert answer.endswith(b"data: [DONE]\n\n")


async def test_a_body_that_is_encoded_is_a_clear_415(world: GatewayWorld, dial: Dial) -> None:
    token, body = await ready(world)
    caller = await dial()
    caller.writer.write(
        f"POST {PATHS[0]} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
        f"content-encoding: gzip\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        .encode() + body
    )  # fmt: skip
    answer = await rest(caller)
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b"content encoding" in answer


__all__ = ["dial"]
