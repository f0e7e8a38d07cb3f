"""What fulfils the gateway's ports: the slices' models and keys, who may call, the meters."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog

from model_service.catalog.domain import Model, ModelFilter, ModelStore
from model_service.db.notices import Notices
from model_service.gateway.accounting import Accounting
from model_service.gateway.alternatives import Alternatives
from model_service.gateway.answers import Answers
from model_service.gateway.arrival import Arrival
from model_service.gateway.attempts import Attempts
from model_service.gateway.budget import RetryBudget
from model_service.gateway.health import Circuits
from model_service.gateway.leases import Leases
from model_service.gateway.limits import Limiter, Rates
from model_service.gateway.outbound import Outbound
from model_service.gateway.pipeline import Parts, Pipeline
from model_service.gateway.policy import timeouts
from model_service.gateway.ports import Meter, UsableKey
from model_service.gateway.snapshot import Registered, SnapshotModel
from model_service.gateway.trial import Trial
from model_service.http.auth import Authenticator
from model_service.http.metrics import Metrics
from model_service.http.middleware import BrowserGuard
from model_service.http.rules import Access, Rule
from model_service.kernel.audit import Purpose
from model_service.kernel.counting import QUOTAS_TOPIC, RECALL_TOPIC, CounterStore, Quota
from model_service.kernel.errors import Forbidden
from model_service.kernel.policy import Policy
from model_service.kernel.principal import Permission, Principal, Role
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock, Provider, plain
from model_service.keys.domain import KeyStore, endpoint_origin
from model_service.keys.holdings import Holdings
from model_service.keys.shares import HeldKey
from model_service.meters import CallMeters, CircuitMeters
from model_service.providers.call_endpoints import CallEndpoints
from model_service.providers.price_schedule import Schedule
from model_service.providers.translation import Target
from model_service.providers.transport import Transport
from model_service.providers.vendors import Vendor

log = structlog.get_logger("model_service.gateway")

#: Most models that a snapshot is made of.
MOST_MODELS: Final = 1_000_000
#: Seconds without word from the database after which readiness speaks of it.
STALE_SECONDS: Final = 5.0
#: Seconds between two looks at how old the snapshot is.
METER_INTERVAL: Final = 1.0
#: Whom a caller without a token acts for in development.
LOCAL_USER: Final = "local"
#: Topics of the change notices that the gateway lives by (migration 0008).
MODELS_TOPIC: Final = "models"
KEYS_TOPIC: Final = "keys"

_RULE: Final = Rule(Access.USER, Permission.GATEWAY_CALL, "gateway")


class GatewayAdmission:
    """`Admission` by the management API's own rules."""

    def __init__(
        self, authenticator: Authenticator, guard: BrowserGuard | None, changes: Callable[[], int]
    ) -> None:
        """With `guard`, as in development, a loopback caller needs no token.

        `changes` tells how often tokens changed.
        """
        self.changes = changes
        self._authenticator = authenticator
        self._guard = guard

    def recognise(self, arrival: Arrival) -> Principal | None:
        """Who calls, if that can be told from memory."""
        scope = _scope(arrival, "")
        if self._guard is not None and self._guard.refuses(scope) is not None:
            return None
        principal = self._authenticator.recognise(scope, _RULE)
        return None if principal is None else self._named(principal)

    async def admit(self, arrival: Arrival, request_id: str) -> Principal:
        """Who calls."""
        scope = _scope(arrival, request_id)
        if self._guard is not None and (refusal := self._guard.refuses(scope)) is not None:
            raise Forbidden(refusal)
        return self._named(await self._authenticator.admit(scope, _RULE))

    async def note_denial(self, arrival: Arrival, request_id: str, reason: str) -> None:
        """Record a refusal, as the API's own are."""
        # Says who it is, to whom the refusal is then put down.
        await self._authenticator.admit(_scope(arrival, request_id), _RULE)
        await self._authenticator.note_denial(_RULE, Forbidden(reason))

    def _named(self, principal: Principal) -> Principal:
        """The principal; in development, who showed nothing and named nobody is the local user."""
        if (
            self._guard is not None
            and principal.user_id is None
            and principal.token_id is None
            and principal.role is Role.ADMINISTRATOR
        ):
            return replace(principal, user_id=LOCAL_USER)
        return principal


