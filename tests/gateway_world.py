"""The whole service listening on a port, with its gateway, background jobs and stand-ins."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from uvicorn import Config
from uvicorn.server import ServerState

from model_service.app import build
from model_service.calling import KEYS_TOPIC, MODELS_TOPIC
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.sandbox.server import Sandbox
from model_service.service import Service
from model_service.settings import Settings

#: Upstream models that the stand-ins know, by provider.
UPSTREAM_MODELS = {
    Provider.OPENAI: "gpt-5.5",
    Provider.ANTHROPIC: "claude-haiku-5-5",
    Provider.GOOGLE: "gemini-3.6-flash",
    Provider.AZURE: "gpt-5.5",
    Provider.OLLAMA: "llama3.2",
    Provider.CUSTOM: "gpt-5.5",
}


@dataclass(slots=True)
class GatewayWorld:
    """A running gateway, and what tests set up in it. `user` owns a key for each provider."""

    url: str
    service: Service
    sandbox: Sandbox
    admin: httpx.AsyncClient
    user: str = "agent"
    noticed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tokens: dict[str, str] = field(default_factory=dict)

    async def model(self, name: str, provider: Provider, **more: Any) -> dict[str, Any]:
        """Register a model, and wait until the gateway knows it."""
        body = {"name": name, "provider": provider.value, "modelId": UPSTREAM_MODELS[provider]}
        if provider is Provider.CUSTOM:
            settings = {"baseUrl": self.sandbox.openai.base_url}
            more["providerSettings"] = settings | more.get("providerSettings", {})
        answer = await self.admin.post("/api/models", json=body | more)
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        await self.until(lambda: self.service.calling.registered.current().find(name) is not None)
        return document

    async def key(
        self, provider: Provider, value: str, *, user: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """Store a key, unasked."""
        body: dict[str, Any] = {
            "userId": user or self.user,
            "provider": provider.value,
            "keyName": secrets.token_hex(6),
            "apiKey": value,
        }
        if provider is Provider.AZURE:
            body["metadata"] = {"endpoint": self.sandbox.azure.origin}
        answer = await self.admin.post("/api/api-keys?validate=false", json=body | more)
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def token(self, user: str | None = None, **more: Any) -> str:
        """A user's token; without more it is made once."""
        user = user or self.user
        if not more and user in self._tokens:
            return self._tokens[user]
        body = {"role": "user", "userId": user} | more
        if body["role"] != "user":
            del body["userId"]
        answer = await self.admin.post("/api/tokens", json=body)
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["token"]
        if not more:
            self._tokens[user] = token
        return token

    def client(self, token: str | None = None, **headers: str) -> httpx.AsyncClient:
        """A bare client of the gateway."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        return httpx.AsyncClient(base_url=self.url, headers=sent, timeout=30)

    async def until(self, check: Callable[[], bool]) -> None:
        """Wait for what a change notice brings about."""
        async with asyncio.timeout(10), self.noticed:
            await self.noticed.wait_for(check)

    async def on_change(self, _: str | None) -> None:
        """A notice was taken up."""
        async with self.noticed:
            self.noticed.notify_all()


@asynccontextmanager
async def gateway_running(
    settings: Settings, database_url: Secret[str], sandbox: Sandbox
) -> AsyncIterator[GatewayWorld]:
    """The service on a free port until the block ends."""
    service = await build(settings, database_url, Redactor())
    await service.watch.enter()
    service.start()
    try:
        async with (
            listening(service) as url,
            httpx.AsyncClient(
                base_url=url,
                headers={"authorization": f"Bearer {_admin_token(settings)}"},
                timeout=30,
            ) as admin,
        ):
            world = GatewayWorld(url, service, sandbox, admin)
            for topic in (MODELS_TOPIC, KEYS_TOPIC):
                service.notices.subscribe(topic, world.on_change)
            yield world
    finally:
        await service.close()


@asynccontextmanager
async def listening(service: Service) -> AsyncIterator[str]:
    """The service's protocol on a port of its own. uvicorn's `Server` would take the signals."""
    config = Config(
        service.app, http="httptools", ws="none", lifespan="off", log_config=None,
        proxy_headers=False, server_header=False, access_log=False,
    )  # fmt: skip
    config.load()
    state = ServerState()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        server = await asyncio.get_running_loop().create_server(
            lambda: service.protocol(config, state, {}), sock=listener
        )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.close()
            for connection in list(state.connections):
                connection.transport.abort()
            if state.tasks:
                await asyncio.wait(set(state.tasks), timeout=5)
            await server.wait_closed()


def _admin_token(settings: Settings) -> str:
    token = settings.admin_token
    assert token is not None
    return token.reveal()
