"""Traffic: the gateway, and what limits, watches, meters and bills the calls through it."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter

from model_service.access.directory import TokenDirectory
from model_service.accounting import AccountUsage, stripe_access
from model_service.audit.trail import instance_name
from model_service.background import Job
from model_service.billing.api import router as billing_router
from model_service.billing.assembly import Billing
from model_service.calling import Calling
from model_service.calling import Foundation as CallFoundation
from model_service.catalog.domain import ModelStore
from model_service.catalog.price_assembly import Pricing
from model_service.db.notices import Notices
from model_service.db.uow import Database
from model_service.gateway.budget import RetryBudget
from model_service.gateway.health import Circuits
from model_service.gateway.upkeep import Upkeep
from model_service.health.api import router as health_router
from model_service.health.assembly import ProviderHealth
from model_service.http.authenticator import Authenticator
from model_service.http.metrics import Metrics
from model_service.http.middleware import BrowserGuard
from model_service.kernel.audit import AuditTrail
from model_service.kernel.events import Announcer
from model_service.kernel.redact import Redactor
from model_service.kernel.types import Clock
from model_service.keys.holdings import Holdings
from model_service.keys.store import SqlKeyStore
from model_service.metering import JournalMeter
from model_service.meters import JournalMeters
from model_service.providers.transport import Transport
from model_service.providers.vendors import Vendor
from model_service.quotas.api import router as quotas_router
from model_service.quotas.assembly import Quotas
from model_service.settings import Settings
from model_service.upstreams import call_endpoints, policy_of, probe
from model_service.usage.api import router as usage_router
from model_service.usage.api import why_router
from model_service.usage.assembly import Usage
from model_service.usage.metering import Metering
from model_service.usage.money_api import router as what_if_router


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What traffic stands on."""

    settings: Settings
    database: Database
    notices: Notices
    trail: AuditTrail
    announcer: Announcer
    clock: Clock
    metrics: Metrics
    redactor: Redactor
    transport: Transport
    vendors: Mapping[str, Vendor]
    models: ModelStore
    pricing: Pricing
    keys: SqlKeyStore
    holdings: Holdings
    authenticator: Authenticator
    tokens: TokenDirectory
    guard: BrowserGuard | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """The parts, and what goes on beside the calls."""

    calling: Calling
    circuits: Circuits
    budget: RetryBudget
    health: ProviderHealth
    quotas: Quotas
    usage: Usage
    metering: Metering
    billing: Billing
    routers: Sequence[APIRouter]
    jobs: Sequence[Job]

    @classmethod
    def build(cls, f: Foundation) -> "Traffic":
        """All of it; `calling` is empty until it is loaded.

        Raises:
            StartupFault: a setting does not hold, or the usage journal cannot be made.
        """
        settings, database = f.settings, f.database
        billing = Billing.build(
            database,
            AccountUsage(database),
            f.transport,
            stripe_access(settings, policy_of(settings)),
            f.trail,
            f.announcer,
            f.clock,
        )
        quotas = Quotas.build(database, f.trail, f.announcer, f.clock)
        usage = Usage.build(database, f.keys, f.clock, months_kept=settings.usage_months_kept)
        circuits, budget = Circuits(), RetryBudget(time.monotonic())
        # A process that starts anew may have the same host and number as the one before it.
        instance = f"{instance_name()}/{secrets.token_hex(4)}"
        health = ProviderHealth.build(database, f.notices, f.announcer, circuits, f.clock, instance)
        circuits.subscribe(health.sharing.note)
        metering = Metering.open(settings.data_dir / "journal", usage.sink)
        f.metrics.before_exposing(JournalMeters(f.metrics, metering).hand_over)
        calling = Calling.build(
            CallFoundation(
                f.authenticator,
                lambda: f.tokens.changes,
                f.guard,
                f.notices,
                f.models,
                f.vendors,
                f.keys,
                f.holdings,
                call_endpoints(settings),
                f.transport,
                f.metrics,
                f.redactor,
                f.clock,
                circuits,
                budget,
                JournalMeter(metering.journal),
                quotas.counters,
                quotas.store.all,
                f.pricing.prices.schedule_of,
            )
        )
        quotas.service.before_showing(calling.limits.limiter.flush)
        routers = (
            quotas_router(quotas.service),
            billing_router(billing.accounts, billing.statements, billing.meters),
            health_router(health.service),
            usage_router(usage.reader),
            what_if_router(usage.reader, f.pricing.service),
            # Last of those under its path: it takes any name for a request's id.
            why_router(usage.reader),
        )
        jobs: tuple[Job, ...] = (
            calling,
            calling.limits.limiter,
            *metering.jobs,
            Upkeep(circuits, budget, probe(settings, f.transport), time.monotonic),
            health.sharing,
            usage.upkeep,
            quotas.thresholds,
            quotas.upkeep,
            billing.closer,
            billing.collector,
            billing.exporter,
        )
        return cls(
            calling, circuits, budget, health, quotas, usage, metering, billing, routers, jobs
        )