def _scope(arrival: Arrival, request_id: str) -> dict[str, Any]:
    """The arrival as ASGI names its parts."""
    return {
        "method": arrival.method,
        "path": arrival.path,
        "headers": arrival.headers,
        "client": None if arrival.peer is None else (arrival.peer, 0),
        "request_id": request_id,
    }


@dataclass(frozen=True, slots=True)
class _Held:
    """A key as the slice wants it named."""

    id: UUID
    share_id: UUID | None
    key_version: int


class LentKeys:
    """`KeySource` on the keys slice."""

    def __init__(self, holdings: Holdings, store: KeyStore, clock: Clock) -> None:
        self._holdings = holdings
        self._store = store
        self._clock = clock

    async def usable(self, user_id: str, provider: Provider) -> Sequence[UsableKey]:
        """The user's usable keys, best first."""
        return [_usable(held) for held in await self._holdings.usable(user_id, provider)]

    async def by_id(self, key_id: UUID) -> UsableKey | None:
        """A key by its id."""
        key = await self._store.get(key_id)
        if key is None or not key.is_usable(self._clock.now()):
            return None
        return _usable(HeldKey(key))

    async def lease(self, key: UsableKey) -> Secret[str]:
        """The key's value; of one known to be refused, the value before it while that may be."""
        held = _Held(key.id, key.share_id, key.version)
        if not key.is_valid and (value := await self._holdings.fallback(held)) is not None:
            return value
        return await self._holdings.reveal(held, Purpose.LEASE)

    async def refused(self, key: UsableKey) -> Secret[str] | None:
        """What to try once instead of a refused value."""
        held = _Held(key.id, key.share_id, key.version)
        return await self._holdings.refused(held, Purpose.LEASE)


class RegisteredModels:
    """`ModelSource` on the catalog slice."""

    def __init__(
        self,
        store: ModelStore,
        vendors: Mapping[str, Vendor],
        prices: Callable[[Model], Schedule],
    ) -> None:
        self._store = store
        self._vendors = vendors
        self._prices = prices

    async def all(self) -> Sequence[SnapshotModel]:
        """All models."""
        found = await self._store.list_all(ModelFilter(), most=MOST_MODELS)
        return [_model(one, self._vendors, self._prices(one)) for one in found]

    async def one(self, model_id: UUID) -> SnapshotModel | None:
        """One model."""
        found = await self._store.get(model_id)
        return None if found is None else _model(found, self._vendors, self._prices(found))


class Limits:
    """The limiter, and what it measures by."""

    def __init__(self, limiter: Limiter, quotas: Callable[[], Awaitable[Sequence[Quota]]]) -> None:
        self.limiter = limiter
        self._quotas = quotas

    async def load(self) -> None:
        """Read the quotas. Raises DatabaseUnavailable."""
        self.limiter.set_quotas(await self._quotas())

    async def on_change(self, _: str | None) -> None:
        """Take up a change notice. Raises DatabaseUnavailable."""
        await self.load()


@dataclass(frozen=True, slots=True)
class Foundation:
    """What the gateway stands on."""

    authenticator: Authenticator
    token_changes: Callable[[], int]
    guard: BrowserGuard | None
    notices: Notices
    models: ModelStore
    vendors: Mapping[str, Vendor]
    keys: KeyStore
    holdings: Holdings
    endpoints: CallEndpoints
    transport: Transport
    metrics: Metrics
    redact: Callable[[str], str]
    clock: Clock
    circuits: Circuits
    budget: RetryBudget
    meter: Meter
    counters: CounterStore
    quotas: Callable[[], Awaitable[Sequence[Quota]]]
    prices: Callable[[Model], Schedule]


