"""Serving the stand-ins: a port for each, in one process and one event loop."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from typing_extensions import override
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from model_service.kernel.errors import StartupFault
from model_service.kernel.types import Provider
from model_service.sandbox.anthropic import Anthropic
from model_service.sandbox.azure import Azure
from model_service.sandbox.azure_admin import AzureAdmin
from model_service.sandbox.delivery import CONNECTION
from model_service.sandbox.faults import PREFIX, Fault
from model_service.sandbox.google import Google
from model_service.sandbox.keys import SHARED_PREFIX, Behaviour
from model_service.sandbox.ollama import Ollama
from model_service.sandbox.openai import OpenAI
from model_service.sandbox.openai_admin import OpenAIAdmin
from model_service.sandbox.stand_in import StandIn

# The command's ports: this plus 1 to 7, in the order of `Sandbox.everything`.
DEFAULT_BASE_PORT: Final = 4100

# Seconds for handlers to notice that their connection was cut, before they are cancelled.
_GRACE: Final = 1.0


@dataclass(slots=True)
class Sandbox:
    """The five stand-ins, and those of two providers' administration APIs.

    Give some of them to have other models or switches.
    """

    openai: OpenAI = field(default_factory=OpenAI)
    anthropic: Anthropic = field(default_factory=Anthropic)
    google: Google = field(default_factory=Google)
    azure: Azure = field(default_factory=Azure)
    ollama: Ollama = field(default_factory=Ollama)
    openai_admin: OpenAIAdmin = field(init=False)
    azure_admin: AzureAdmin = field(init=False)

    def __post_init__(self) -> None:
        self.openai_admin = OpenAIAdmin(self.openai)
        self.azure_admin = AzureAdmin(self.azure)

    @property
    def stand_ins(self) -> tuple[StandIn, ...]:
        """All that serve models, in the order of their ports."""
        return (self.openai, self.anthropic, self.google, self.azure, self.ollama)

    @property
    def everything(self) -> tuple[StandIn, ...]:
        """Both kinds, in the order of their ports."""
        return (*self.stand_ins, *self.administrations)

    @property
    def administrations(self) -> tuple[StandIn, ...]:
        """Those that keys are made and taken back with, on the ports after the others."""
        return (self.openai_admin, self.azure_admin)

    def of(self, provider: Provider) -> StandIn:
        """The stand-in of one provider. Raises KeyError for CUSTOM, which has none."""
        return {stand_in.provider: stand_in for stand_in in self.stand_ins}[provider]

    def clear(self) -> None:
        """Forget all requests and put every switch back."""
        for stand_in in self.everything:
            stand_in.clear()

    def environment(self) -> dict[str, str]:
        """The service's environment variables that lead it here.

        Azure has none: its endpoint comes with a key (`metadata.endpoint`), and so must be
        among the addresses that users may name.
        """
        return {
            "OPENAI_BASE_URL": self.openai.base_url,
            "ANTHROPIC_BASE_URL": self.anthropic.base_url,
            "GOOGLE_BASE_URL": self.google.base_url,
            "OLLAMA_BASE_URL": self.ollama.base_url,
            "UPSTREAM_ALLOWED_HOSTS": self.azure.origin.removeprefix("http://"),
            "OPENAI_ADMIN_BASE_URL": self.openai_admin.base_url,
            "AZURE_MANAGEMENT_BASE_URL": self.azure_admin.origin,
            "AZURE_LOGIN_BASE_URL": self.azure_admin.origin,
        }


@contextlib.asynccontextmanager
async def serve(
    host: str = "127.0.0.1", base_port: int = 0, sandbox: Sandbox | None = None
) -> AsyncIterator[Sandbox]:
    """The stand-ins, listening until the block ends; then every connection is cut at once.

    Ports are `base_port` plus 1 to 7, or, with 0, any free ones. Signal handlers and logging
    are left alone. Raises StartupFault when an address cannot be listened on.
    """
    sandbox = sandbox or Sandbox()
    async with contextlib.AsyncExitStack() as stack:
        for offset, stand_in in enumerate(sandbox.everything, start=1):
            port = base_port + offset if base_port else 0
            await stack.enter_async_context(_listening(stand_in, host, port))
        yield sandbox


def run(host: str, base_port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM: what `model-service sandbox` does.

    `announce` gets, line by line, what an operator has to know. Call it from the main
    thread. Raises StartupFault when an address cannot be listened on.
    """
    asyncio.run(_serve_until_stopped(host, base_port, announce))


