"""One cell of the suite: a scenario's way to its door and its provider."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model_service.kernel.types import Provider
from model_service.sandbox.stand_in import Billed, Received, StandIn
from tests.conformance.gateway.doors import Door
from tests.conformance.gateway.upstreams import Upstream
from tests.conformance.gateway.wishes import Tokens, Told, Wish
from tests.gateway_world import GatewayWorld


@dataclass(slots=True)
class Registered:
    """The models that were registered so far: each is for the whole run."""

    world: GatewayWorld
    vendor_url: str
    names: dict[tuple[str, str, bool], str] = field(default_factory=dict)

    async def name(self, upstream: Upstream, model: str, *, streams: bool = True) -> str:
        """The registered name of an upstream's model; `streams` is whether it is said to."""
        key = (upstream.name, model, streams)
        if key not in self.names:
            name = f"{upstream.name}-{secrets.token_hex(4)}"
            settings = dict(upstream.settings)
            if upstream.provider is Provider.CUSTOM:
                settings["baseUrl"] = self.vendor_url
            more: dict[str, Any] = {"providerSettings": settings} if settings else {}
            more |= {"modelId": model, "maxTokens": 8000, "supportsStreaming": streams}
            await self.world.model(name, upstream.provider, **more)
            self.names[key] = name
        return self.names[key]


@dataclass(slots=True)
class Cell:
    """`headers` are those of the last answer that a client got."""

    door: Door
    upstream: Upstream
    other: Upstream
    registered: Registered
    stand_in: StandIn
    headers: Mapping[str, str]

    async def ask(self, kind: str, wish: Wish, *, streams: bool = True) -> Told:
        """Call one of the provider's models; what is told about it has to be right."""
        model = getattr(self.upstream, kind)
        name = await self.registered.name(self.upstream, model, streams=streams)
        told = await self.door.ask(name, wish)
        assert told.model == name
        self._check_usage(told.usage)
        return told

    async def ask_fault(self, fault: str, wish: Wish) -> Told:
        """Call a model that misbehaves."""
        return await self.door.ask(await self.faulty(fault), wish)

    async def faulty(self, fault: str) -> str:
        """The registered name of a model that misbehaves."""
        return await self.registered.name(self.upstream, f"fault-{fault}")

    async def embedder(self) -> str:
        """The registered name of a model that gives vectors; of one that talks without one."""
        upstream = self.upstream
        return await self.registered.name(upstream, upstream.embeds or upstream.talks)

    @property
    def passes(self) -> bool:
        """Whether the door speaks the provider's dialect."""
        return self.door.dialect in self.upstream.unchanged

    @property
    def billed(self) -> Billed:
        """What the provider would bill for the last call."""
        return self.stand_in.usage[-1]

    @property
    def last(self) -> Received:
        """What the provider got last."""
        return self.stand_in.requests[-1]

    @property
    def dropped(self) -> list[str]:
        """What the last answer says that the provider did not get."""
        text = self.headers.get("x-model-service-dropped", "")
        return [name.strip() for name in text.split(",") if name.strip()]

    def _check_usage(self, told: Tokens | None) -> None:
        """The caller is told of exactly what the provider would bill, of no class more."""
        assert told is not None
        if not self.stand_in.usage:  # Anthropic tells of tokens of refusals, and bills none
            return
        billed = self.billed
        written = billed.cache_write + billed.cache_write_1h
        assert told.prompt == billed.input + billed.cached_input + written
        assert told.output == billed.output
        assert told.cached in (None, billed.cached_input)
        assert told.written in (None, written)
        # Ollama does not tell which of its tokens were thoughts.
        known = billed.reasoning if self.upstream.provider is not Provider.OLLAMA else 0
        assert told.reasoning in (None, known)
