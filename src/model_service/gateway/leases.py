"""Provider keys lent to this process's memory: for five minutes at most, gone at once when told.

A lease is recorded in the audit trail before the value is here. While it is used it is renewed
before it ends, so that no call waits for that; with the database away it ends in its time.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import UUID

import structlog

from model_service.gateway.circuit import Circuit
from model_service.gateway.ports import KeySource, UsableKey
from model_service.gateway.snapshot import SnapshotModel
from model_service.kernel.caller import SYSTEM, set_caller
from model_service.kernel.errors import Forbidden, KeyInactive, NotFound, ServiceError
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock, Provider
from model_service.providers.endpoint import Endpoint

log = structlog.get_logger(__name__)

#: Seconds that a value stays in memory (SECURITY.md: at most five minutes).
LEASE_SECONDS: Final = 300.0
#: Seconds before its end from which on a lease in use is renewed.
RENEWAL_SECONDS: Final = 60.0
#: Seconds until a renewal that failed is tried again.
RENEWAL_PAUSE: Final = 1.0
#: Seconds for which it is believed that a user has no key, and what was looked up while changes
#: kept coming: the next look may tell another thing.
SHORT_SECONDS: Final = 1.0
#: Times that somebody's keys are looked up while changes keep coming.
LOOKS: Final = 3
#: Models for which a choice is remembered with a holding.
MOST_CHOSEN: Final = 256
#: Users' holdings and values remembered; at about 1 KB each.
MOST: Final = 20_000


@dataclass(slots=True, eq=False)
class Lease:
    """A key's value in memory. `until` is a moment of the monotonic clock."""

    key: UsableKey
    value: Secret[str] = field(repr=False)
    until: float
    limited_until: float = 0.0
    starts: dict[object, tuple[Endpoint, bytes, Circuit]] = field(default_factory=dict, repr=False)
    """Beginnings of requests made with the value; they hold it, so they go when it goes."""
    lines: dict[SnapshotModel, bytes] = field(default_factory=dict, repr=False)
    """What answers say of their model and key."""
    renewal: "asyncio.Task[None] | None" = field(default=None, repr=False)


@dataclass(slots=True, eq=False)
class _Holding:
    """Which keys somebody has for a provider, best first."""

    keys: Sequence[UsableKey]
    until: float
    chosen: dict[SnapshotModel, Lease] = field(default_factory=dict)
    """What was chosen last for each model; holds until the lease ends, is limited or replaced."""


_Key = TypeVar("_Key")
_Got = TypeVar("_Got")
_Owner = tuple[str, Provider] | UUID
"""Whose keys: a user's for a provider, or one key by itself, as a model's settings name it."""


