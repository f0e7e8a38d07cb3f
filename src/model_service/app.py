"""The composition root: builds everything, wires Protocols to what fulfils them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from model_service import __version__, logs
from model_service import settings as configuration
from model_service.access.api import router as tokens_router
from model_service.access.assembly import AccessTokens
from model_service.access.domain import TokenHasher
from model_service.access.hashing import open_token_hasher
from model_service.accounting import stripe_faults
from model_service.audit.api import router as audit_router
from model_service.audit.keys import open_audit_keys
from model_service.audit.ledger import Ledger
from model_service.audit.signing import AuditKeys
from model_service.audit.store import SqlAuditStore
from model_service.audit.trail import Trail, instance_name
from model_service.background import Background
from model_service.catalog.api import router as models_router
from model_service.catalog.price_assembly import Pricing
from model_service.catalog.prices import PriceBook
from model_service.catalog.prices_api import router as prices_router
from model_service.catalog.service import ModelService
from model_service.catalog.store import SqlModelStore
from model_service.custody import keyring_upkeep, open_vault
from model_service.db.engine import create_engine
from model_service.db.notices import Notices
from model_service.db.tables import SCHEMA_REVISION
from model_service.db.uow import Database
from model_service.http import operations
from model_service.http.abuse import Refusals
from model_service.http.application import application
from model_service.http.auth import Authenticator, Credentials
from model_service.http.authenticator import INTERNAL_FACTOR
from model_service.http.metrics import Metrics
from model_service.http.middleware import BrowserGuard
from model_service.kernel.errors import StartupFault, Unavailable
from model_service.kernel.rate import RateLimits
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.kernel.types import SystemClock
from model_service.keys.admin_credentials_api import router as admin_credentials_router
from model_service.keys.api import router as keys_router
from model_service.keys.rotation_api import router as rotation_router
from model_service.keys.rotation_assembly import Foundation, KeyRotation
from model_service.keys.sealer import Sealer
from model_service.keys.service import KeyObservers, KeyService
from model_service.keys.shares_api import router as shares_router
from model_service.keys.sharing_assembly import KeySharing
from model_service.keys.store import SqlKeyStore
from model_service.keys.validation_limit import LimitedGate, ValidationLimit
from model_service.keys.verification import Verifier
from model_service.providers.administration.registry import (
    administrations,
)
from model_service.providers.vendors import VENDORS, Vendor, base_urls, books
from model_service.service import Service
from model_service.settings import Settings
from model_service.traffic import Foundation as TrafficFoundation
from model_service.traffic import Traffic
from model_service.upstreams import (
    address_faults,
    administration_urls,
    build_providers,
    policy_of,
)
from model_service.vault.box import KeyringBox
from model_service.vault.keyring import Keyring
from model_service.vault.legacy import open_legacy
from model_service.vault.selftest import run_self_test
from model_service.webhooks.announcer import OutboxAnnouncer
from model_service.webhooks.api import router as webhooks_router
from model_service.webhooks.assembly import WebhookObservers, Webhooks
from model_service.webhooks.outbox import SqlOutbox

log = structlog.get_logger(__name__)


def load_settings() -> Settings:
    """The settings, checked whole: also where only another part knows what makes sense.

    Raises:
        StartupFault: with one sentence for each thing that is wrong.
    """
    settings, faults = configuration.examine()
    faults += address_faults(settings)
    faults += stripe_faults(settings)
    if faults:
        raise StartupFault(*faults)
    return configuration.load()


def configure_logging(settings: Settings) -> Redactor:
    """Set up this process's logs; the redactor must hear of every value revealed."""
    redactor = Redactor()
    for secret in (
        settings.encryption_secret,
        settings.encryption_secret_previous,
        settings.internal_secret,
        settings.internal_secret_previous,
        settings.admin_token,
        settings.stripe_api_key,
    ):
        if secret is not None:
            redactor.remember(secret.reveal())
    logs.configure(level=settings.log_level, json=settings.is_production, redactor=redactor)
    return redactor


async def build(
    settings: Settings,
    database_url: Secret[str],
    redactor: Redactor,
    vendors: Mapping[str, Vendor] = VENDORS,
) -> Service:
    """Everything, ready to serve, on a migrated database. `vendors` are the presets.

    Raises:
        StartupFault: a setting does not hold, the database is away, or the keys of the audit
            trail or of the tokens do not open.
        SecretMismatch, KeyringMissing, KeyringCorrupt, SelfTestFailure: the vault cannot open.
    """
    run_self_test()
    database = Database(create_engine(database_url))
    try:
        keyring = await open_vault(settings, database)
        box = KeyringBox(keyring)
        opened = Opened(
            keyring, await open_audit_keys(database, box), await open_token_hasher(database, box)
        )
        service = assemble(settings, database, Notices(database_url), opened, redactor, vendors)
        await service.access.directory.load()
        await service.pricing.service.load()
        await service.calling.load()
        return service
    except BaseException:
        await database.close()
        raise


@dataclass(frozen=True, slots=True)
class Opened:
    """What the master secret opened."""

    keyring: Keyring
    audit_keys: AuditKeys
    token_hasher: TokenHasher


