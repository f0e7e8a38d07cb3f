"""Opening a socket to one of the addresses the egress guard has checked."""

import asyncio
import math
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

from model_service.kernel.errors import ConnectFailed, UpstreamTimeout
from model_service.providers.addresses import Address
from model_service.providers.connection import Connection
from model_service.providers.endpoint import Endpoint

_MAX_TRIES: Final = 4


async def dial(
    endpoint: Endpoint,
    addresses: Sequence[Address],
    tls: ssl.SSLContext,
    make_connection: Callable[[], Connection],
    deadline: float,
) -> Connection:
    """Connect to the first of the addresses that answers, TLS included.

    The socket goes to the address itself; the host name is used for SNI and checked against
    the certificate. Each try gets an equal share of what is left until `deadline` (loop time),
    so that one silent address does not use it all; the last is bounded by the caller alone,
    who knows whose deadline it is. Raises ConnectFailed or UpstreamTimeout("connect").
    """
    loop = asyncio.get_running_loop()
    tries = addresses[:_MAX_TRIES]
    failure: ConnectFailed | UpstreamTimeout = UpstreamTimeout("connect")
    for index, address in enumerate(tries):
        left = len(tries) - index
        share = (deadline - loop.time()) / left if left > 1 and deadline < math.inf else None
        try:
            async with asyncio.timeout(share) as patience:
                return await _connect(loop, endpoint, address, tls, make_connection)
        except ssl.CertificateError:
            # Every address of a name shows the same certificate; asking on would only blur it.
            raise ConnectFailed("The upstream's TLS certificate was not accepted") from None
        except ssl.SSLError:
            failure = ConnectFailed("TLS with the upstream could not be agreed")
        except OSError:
            failure = UpstreamTimeout("connect") if patience.expired() else ConnectFailed()
    raise failure


async def _connect(
    loop: asyncio.AbstractEventLoop,
    endpoint: Endpoint,
    address: Address,
    tls: ssl.SSLContext,
    make_connection: Callable[[], Connection],
) -> Connection:
    secure = endpoint.scheme == "https"
    _, connection = await loop.create_connection(
        make_connection,
        str(address),
        endpoint.port,
        flags=socket.AI_NUMERICHOST,  # an address: no resolver may be asked again
        ssl=tls if secure else None,
        server_hostname=endpoint.host if secure else None,
    )
    return connection
