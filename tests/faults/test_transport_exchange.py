"""Sound answers over real sockets: what is sent, and what comes back."""

import gzip
import zlib

import pytest

from model_service.kernel.errors import EgressRefused
from model_service.providers.endpoint import parse_endpoint
from model_service.providers.transport import Transport, UpstreamRequest
from tests.faults.hostile import (
    HELLO,
    OK,
    Server,
    a_transport,
    always_hello,
    answering,
    answering_then_closing,
    ask,
    fetch,
    serve,
)


async def body_of(answer: bytes) -> bytes:
    async with serve(answering_then_closing(answer)) as server, a_transport() as transport:
        return await fetch(transport, server)


async def test_answer_with_a_length_is_read_whole() -> None:
    async with serve(always_hello) as server, a_transport() as transport:
        response = await ask(transport, server)
        assert response.status == 200
        assert await response.read() == b"hello"


async def test_answer_in_chunks_is_put_together() -> None:
    answer = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"
    assert await body_of(answer) == b"hello"


async def test_trailers_are_dropped() -> None:
    async with (
        serve(
            answering(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n")
        ) as server,
        a_transport() as transport,
    ):
        response = await ask(transport, server)
        assert await response.read() == b"x"
        assert response.headers == (("transfer-encoding", "chunked"),)


async def test_answer_without_framing_ends_with_the_connection() -> None:
    assert await body_of(OK + b"\r\nhello") == b"hello"


async def test_http_1_0_answer_is_read() -> None:
    assert await body_of(b"HTTP/1.0 200 OK\r\n\r\nhello") == b"hello"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_bodiless_status_has_no_body_and_keeps_the_connection(status: bytes) -> None:
    bodiless = b"HTTP/1.1 " + status + b"\r\nContent-Length: 7\r\n\r\n"
    async with serve(answering(bodiless, HELLO)) as server, a_transport() as transport:
        assert await fetch(transport, server) == b""
        assert await fetch(transport, server) == b"hello"
        assert server.connections == 1


async def test_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    async with serve(always_hello) as server, a_transport() as transport:
        response = await ask(transport, server, method="HEAD")
        assert response.header("content-length") == "5"
        assert await response.read() == b""
        assert await fetch(transport, server) == b"hello"


async def test_interim_answers_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with serve(answering(interim + HELLO)) as server, a_transport() as transport:
        response = await ask(transport, server)
        assert response.headers == (("content-length", "5"),)
        assert await response.read() == b"hello"


async def test_headers_keep_their_order_and_lose_case_and_padding() -> None:
    answer = OK + b"X-B:  two words \t\r\nx-a:\r\nX-B: \xe9\r\nContent-Length: 0\r\n\r\n"
    async with serve(answering(answer)) as server, a_transport() as transport:
        response = await ask(transport, server)
        assert response.headers == (
            ("x-b", "two words"),
            ("x-a", ""),
            ("x-b", "\xe9"),
            ("content-length", "0"),
        )
        assert response.header("x-b") == "two words"
        assert response.header("x-c") is None


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503, 529])
async def test_error_status_is_an_answer(status: int) -> None:
    answer = b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\n{}" % status
    async with serve(answering(answer)) as server, a_transport() as transport:
        response = await ask(transport, server)
        assert response.status == status
        assert await response.read() == b"{}"


