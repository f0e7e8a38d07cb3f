"""A provider that answers in canned bytes, and the registry pointed at it."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import orjson

from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.base import Answer
from model_service.providers.egress import EgressPolicy, Resolver, system_resolver
from model_service.providers.registry import SPECS, BaseUrls, Providers
from model_service.providers.transport import Transport

KEY = Secret("made-up-key-0123456789abcdef")
SILENCE = b"(silence)"
"""At the end of an answer, or in its place: keep the connection and say nothing more."""

HTML = b"<!DOCTYPE html><title>Sign in to the guest network</title>"


def http(status: int, body: object = b"", *headers: str) -> bytes:
    """An answer; a body that is no bytes becomes JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    head = [f"HTTP/1.1 {status} Canned", f"Content-Length: {len(content)}", "Connection: close"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + content


def gzipped(body: object) -> bytes:
    """A compressed 200, though nobody asked for it."""
    return http(200, gzip.compress(orjson.dumps(body)), "Content-Encoding: gzip")


def answer(status: int, document: object = None) -> Answer:
    """An answer as dialects see it."""
    return Answer(status, document)


@dataclass(slots=True)
class CannedServer:
    """Where it listens, and the requests it got."""

    origin: str
    requests: list[bytes]

    @property
    def targets(self) -> list[str]:
        """Method and path of each request."""
        return [request.partition(b" HTTP/1.1\r\n")[0].decode() for request in self.requests]

    @property
    def allowed(self) -> str:
        """Its entry for UPSTREAM_ALLOWED_HOSTS."""
        return self.origin.removeprefix("http://")


@contextlib.asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[CannedServer]:
    """A server that gives these answers in turn, the last for ever, and closes after each."""
    server = CannedServer("", [])
    left = list(answers)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        try:
            # A client that leaves before the end is what some of these tests are about.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                server.requests.append(await _request(reader))
                canned = left.pop(0) if len(left) > 1 else left[0]
                writer.write(canned.removesuffix(SILENCE))
                await writer.drain()
                if canned.endswith(SILENCE):
                    await reader.read()
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    server.origin = f"http://{host}:{port}"
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def providers_at(
    server: CannedServer,
    *,
    validation_seconds: float = 10.0,
    listing_seconds: float = 10.0,
    resolver: Resolver = system_resolver,
) -> AsyncIterator[Providers]:
    """The registry with every provider's address at the server, in production mode."""
    policy = EgressPolicy.parse(server.allowed, loopback_allowed=False)
    transport = Transport(policy, resolver=resolver)
    urls = BaseUrls(*(server.origin for _ in range(4)))
    try:
        yield Providers(
            transport,
            policy,
            urls,
            specs={
                provider: replace(spec, base_url=spec.base_url and server.origin)
                for provider, spec in SPECS.items()
            },
            validation_seconds=validation_seconds,
            listing_seconds=listing_seconds,
        )
    finally:
        await transport.aclose()


def endpoint_of(provider: Provider, server: CannedServer) -> str | None:
    """The endpoint that a key of the provider would name to get to the server."""
    return server.origin if provider in (Provider.AZURE, Provider.CUSTOM) else None


def pages(*documents: object) -> Sequence[bytes]:
    """Successful answers, one for each page."""
    return [http(200, document) for document in documents]


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    _, given, rest = head.lower().partition(b"content-length:")
    length = int(rest.partition(b"\r\n")[0]) if given else 0
    return head + await reader.readexactly(length)
