"""HTTP/1.1 to the upstreams: the only way out of the service for a provider call.

No redirects are followed and no proxy is taken from the environment. Every new connection
goes through the egress guard.
"""

import asyncio
import math
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

from model_service.kernel.errors import ConnectFailed, UpstreamTimeout
from model_service.providers.connection import Connection
from model_service.providers.dial import dial
from model_service.providers.egress import EgressPolicy, Resolver, resolve, system_resolver
from model_service.providers.endpoint import Endpoint
from model_service.providers.exchange import Exchange, StaleConnection
from model_service.providers.messages import Limits, Timeouts, UpstreamRequest, wire_parts
from model_service.providers.pool import Pool
from model_service.providers.response import UpstreamResponse, open_response

# A connection older than this is not used again, so that a changed DNS answer takes effect.
_LIFETIME_SECONDS: Final = 600.0

# Trusted and untrusted endpoints of one origin do not share connections: what the guard let
# through for the operator's endpoint it might refuse for another.
_PoolKey = tuple[str, bool]


class Transport:
    """Sends requests over kept-alive connections, pooled by origin. Belongs to one event loop."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver = system_resolver,
        max_connections_per_origin: int = 512,
        idle_keepalive_s: float = 30.0,
    ) -> None:
        """`ssl_context` is for another set of authorities than the system's.

        Raises ValueError when it does not verify certificates and host names.
        """
        self._policy = policy
        self._tls = ssl_context or _default_tls()
        if self._tls.verify_mode != ssl.CERT_REQUIRED or not self._tls.check_hostname:
            raise ValueError("the TLS context must verify certificates and host names")
        self._resolver = resolver
        self._capacity = max_connections_per_origin
        self._keepalive = idle_keepalive_s
        self._pools: dict[_PoolKey, Pool] = {}
        self._closed = False

    @property
    def policy(self) -> EgressPolicy:
        """Where connections may be opened to."""
        return self._policy

    @property
    def open_connections(self) -> int:
        """Connections open or being opened, over all origins."""
        return sum(pool.size for pool in self._pools.values())

    async def send(
        self, request: UpstreamRequest, timeouts: Timeouts, limits: Limits
    ) -> UpstreamResponse:
        """Send a request and give the answer once its head has arrived, whatever its status.

        Nothing is retried, save that a kept-alive connection found closed before the first
        byte of the answer is replaced by a fresh one, once. Raises EgressRefused,
        ConnectFailed, UpstreamTimeout, UpstreamProtocolError, UpstreamClosed or
        UpstreamTooLarge. Cancelling closes the connection.
        """
        head, body = wire_parts(request)
        loop = asyncio.get_running_loop()
        start = loop.time()
        pool = self._pool(request.endpoint)
        connection = pool.take(start) or await self._connection(pool, timeouts, start)
        exchange = Exchange(loop, limits, head_only=request.method == "HEAD")
        total = start + timeouts.total
        try:
            await connection.run(exchange, head, body, timeouts, total)
        except StaleConnection:
            pool = self._pool(request.endpoint)
            connection = await self._connection(pool, timeouts, start, fresh=True)
            exchange = Exchange(loop, limits, head_only=request.method == "HEAD")
            await connection.run(exchange, head, body, timeouts, total)
        return open_response(exchange)

    def begin(
        self,
        request: UpstreamRequest,
        timeouts: Timeouts,
        limits: Limits,
        when_over: Callable[[Exchange], None],
    ) -> Exchange | None:
        """Send a request at once over a connection that is free; None when there is none.

        `when_over` is called in the event loop, later, when the whole answer is here or will never
        be. Raises EgressRefused.
        """
        head, body = wire_parts(request)  # first: a connection that is taken has to be used
        endpoint = request.endpoint
        pool = self._pools.get((endpoint.origin, endpoint.trusted))
        if pool is None:
            return None
        loop = pool.loop
        now = loop.time()
        connection = pool.take(now)
        if connection is None:
            return None
        exchange = Exchange(loop, limits, when_over)
        connection.start(exchange, head, body, timeouts, now + timeouts.total, now)
        return exchange

    async def aclose(self) -> None:
        """Close every connection; answers under way fail, and so does every later request."""
        self._closed = True
        pools = list(self._pools.values())
        closing = [done for pool in pools for done in pool.close()]
        if closing:
            await asyncio.wait(closing)

    def _pool(self, endpoint: Endpoint) -> Pool:
        key = (endpoint.origin, endpoint.trusted)
        pool = self._pools.get(key)
        if pool is None:
            if self._closed:
                raise ConnectFailed("The transport is closed")
            pool = self._pools[key] = Pool(
                asyncio.get_running_loop(),
                self._capacity,
                opener=partial(self._open, endpoint),
                when_empty=partial(self._forget, key),
            )
        return pool

    def _forget(self, key: _PoolKey, pool: Pool) -> None:
        """Drop an empty pool: an origin asked once must not take room for ever."""
        if self._pools.get(key) is pool:
            del self._pools[key]

    async def _connection(
        self, pool: Pool, timeouts: Timeouts, start: float, *, fresh: bool = False
    ) -> Connection:
        """Wait for a connection from the pool within the connect and total timeouts."""
        now = asyncio.get_running_loop().time()
        until_total = start + timeouts.total
        deadline = min(now + timeouts.connect, until_total)
        try:
            async with asyncio.timeout_at(deadline if deadline < math.inf else None):
                return await pool.acquire(deadline, fresh=fresh)
        except TimeoutError:
            raise UpstreamTimeout("total" if deadline == until_total else "connect") from None

    async def _open(self, endpoint: Endpoint, pool: Pool, deadline: float) -> Connection:
        """Check the endpoint's addresses anew and connect to one of them."""
        addresses = await resolve(endpoint, self._policy, self._resolver)
        loop = asyncio.get_running_loop()
        make = partial(
            Connection, loop, pool, keepalive=self._keepalive, lifetime=_LIFETIME_SECONDS
        )
        return await dial(endpoint, addresses, self._tls, make, deadline)


def _default_tls() -> ssl.SSLContext:
    """The system's authorities, TLS 1.2 at least (Python's default), HTTP/1.1 in ALPN."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


__all__ = [
    "Limits",
    "Timeouts",
    "Transport",
    "UpstreamRequest",
    "UpstreamResponse",
]