async def test_redirect_to_the_metadata_service_is_an_answer_and_not_followed() -> None:
    answer = (
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    async with serve(answering(answer)) as server, a_transport() as transport:
        response = await ask(transport, server)
        assert response.status == 302
        assert response.header("location") == "http://169.254.169.254/latest/meta-data/"
        assert await response.read() == b""
        assert len(server.requests) == 1


async def test_request_carries_host_prefix_length_and_no_compression() -> None:
    async with serve(always_hello) as server, a_transport() as transport:
        endpoint = parse_endpoint(f"http://127.0.0.1:{server.port}/v1/", trusted=True)
        headers = (("Authorization", "Bearer made-up"), ("X-Two", "words here"))
        await fetch(
            transport, endpoint, "/chat?a=b%20c", method="POST", headers=headers, body=b"{}"
        )
        (received,) = server.requests
        assert received.line == "POST /v1/chat?a=b%20c HTTP/1.1"
        assert received.header("host") == [f"127.0.0.1:{server.port}"]
        assert received.header("accept-encoding") == ["identity"]
        assert received.header("content-length") == ["2"]
        assert received.header("authorization") == ["Bearer made-up"]
        assert received.header("x-two") == ["words here"]
        assert received.body == b"{}"


async def test_empty_post_says_its_length_and_get_says_none() -> None:
    async with serve(always_hello) as server, a_transport() as transport:
        await fetch(transport, server, method="POST")
        await fetch(transport, server, method="GET")
        assert [received.header("content-length") for received in server.requests] == [["0"], []]


async def test_large_request_and_answer_pass_whole() -> None:
    body = bytes(range(256)) * 16384  # 4 MiB
    answer = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with serve(answering(answer)) as server, a_transport() as transport:
        assert await fetch(transport, server, method="POST", body=body) == body
        assert server.requests[0].body == body


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ((("X-A", "b\r\nX-Injected: yes"),), "/"),
        ((("X-A", "b\0"),), "/"),
        ((("X-A", "sné"),), "/"),
        ((("X-A\r\nX-B", "c"),), "/"),
        ((("", "c"),), "/"),
        ((("Host", "elsewhere"),), "/"),
        ((("content-length", "0"),), "/"),
        ((("Transfer-Encoding", "chunked"),), "/"),
        ((), "/a b"),
        ((), "/a\r\nX: y"),
        ((), "nowhere"),
        ((), "/v1/../admin"),
        ((), "/v1/%2e%2E/admin"),
    ],
)
async def test_malformed_request_is_refused_before_anything_is_sent(
    headers: tuple[tuple[str, str], ...], path: str
) -> None:
    async with serve(always_hello) as server, a_transport() as transport:
        with pytest.raises(EgressRefused):
            await ask(transport, server, path, headers=headers)
        assert server.connections == 0


def test_request_does_not_print_its_credentials() -> None:
    endpoint = parse_endpoint("https://api.example.com")
    request = UpstreamRequest(
        endpoint, "POST", "/", (("Authorization", "Bearer made-up"),), b"prompt"
    )
    assert "made-up" not in repr(request)
    assert "prompt" not in repr(request)


RAW_DEFLATE = zlib.compressobj(wbits=-zlib.MAX_WBITS)


@pytest.mark.parametrize(
    ("coding", "compressed"),
    [
        (b"gzip", gzip.compress(b"hello " * 1000, mtime=0)),
        (
            b"X-GZIP",
            gzip.compress(b"hello " * 400, mtime=0) + gzip.compress(b"hello " * 600, mtime=0),
        ),
        (b"deflate", zlib.compress(b"hello " * 1000)),
        (b"deflate", RAW_DEFLATE.compress(b"hello " * 1000) + RAW_DEFLATE.flush()),
        (b"identity", b"hello " * 1000),
    ],
)
async def test_compressed_answer_is_decompressed(coding: bytes, compressed: bytes) -> None:
    answer = OK + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        coding,
        len(compressed),
        compressed,
    )
    assert await body_of(answer) == b"hello " * 1000


async def test_two_servers_are_asked_side_by_side_by_one_transport() -> None:
    async def both(transport: Transport, first: Server, second: Server) -> None:
        assert await fetch(transport, first) == b"hello"
        assert await fetch(transport, second) == b"hello"

    async with (
        serve(always_hello) as first,
        serve(always_hello) as second,
        a_transport() as transport,
    ):
        await both(transport, first, second)
        assert (first.connections, second.connections) == (1, 1)
        assert transport.open_connections == 2