@dataclass(frozen=True, slots=True)
class Calling:
    """The gateway, and what it keeps in memory."""

    pipeline: Pipeline
    registered: Registered
    leases: Leases
    limits: Limits
    budget: RetryBudget
    meters: CallMeters
    metrics: Metrics

    async def load(self) -> None:
        """Read what calls are measured by. Raises DatabaseUnavailable."""
        await self.registered.load()
        await self.limits.load()

    async def check(self) -> str | None:
        """The gateway's readiness: it serves from memory while the database is away.

        Raises:
            DatabaseUnavailable: what it knows is too old to be believed.
        """
        self.registered.current()
        return "stale" if self.registered.age > STALE_SECONDS else None

    def hand_over(self) -> None:
        """Bring the meters up to date."""
        self.meters.hand_over()
        self.metrics.snapshot_age.set(round(self.registered.age, 3))

    async def run(self) -> None:
        """Every second let go of keys and bring the meters up to date. A job: see `background`."""
        while True:
            self.leases.forget_ended()
            self.metrics.update()
            await asyncio.sleep(METER_INTERVAL)

    @classmethod
    def build(cls, f: Foundation) -> "Calling":
        """All of it. `registered` is empty until it is loaded."""
        registered = Registered(
            RegisteredModels(f.models, f.vendors, f.prices), lambda: f.notices.age(MODELS_TOPIC)
        )
        leases = Leases(LentKeys(f.holdings, f.keys, f.clock), f.clock)
        f.notices.subscribe(MODELS_TOPIC, registered.on_change)
        f.notices.subscribe(KEYS_TOPIC, leases.on_change)
        meters = CallMeters(f.metrics)
        limits = Limits(Limiter(f.counters), f.quotas)
        f.notices.subscribe(QUOTAS_TOPIC, limits.on_change)
        f.notices.subscribe(RECALL_TOPIC, limits.limiter.on_recall)
        outbound = Outbound(f.endpoints, f.transport, f.circuits, f.redact)
        accounting = Accounting(f.meter, limits.limiter)
        alternatives = Alternatives(registered, leases, outbound, accounting, f.budget)
        trial = Trial(outbound, accounting)
        answers = Answers(trial, alternatives, accounting)
        parts = Parts(
            admission=GatewayAdmission(f.authenticator, f.guard, f.token_changes),
            registered=registered,
            leases=leases,
            observer=meters,
            budget=f.budget,
            accounting=accounting,
            attempts=Attempts(trial, answers, alternatives, accounting),
        )
        calling = cls(Pipeline(parts), registered, leases, limits, f.budget, meters, f.metrics)
        f.metrics.before_exposing(calling.hand_over)
        f.metrics.before_exposing(CircuitMeters(f.metrics, f.circuits).hand_over)
        return calling


def _usable(held: HeldKey) -> UsableKey:
    key, share = held.key, held.share
    return UsableKey(
        id=plain(key.id),
        version=key.key_version,
        provider=key.provider,
        endpoint=key.endpoint,
        origin=None if key.endpoint is None else endpoint_origin(key.endpoint),
        share_id=held.share_id,
        models=None if held.models is None else frozenset(held.models),
        is_valid=key.is_valid,
        until=_earlier(key.expires_at, None if share is None else share.expires_at),
    )


def _model(model: Model, vendors: Mapping[str, Vendor], prices: Schedule) -> SnapshotModel:
    settings: Mapping[str, Any] = model.provider_settings or {}
    vendor = None if model.preset is None else vendors.get(model.preset)
    rates = Rates(model.rate_limit_per_minute, model.rate_limit_per_hour, model.rate_limit_per_day)
    base_url = model.base_url if vendor is None else vendor.base_url
    policy = Policy.of(settings)
    return SnapshotModel(
        id=model.id,
        target=Target(
            model.name,
            model.provider,
            model.model_id,
            model.max_tokens,
            model.default_temperature,
            settings,
        ),
        is_active=model.is_active,
        is_default=model.is_default,
        supports_streaming=model.supports_streaming,
        created_at=model.created_at,
        description=model.description,
        base_url=base_url,
        origin=None if base_url is None else endpoint_origin(base_url),
        api_key_id=_key_id(settings.get("apiKeyId")),
        context_window=model.context_window,
        capabilities=model.capabilities or {},
        fallbacks=model.fallbacks or (),
        policy=policy,
        timeouts=timeouts(policy, stream=False, guarded=False),
        rates=rates or None,
        prices=prices,
        vendor=vendor,
    )


def _key_id(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return min(one, other)