class Leases:
    """The values that this process has, and whose they are."""

    def __init__(
        self, source: KeySource, clock: Clock, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._clock = clock
        self._now = now
        self._holdings: OrderedDict[_Owner, _Holding] = OrderedDict()
        self._owners: dict[UUID, set[_Owner]] = {}
        self._values: OrderedDict[UUID, Lease] = OrderedDict()
        # Asked once for all who want to know it at the same time.
        self._looking: dict[_Owner, asyncio.Task[_Holding]] = {}
        self._lending: dict[UUID, asyncio.Task[Lease]] = {}
        # Raised by every notice: what was looked up before one may be old when it is answered.
        self._changes = 0
        # Keys that are being lent and of which no notice came meanwhile.
        self._unchanged: set[UUID] = set()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def holdings(self) -> int:
        """Whose keys are remembered, with or without values."""
        return len(self._holdings)

    def find(self, user_id: str | None, model: SnapshotModel) -> Lease | None:
        """The lease to call the model with, if it is in memory and nothing has to be asked."""
        if user_id is None:
            return None
        owner = (user_id, model.provider)
        now = self._now()
        holding = self._holdings.get(owner)
        if holding is None or holding.until <= now:
            return None
        lease = holding.chosen.get(model)
        if lease is None or lease.until <= now or lease.limited_until > now:
            lease = self._choose(holding, model, now)
            if lease is None:
                return None
        if lease.until - now < RENEWAL_SECONDS and lease.renewal is None:
            lease.renewal = asyncio.create_task(self._renew(owner, lease))
        return lease

    def _choose(self, holding: _Holding, model: SnapshotModel, now: float) -> Lease | None:
        key = self._best(holding.keys, model, now)
        lease = None if key is None else self._values.get(key.id)
        if key is None or lease is None or lease.until <= now:
            return None
        # One whose key ends at a moment of its own is chosen anew each time.
        if key.until is None and len(holding.chosen) < MOST_CHOSEN:
            holding.chosen[model] = lease
        return lease

    async def get(self, user_id: str | None, model: SnapshotModel) -> Lease | None:
        """As `find`, asking where that is needed; None when there is no key to call it with.

        The user's own keys come first, then those shared with it, then the one that the model's
        settings name.

        Raises:
            AuditUnavailable, DatabaseUnavailable, IntegrityFailure: it cannot be told, or lent.
        """
        owners: list[_Owner] = [] if user_id is None else [(user_id, model.provider)]
        if model.api_key_id is not None:
            owners.append(model.api_key_id)
        for owner in owners:
            lease = await self._of(owner, model)
            if lease is not None:
                return lease
        return None

    def forget_ended(self) -> None:
        """Let go of values whose time is over: nobody may ask for them again for long."""
        now = self._now()
        # Before the values, of which the holdings know who chose them.
        for owner in [owner for owner, holding in self._holdings.items() if holding.until <= now]:
            self._forget(owner)
        # They are in the order of their ends: each is lent for as long.
        while self._values:
            key_id, lease = next(iter(self._values.items()))
            if lease.until > now:
                return
            del self._values[key_id]
            self._unchoose(key_id)

    def limited(self, lease: Lease, seconds: float) -> None:
        """The provider limits the key: others of the user come before it for so long."""
        lease.limited_until = self._now() + seconds

    async def instead(self, lease: Lease) -> Lease | None:
        """The provider refused the value: a lease of the one before it, if that may be used.

        Raises:
            AuditUnavailable, DatabaseUnavailable: nothing is given.
        """
        value = await self._source.refused(lease.key)
        if value is None or value.reveal() == lease.value.reveal():
            return None  # also when it was the one before that is refused
        other = Lease(lease.key, value, lease.until)
        if self._values.get(lease.key.id) is lease:
            self._values[lease.key.id] = other
            self._unchoose(lease.key.id)
        lease.until = 0.0  # nobody is to choose it again
        return other

    async def on_change(self, subject: str | None) -> None:
        """Take up a notice, `<key id>:<user id>`: a key or a grant changed. Drops at once."""
        self._changes += 1
        if subject is None:
            self._holdings.clear()
            self._owners.clear()
            self._values.clear()
            self._unchanged.clear()
            return
        text, _, user_id = subject.partition(":")
        key_id = UUID(text)
        self._values.pop(key_id, None)
        self._unchanged.discard(key_id)
        for owner in [*self._owners.pop(key_id, ()), key_id]:
            self._forget(owner)
        for provider in Provider:
            self._forget((user_id, provider))

    def _unchoose(self, key_id: UUID) -> None:
        """Have it chosen anew where a lease of the key was: a choice holds the value as well."""
        for owner in self._owners.get(key_id, ()):
            chosen = self._holdings[owner].chosen
            for model in [model for model, lease in chosen.items() if lease.key.id == key_id]:
                del chosen[model]

    def _forget(self, owner: _Owner) -> None:
        holding = self._holdings.pop(owner, None)
        for key in () if holding is None else holding.keys:
            owners = self._owners.get(key.id)
            if owners is not None:
                owners.discard(owner)
                if not owners:
                    del self._owners[key.id]

    async def _of(self, owner: _Owner, model: SnapshotModel) -> Lease | None:
        keys = list(await self._keys_of(owner))
        while key := self._best(keys, model, self._now()):
            lease = self._values.get(key.id)
            if lease is not None and lease.until > self._now():
                return lease
            try:
                return await self._lend(key)
            except (NotFound, KeyInactive, Forbidden):
                keys.remove(key)  # it went away meanwhile
        return None

    def _best(
        self, keys: Sequence[UsableKey], model: SnapshotModel, now: float
    ) -> UsableKey | None:
        """The first that may be used for the model; one that its provider limits only at last."""
        least: UsableKey | None = None
        least_until = 0.0
        for key in keys:
            if key.models is not None and model.name not in key.models:
                continue
            if key.provider is not model.provider:  # as a model's settings may name one
                continue
            if key.origin is not None and model.origin not in (None, key.origin):
                continue
            if key.until is not None and key.until <= self._clock.now():
                continue
            lease = self._values.get(key.id)
            until = 0.0 if lease is None else lease.limited_until
            if until <= now:
                return key
            if least is None or until < least_until:
                least, least_until = key, until
        return least

    async def _keys_of(self, owner: _Owner) -> Sequence[UsableKey]:
        holding = self._holdings.get(owner)
        if holding is not None and holding.until > self._now():
            return holding.keys
        task = self._looking.get(owner)
        if task is None:
            task = self._looking[owner] = asyncio.create_task(self._look_up(owner))
            task.add_done_callback(lambda done: _told(self._looking, owner, done))
        # Shielded: whoever asked first may go away before it is answered.
        return (await asyncio.shield(task)).keys

    async def _look_up(self, owner: _Owner) -> _Holding:
        for _ in range(LOOKS):
            changes = self._changes
            if isinstance(owner, UUID):
                key = await self._source.by_id(owner)
                keys: Sequence[UsableKey] = () if key is None else (key,)
            else:
                keys = await self._source.usable(*owner)
            is_current = changes == self._changes
            if is_current:
                break
        seconds = LEASE_SECONDS if keys and is_current else SHORT_SECONDS
        holding = _Holding(keys, self._now() + seconds)
        self._forget(owner)
        self._holdings[owner] = holding
        for key in keys:
            self._owners.setdefault(key.id, set()).add(owner)
        if len(self._holdings) > MOST:
            self._forget(next(iter(self._holdings)))
        return holding

    async def _lend(self, key: UsableKey) -> Lease:
        task = self._lending.get(key.id)
        if task is None:
            task = self._lending[key.id] = asyncio.create_task(self._take(key))
            task.add_done_callback(lambda done: _told(self._lending, key.id, done))
        return await asyncio.shield(task)

    async def _take(self, key: UsableKey) -> Lease:
        until = self._now() + LEASE_SECONDS
        self._unchanged.add(key.id)
        try:
            value = await self._source.lease(key)
            is_current = key.id in self._unchanged
        finally:
            self._unchanged.discard(key.id)
        before = self._values.get(key.id)
        lease = Lease(key, value, until, 0.0 if before is None else before.limited_until)
        if is_current:
            self._values[key.id] = lease
            self._values.move_to_end(key.id)
            self._unchoose(key.id)
            if len(self._values) > MOST:
                self._unchoose(self._values.popitem(last=False)[0])
        return lease

    async def _renew(self, owner: _Owner, lease: Lease) -> None:
        """Look the holding up and lend the value again, before either ends."""
        set_caller(SYSTEM)
        try:
            holding = await self._look_up(owner)
            if any(key.id == lease.key.id for key in holding.keys):
                await self._take(lease.key)
        except ServiceError as error:
            # A call asks again soon, and at the end of the lease hears why not.
            log.warning("a lease could not be renewed", code=error.code)
            await asyncio.sleep(RENEWAL_PAUSE)
        finally:
            lease.renewal = None


def _told(under_way: dict[_Key, asyncio.Task[_Got]], key: _Key, done: asyncio.Task[_Got]) -> None:
    del under_way[key]
    if not done.cancelled():
        done.exception()  # each who asked has been told
