"""The HTTP server: uvicorn, configured once, with every answer in the one error shape."""

import socket

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from model_service.http import problem
from model_service.kernel.errors import StartupFault
from model_service.kernel.types import uuid7

#: Seconds that requests under way are given to finish when the service stops.
GRACE = 25
#: Seconds an idle connection is kept for the next request.
KEEP_ALIVE = 75
#: Length of the queue of connections not yet accepted.
BACKLOG = 2048


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, except that it refuses malformed HTTP in the one error shape."""

    @override
    def send_400_response(self, msg: str) -> None:
        request_id = str(uuid7())
        content = problem.body(
            400, "bad_request", "The request is not valid HTTP", path="", request_id=request_id
        )
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nx-request-id: %s\r\ncache-control: no-store\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
            % (len(content), request_id.encode())
        )
        self.transport.write(head + content)
        self.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        StartupFault: the address cannot be had, saying why and what to do.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise StartupFault(f"cannot listen on {host}: {error.strerror}; check HOST") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupFault(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what uses it, or set PORT"
        ) from error
    listener.set_inheritable(True)
    return listener


def make_server(app: ASGIApp) -> uvicorn.Server:
    """A server for `app`; `serve(sockets=[...])` runs it until SIGINT or SIGTERM."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
    )