async def _serve_until_stopped(host: str, base_port: int, announce: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serve(host, base_port) as sandbox:
        for line in announcement(sandbox):
            announce(line)
        await stop.wait()


def announcement(sandbox: Sandbox) -> Iterator[str]:
    """Lines for `.env` (what is not a setting is a comment there)."""
    yield "# Stand-ins of five providers are listening. Put these lines into .env:"
    for name, value in sandbox.environment().items():
        yield f"{name}={value}"
    yield f'# Azure: give its keys the metadata {{"endpoint": "{sandbox.azure.origin}"}}'
    yield f"# Keys: anything that starts with {SHARED_PREFIX}, for instance"
    for stand_in in (sandbox.openai, sandbox.anthropic, sandbox.google, sandbox.azure):
        yield f"#   {stand_in.provider:<9} {stand_in.sample_key()}"
    words = ", ".join(behaviour.value for behaviour in Behaviour)
    yield f"# Keys that make them misbehave: {SHARED_PREFIX}<word>-..., where <word> is {words}"
    words = ", ".join(fault.value for fault in Fault)
    yield f"# Models that misbehave: {PREFIX}<word>, or {PREFIX}<word>-once; <word> is {words}"
    yield "# What they say, and what each word means: python -m pydoc model_service.sandbox"


class _Connection(HttpToolsProtocol):
    """uvicorn's, without the access log, as a key may stand in the URL, and breakable."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: uvicorn's own type
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False

    @override
    def on_message_begin(self) -> None:
        """Let what answers the request break the connection (`delivery.Connection`)."""
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: self}  # type: ignore[dict-item]

    def close(self) -> None:
        """Close it after what was sent."""
        self.transport.close()

    def reset(self) -> None:
        """Break it off: without lingering, closing sends a reset (SO_LINGER in socket(7))."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


@contextlib.asynccontextmanager
async def _listening(stand_in: StandIn, host: str, port: int) -> AsyncIterator[None]:
    """One stand-in on one port.

    uvicorn's `Server` is not used: it takes over the signal handlers and waits for requests
    that will not end.
    """
    config = Config(
        stand_in,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        server_header=False,
    )
    config.load()
    state = ServerState()
    with contextlib.closing(_bind(host, port)) as listener:
        stand_in.origin = _origin(listener)
        server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(config, state, {}), sock=listener
        )
        try:
            yield
        finally:
            server.close()
            await _cut(state)
            await server.wait_closed()


async def _cut(state: ServerState) -> None:
    """End all connections now, answered or not, and the handlers that served them."""
    for connection in list(state.connections):
        connection.transport.abort()
    if state.tasks:
        _, late = await asyncio.wait(set(state.tasks), timeout=_GRACE)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only where it is: without it,
    # every answer of two segments waits 40 ms for a delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = f"The sandbox cannot listen on {host}, port {port}: {error.strerror}"
        raise StartupFault(reason) from error
    return listener


def _origin(listener: socket.socket) -> str:
    """The URL by which this machine reaches the listener."""
    address, port = listener.getsockname()[:2]
    ip = ipaddress.ip_address(address)
    if ip.is_unspecified:
        ip = ipaddress.ip_address("::1" if ip.version == 6 else "127.0.0.1")
    return f"http://[{ip}]:{port}" if ip.version == 6 else f"http://{ip}:{port}"
