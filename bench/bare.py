"""The least that a relay in Python can be: what the gateway's own work is measured against.

uvloop and httptools on both sides, JSON parsed and written once each way, and nothing else: no
token, no model, no key, no errors, no streams. `python -m bench.bare PORT UPSTREAM_PORT` serves it.

A third argument is microseconds that it works for nothing in each request, as a relay does that has
so much to do.
"""

import asyncio
import sys
import time
from collections import deque
from typing import cast

import httptools
import orjson
import uvloop
from typing_extensions import override


class _Upstream(asyncio.Protocol):
    def __init__(self, free: "deque[_Upstream]") -> None:
        self._free = free
        self._body = b""
        self.caller: _Caller | None = None
        self.transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        document = orjson.loads(self._body)
        document["model"] = "whole"
        self._body = b""
        caller, self.caller = self.caller, None
        self._free.append(self)
        assert caller is not None
        caller.answer(orjson.dumps(document))


class _Caller(asyncio.Protocol):
    def __init__(self, free: "deque[_Upstream]", work: float) -> None:
        self._free = free
        self._work = work
        self._body = b""
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        document = orjson.loads(self._body)
        document["model"] = "gpt-5.5"
        self._body = b""
        body = orjson.dumps(document)
        if self._work:
            until = time.perf_counter() + self._work
            while time.perf_counter() < until:
                pass
        upstream = self._free.popleft()
        upstream.caller = self
        assert upstream.transport is not None
        upstream.transport.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )

    def answer(self, body: bytes) -> None:
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )


async def _serve(port: int, upstream: int, work: float) -> None:
    loop = asyncio.get_running_loop()
    free: deque[_Upstream] = deque()
    for _ in range(64):
        _, made = await loop.create_connection(lambda: _Upstream(free), "127.0.0.1", upstream)
        free.append(made)
    server = await loop.create_server(lambda: _Caller(free, work), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    microseconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), microseconds / 1e6))
