"""The connections to one origin: how many, which are free, and who waits for one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from typing_extensions import override

from model_service.kernel.errors import ConnectFailed, UpstreamClosed
from model_service.providers.connection import Connection, Owner

# Opens one connection that belongs to the given pool, by a deadline in loop time.
Opener: TypeAlias = Callable[["Pool", float], Awaitable[Connection]]


class Pool(Owner):
    """At most `capacity` connections to one origin.

    Callers that find none free wait in line; a freed connection, or the room a closed one
    leaves, goes to whoever has waited longest. The most recently used connection is taken
    first, so that a quiet pool shrinks.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        capacity: int,
        opener: Opener,
        when_empty: Callable[["Pool"], None],
    ) -> None:
        """`when_empty` is told when the last connection is gone and nobody waits."""
        self.loop = loop
        self._capacity = capacity
        self._opener = opener
        self._when_empty = when_empty
        self._connections: set[Connection] = set()
        self._opening = 0
        self._free: list[Connection] = []
        # Each gets a free connection, or None: room to open one.
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False

    @property
    def size(self) -> int:
        """Connections open or being opened."""
        return len(self._connections) + self._opening

    def take(self, now: float) -> Connection | None:
        """A free connection at once (`now` by the loop), if there is one and nobody is in line."""
        free = self._free
        while free:
            connection = free.pop()
            # One that became free at this very moment of the loop's clock was read just now.
            if connection.free_since == now or connection.is_usable():
                return connection
            connection.abort()
        return None

    async def acquire(self, deadline: float, *, fresh: bool = False) -> Connection:
        """A connection: a free one, unless `fresh`, or a new one, or the next to become free.

        `deadline` (loop time) is for opening; the wait in line ends by cancellation. Raises
        what the opener raises, and ConnectFailed when the pool is closed.
        """
        connection = await self._admit(fresh=fresh)
        if connection is not None:
            return connection
        try:
            connection = await self._opener(self, deadline)
        except BaseException:
            self._opening -= 1
            self._pass_room_on()
            raise
        self._opening -= 1
        self._connections.add(connection)
        if self._closed:
            connection.abort()
            raise ConnectFailed("The transport is closed")
        return connection

    def close(self) -> list["asyncio.Future[None]"]:
        """Close every connection and send everybody in line away; gives what to wait for."""
        self._closed = True
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(ConnectFailed("The transport is closed"))
        connections = list(self._connections)
        for connection in connections:
            connection.fail(UpstreamClosed("The transport is closed"))
        return [connection.closed for connection in connections]

    @override
    def connection_free(self, connection: Connection) -> None:
        if not self._waiters or not self._hand_over(connection):
            self._free.append(connection)

    @override
    def connection_gone(self, connection: Connection) -> None:
        if connection not in self._connections:
            return  # it gave its room to a fresh one already
        self._connections.remove(connection)
        if connection in self._free:
            self._free.remove(connection)
        self._pass_room_on()

    async def _admit(self, *, fresh: bool) -> Connection | None:
        """A connection to use, or None for room (already counted) to open one."""
        while True:
            connection = await self._connection_or_room(fresh=fresh)
            if connection is None:
                return None
            if fresh and self._exchange_for_room(connection):
                return None
            if not fresh and connection.is_usable():
                return connection
            connection.abort()

    async def _connection_or_room(self, *, fresh: bool) -> Connection | None:
        if self._closed:
            raise ConnectFailed("The transport is closed")
        if not self._waiters:
            if self._free and not fresh:
                return self._free.pop()
            if self.size < self._capacity:
                self._opening += 1
                return None
            if self._free:
                return self._free.pop()
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiters.remove(waiter)
            elif waiter.exception() is None:
                self._give_back(waiter.result())
            raise

    def _give_back(self, got: Connection | None) -> None:
        """Pass on what a cancelled waiter had already been given."""
        if got is None:
            self._opening -= 1
            self._pass_room_on()
        elif got in self._connections:
            self.connection_free(got)

    def _exchange_for_room(self, connection: Connection) -> bool:
        """Close a connection and keep its place for a new one; false when it had lost it."""
        if connection not in self._connections:
            return False
        self._connections.remove(connection)
        self._opening += 1
        connection.abort()
        return True

    def _pass_room_on(self) -> None:
        if self._hand_over(None):
            self._opening += 1
        elif self.size == 0:
            # Not at once: whoever closed the last connection may be about to open another.
            asyncio.get_running_loop().call_soon(self._check_empty)

    def _check_empty(self) -> None:
        if self.size == 0:
            self._when_empty(self)

    def _hand_over(self, offered: Connection | None) -> bool:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(offered)
                return True
        return False
