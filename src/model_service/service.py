"""A built service, as it is served and as tools use it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI

from model_service.access.assembly import AccessTokens
from model_service.audit.ledger import Ledger
from model_service.audit.trail import Trail
from model_service.background import Background
from model_service.calling import Calling
from model_service.catalog.price_assembly import Pricing
from model_service.catalog.service import ModelService
from model_service.db.notices import Notices
from model_service.db.uow import Database
from model_service.gateway.wire import GatewayProtocol
from model_service.keys.rotation_assembly import KeyRotation
from model_service.keys.service import KeyService
from model_service.providers.registry import Providers
from model_service.providers.transport import Transport
from model_service.traffic import Traffic
from model_service.vault.rewrap import Rewrapper
from model_service.vault.watch import KeyringWatch
from model_service.webhooks.assembly import Webhooks


@dataclass(frozen=True, slots=True)
class Service:
    """A built service: the application to serve, its parts for tools, and how to let go of it."""

    app: FastAPI
    database: Database
    notices: Notices
    trail: Trail
    ledger: Ledger
    watch: KeyringWatch
    rewrapper: Rewrapper
    access: AccessTokens
    models: ModelService
    pricing: Pricing
    keys: KeyService
    rotation: KeyRotation
    webhooks: Webhooks
    providers: Providers
    transport: Transport
    traffic: Traffic
    background: Background

    @property
    def calling(self) -> Calling:
        """The gateway."""
        return self.traffic.calling

    @property
    def protocol(self) -> Callable[..., GatewayProtocol]:
        """What makes a connection's protocol: calls go to the gateway, the rest to `app`."""
        return partial(GatewayProtocol, self.calling.pipeline)

    def start(self) -> None:
        """Begin what goes on beside the requests."""
        self.background.start()

    async def close(self) -> None:
        """Finish what is under way and close every connection."""
        await self.background.close()
        await self.models.close()
        await self.keys.close()
        await self.watch.leave()
        await self.traffic.metering.close()
        await self.trail.close()
        await self.transport.aclose()
        await self.database.close()
