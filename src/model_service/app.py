"""The composition root: builds everything, wires Protocols to what fulfils them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
from fastapi import APIRouter, FastAPI

from model_service import __version__, logs
from model_service import settings as configuration
from model_service.catalog.api import router as models_router
from model_service.catalog.prices import PriceBook
from model_service.catalog.service import ModelService
from model_service.catalog.store import SqlModelStore
from model_service.db.engine import create_engine, normalise_url
from model_service.db.keyring import SqlKeyringStore
from model_service.db.tables import SCHEMA_REVISION
from model_service.db.uow import Database
from model_service.http import operations, problem
from model_service.http.auth import Authenticator, Credentials
from model_service.http.documentation import documentation
from model_service.http.metrics import Metrics
from model_service.http.middleware import BrowserGuard, Edge
from model_service.kernel.errors import DatabaseUnavailable, StartupFault, Unavailable
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.kernel.types import SystemClock
from model_service.keys.api import router as keys_router
from model_service.keys.service import KeyObservers, KeyService, Sealer
from model_service.keys.store import SqlKeyStore
from model_service.providers.egress import EgressPolicy
from model_service.providers.registry import BaseUrls, Providers, operator_addresses
from model_service.providers.transport import Transport
from model_service.settings import Settings
from model_service.vault.keyring import Keyring, open_keyring
from model_service.vault.legacy import open_legacy
from model_service.vault.selftest import run_self_test

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """A built service: the application to serve, its parts for tools, and how to let go of it."""

    app: FastAPI
    database: Database
    models: ModelService
    keys: KeyService
    providers: Providers
    transport: Transport

    async def close(self) -> None:
        """Finish what is under way and close every connection."""
        await self.models.close()
        await self.keys.close()
        await self.transport.aclose()
        await self.database.close()


def load_settings() -> Settings:
    """The settings, checked whole: also where only another part knows what makes sense.

    Raises:
        StartupFault: with one sentence for each thing that is wrong.
    """
    settings, faults = configuration.examine()
    faults += address_faults(settings)
    if faults:
        raise StartupFault(*faults)
    return configuration.load()


def address_faults(settings: Settings) -> list[str]:
    """What is wrong with the addresses in the settings."""

    def database() -> None:
        if settings.database_url is not None:
            normalise_url(settings.database_url)

    def providers() -> None:
        # With no rule of the policy in the way: that one is checked by itself.
        operator_addresses(_base_urls(settings), EgressPolicy((), loopback_allowed=True))

    def allowed_hosts() -> None:
        EgressPolicy.parse(settings.upstream_allowed_hosts, loopback_allowed=True)

    faults: list[str] = []
    for check in (database, providers, allowed_hosts):
        try:
            check()
        except StartupFault as fault:
            faults.extend(fault.faults)
    return faults


def configure_logging(settings: Settings) -> Redactor:
    """Set up this process's logs; the redactor must hear of every value revealed."""
    redactor = Redactor()
    for secret in (
        settings.encryption_secret,
        settings.encryption_secret_previous,
        settings.internal_secret,
        settings.internal_secret_previous,
        settings.admin_token,
    ):
        if secret is not None:
            redactor.remember(secret.reveal())
    logs.configure(level=settings.log_level, json=settings.is_production, redactor=redactor)
    return redactor


async def build(settings: Settings, database_url: Secret[str], redactor: Redactor) -> Service:
    """Everything, ready to serve, on a migrated database.

    Raises:
        StartupFault: a setting does not hold, or the database is away.
        SecretMismatch, KeyringMissing, KeyringCorrupt, SelfTestFailure: the vault cannot open.
    """
    run_self_test()
    database = Database(create_engine(database_url))
    try:
        keyring = await open_vault(settings, database)
        return assemble(settings, database, keyring, redactor)
    except BaseException:
        await database.close()
        raise


def assemble(
    settings: Settings, database: Database, keyring: Keyring, redactor: Redactor
) -> Service:
    """The parts, wired. Nothing is connected or asked before the first request.

    Raises:
        StartupFault: a setting does not hold.
    """
    providers, transport = build_providers(settings)
    metrics = Metrics(version=__version__)
    clock = SystemClock()
    sealer = Sealer(keyring)
    keys = KeyService(
        SqlKeyStore(database, clock),
        sealer,
        providers,
        clock,
        KeyObservers(
            on_value=redactor.remember,
            on_reveal=lambda outcome: metrics.reveals.labels(outcome).inc(),
            on_verdict=lambda provider, verdict: metrics.validations.labels(
                provider.value, verdict.value
            ).inc(),
        ),
    )
    models = ModelService(SqlModelStore(database), keys, providers, clock, PriceBook())

    async def migrated() -> None:
        if await database.revision() != SCHEMA_REVISION:
            raise Unavailable("The database is at another migration")

    async def vault_opens() -> None:
        sealer.check()

    checks = {"database": database.ping, "migrations": migrated, "keyring": vault_opens}
    app = application(
        settings,
        metrics,
        operations.router(version=__version__, checks=checks, metrics=metrics),
        models_router(models),
        keys_router(keys),
    )
    return Service(app, database, models, keys, providers, transport)


def build_providers(settings: Settings) -> tuple[Providers, Transport]:
    """The providers over one transport.

    Raises:
        StartupFault: a base URL or the list of allowed hosts is malformed.
    """
    policy = EgressPolicy.parse(
        settings.upstream_allowed_hosts, loopback_allowed=not settings.is_production
    )
    transport = Transport(policy)
    return Providers(transport, policy, _base_urls(settings)), transport


def _base_urls(settings: Settings) -> BaseUrls:
    return BaseUrls(
        openai=settings.openai_base_url,
        anthropic=settings.anthropic_base_url,
        google=settings.google_base_url,
        ollama=settings.ollama_base_url,
    )


async def open_vault(settings: Settings, database: Database) -> Keyring:
    """The keyring, opened or, for an empty database, made.

    Raises:
        StartupFault: the database is away. Otherwise as `open_keyring`.
    """
    if settings.encryption_secret is None:
        raise StartupFault("ENCRYPTION_SECRET is not set")
    try:
        return await open_keyring(
            SqlKeyringStore(database),
            settings.encryption_secret,
            settings.encryption_secret_previous,
        )
    except DatabaseUnavailable as error:
        raise StartupFault("the database went away while the service started") from error


def earlier_key_opener(secret: Secret[str]) -> Callable[[str], Secret[str]]:
    """What opens keys stored by the earlier service under `secret`; see `vault.legacy`.

    Each call costs a scrypt of about 50 ms, so it belongs in a thread; it raises
    `IntegrityFailure` for a key that does not open.
    """
    return partial(open_legacy, secret)


def application(settings: Settings, metrics: Metrics, *routers: APIRouter) -> FastAPI:
    """The routes behind the edge, with the documentation of themselves."""
    app = FastAPI(
        title="Model Service",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.authenticator = Authenticator(_credentials(settings))
    problem.install(app)
    guard = None if settings.is_production else BrowserGuard()
    app.add_middleware(Edge, metrics=metrics, guard=guard)
    for router in (*routers, documentation(app, version=__version__)):
        # The routes themselves, not the routers: one step less to each request.
        app.router.routes.extend(router.routes)
    return app


def _credentials(settings: Settings) -> Credentials:
    internal = (settings.internal_secret, settings.internal_secret_previous)
    return Credentials.of(
        admin_token=settings.admin_token,
        internal_secrets=[secret for secret in internal if secret is not None],
        loopback_is_administrator=not settings.is_production,
    )