def assemble(
    settings: Settings,
    database: Database,
    notices: Notices,
    opened: Opened,
    redactor: Redactor,
    vendors: Mapping[str, Vendor] = VENDORS,
) -> Service:
    """The parts, wired. Nothing is connected or asked before the first request.

    Raises:
        StartupFault: a setting does not hold.
    """
    providers, transport = build_providers(settings, vendors)
    metrics = Metrics(version=__version__)
    clock = SystemClock()
    keyring = opened.keyring
    sealer = Sealer(keyring)
    trail = Trail(database, opened.audit_keys, clock, redactor, instance_name())
    announcer = OutboxAnnouncer(SqlOutbox(database), clock)
    ledger = Ledger.build(database, opened.audit_keys, trail, announcer, clock)
    watch, rewrapper = keyring_upkeep(database, notices, keyring, trail, metrics)
    key_store = SqlKeyStore(database, clock, watch.prepare)
    observers = KeyObservers(
        on_value=redactor.remember,
        on_reveal=lambda outcome: metrics.reveals.labels(outcome).inc(),
        on_verdict=lambda provider, verdict: metrics.validations.labels(
            provider.value, verdict.value
        ).inc(),
    )
    refusals = Refusals(trail)
    limit = ValidationLimit(RateLimits(settings.validations_per_minute), refusals)
    rotation = KeyRotation.build(
        Foundation(
            database=database,
            keys=key_store,
            sealer=sealer,
            box=KeyringBox(keyring),
            verifier=Verifier(LimitedGate(providers, limit), observers.on_verdict),
            administrations=administrations(
                transport, policy_of(settings), administration_urls(settings)
            ),
            trail=trail,
            announcer=announcer,
            clock=clock,
            on_value=redactor.remember,
            prepare=watch.prepare,
        )
    )
    keys = KeyService(
        database,
        key_store,
        trail,
        announcer,
        sealer,
        providers,
        limit,
        clock,
        observers,
        rotation.service.has_fallback,
    )
    sharing = KeySharing.build(database, keys, trail, announcer, clock, refusals, rotation.service)
    model_store = SqlModelStore(database)
    book = PriceBook(books(vendors))
    models = ModelService(
        database,
        model_store,
        trail,
        sharing.holdings,
        providers,
        clock,
        book,
        presets=base_urls(vendors),
    )
    pricing = Pricing.build(
        database,
        notices,
        model_store,
        book,
        trail,
        clock,
        names=books(vendors),
        presets=base_urls(vendors),
    )

    webhooks = Webhooks.build(
        database,
        transport,
        KeyringBox(keyring),
        trail,
        clock,
        WebhookObservers(
            on_value=redactor.remember,
            on_attempt=lambda outcome: metrics.webhook_attempts.labels(outcome.value).inc(),
        ),
        prepare=watch.prepare,
    )

    access = AccessTokens.build(
        database, opened.token_hasher, notices, trail, announcer, clock, refusals
    )
    authenticator = Authenticator(
        _credentials(settings),
        access.directory,
        RateLimits(settings.auth_failures_per_minute),
        refusals,
        RateLimits(settings.auth_failures_per_minute * INTERNAL_FACTOR),
    )

    guard = None if settings.is_production else BrowserGuard()
    traffic = Traffic.build(
        TrafficFoundation(
            settings=settings,
            database=database,
            notices=notices,
            trail=trail,
            announcer=announcer,
            clock=clock,
            metrics=metrics,
            redactor=redactor,
            transport=transport,
            vendors=vendors,
            models=model_store,
            pricing=pricing,
            keys=key_store,
            holdings=sharing.holdings,
            authenticator=authenticator,
            tokens=access.directory,
            guard=guard,
        )
    )

    async def migrated() -> None:
        if await database.revision() != SCHEMA_REVISION:
            raise Unavailable("The database is at another migration")

    async def vault_opens() -> str | None:
        sealer.check()
        return watch.check()

    checks = {
        "database": database.ping,
        "migrations": migrated,
        "keyring": vault_opens,
        "audit": trail.check,
        "journal": traffic.metering.check,
        "gateway": traffic.calling.check,
    }
    app = application(
        guard,
        metrics,
        authenticator,
        __version__,
        operations.router(version=__version__, checks=checks, metrics=metrics),
        models_router(models, refusals),
        prices_router(pricing.service, clock),
        audit_router(SqlAuditStore(database), trail),
        keys_router(keys, sharing.holdings, sharing.doorkeeper),
        shares_router(sharing.service),
        rotation_router(rotation.service, sharing.doorkeeper),
        admin_credentials_router(rotation.credentials),
        webhooks_router(webhooks.service),
        tokens_router(access.service),
        *traffic.routers,
    )
    return Service(
        app,
        database,
        notices,
        trail,
        ledger,
        watch,
        rewrapper,
        access,
        models,
        pricing,
        keys,
        rotation,
        webhooks,
        providers,
        transport,
        traffic,
        Background(
            (
                notices,
                watch,
                rewrapper,
                access.last_use,
                refusals,
                ledger.checkpointer,
                rotation.retirer,
                rotation.scheduler,
                webhooks.deliverer,
                *traffic.jobs,
            )
        ),
    )


def earlier_key_opener(secret: Secret[str]) -> Callable[[str], Secret[str]]:
    """What opens keys stored by the earlier service under `secret`; see `vault.legacy`.

    Each call costs a scrypt of about 50 ms, so it belongs in a thread; it raises
    `IntegrityFailure` for a key that does not open.
    """
    return partial(open_legacy, secret)


def _credentials(settings: Settings) -> Credentials:
    internal = (settings.internal_secret, settings.internal_secret_previous)
    return Credentials.of(
        admin_token=settings.admin_token,
        internal_secrets=[secret for secret in internal if secret is not None],
        loopback_is_administrator=not settings.is_production,
    )
