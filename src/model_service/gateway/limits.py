"""Limits of what may be asked for: how often, how many tokens, at what cost.

A model's own rates count for each user of it; quotas count for a user, a token, a model or any
of them together. A call reserves what it may use before it is sent, from leases that this worker
holds of the shared counters (see `kernel.counting`), and settles what it did use at its end. In
the steady state nothing here waits for the database: `try_reserve` compares and subtracts.

A call counts in the calendar window in which it reserved. Should it use more than it reserved,
because the estimate was too low, the excess counts as well, and the window may be exceeded by it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Protocol
from uuid import UUID

from model_service.gateway.counters import Counter, Lease
from model_service.gateway.ratelimit_heads import remaining_lines
from model_service.gateway.refill import Refill
from model_service.gateway.refusals import unavailable, unpriced
from model_service.kernel.counting import CounterStore, Metric, Quota, Window

#: Combinations of user, token and model whose limits are remembered.
MOST_REMEMBERED: Final = 50_000
#: Counters beyond which those that nobody uses are forgotten.
MOST_COUNTERS: Final = 50_000
#: Round trips after which a call waits no longer: others were always faster.
MOST_ROUNDS: Final = 100

_KINDS: Final = {Metric.REQUESTS: 0, Metric.TOKENS: 1, Metric.COST: 2}


def machine_seconds() -> float:
    """Seconds that never go back, and go on while the machine sleeps: no wall clock is trusted."""
    return time.clock_gettime(_BOOT_CLOCK)


# Not everywhere: elsewhere a machine that slept may spend what was left of a window by then.
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Rates:
    """A model's own limits: requests of one user in each window; None: no limit, 0: none pass."""

    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return not self.per_minute is self.per_hour is self.per_day is None


class LimitedModel(Protocol):
    """What is needed of a model. `rates` is None when it has none."""

    @property
    def id(self) -> UUID: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def rates(self) -> Rates | None: ...  # noqa: D102


class Applicable:
    """The limits of one user, token and model."""

    __slots__ = ("counters", "counts_cost", "model", "pairs", "requests", "tokens")

    def __init__(self, model: str, counters: Sequence[Counter]) -> None:
        self.model = model
        self.counters = tuple(counters)
        self.pairs = tuple((one, _KINDS[one.metric]) for one in counters)
        self.counts_cost = any(one.metric is Metric.COST for one in counters)
        self.requests = tuple(one for one in counters if one.metric is Metric.REQUESTS)
        self.tokens = tuple(one for one in counters if one.metric is Metric.TOKENS)


class Hold:
    """What is held back for a call under way. Ends with `settle` or `release`, once."""

    __slots__ = ("_amounts", "_leases", "_refill", "limits")

    def __init__(
        self, limits: Applicable, amounts: tuple[int, int, int], leases: list[Lease], refill: Refill
    ) -> None:
        self.limits = limits
        self._amounts = amounts
        self._leases: list[Lease] | None = leases
        self._refill = refill

    @property
    def amounts(self) -> tuple[int, int, int]:
        """What was reserved: requests, tokens and nano-dollars."""
        return self._amounts

    def settle(self, requests: int, tokens: int, cost: int) -> None:
        """The call is over and used so much; `cost` in nano-dollars. The rest is free again."""
        leases = self._leases
        if leases is None:
            return
        self._leases = None
        used = (requests, tokens, cost)
        reserved = self._amounts
        live = self._refill.live
        for lease, (counter, kind) in zip(leases, self.limits.pairs, strict=True):
            amount = used[kind]
            lease.free += reserved[kind] - amount
            lease.held -= amount
            lease.spent += amount
            live[counter] = None

    def release(self) -> None:
        """The call never reached a provider: it used nothing, and does not count as a request."""
        self.settle(0, 0, 0)


class Limiter:
    """Reserves what calls may use. `run` is its job beside the calls: see `background`."""

    def __init__(self, store: CounterStore, now: Callable[[], float] = machine_seconds) -> None:
        """`now` is in seconds and never goes back."""
        self._now = now
        self.refill = Refill(store, now)
        self._quotas: dict[tuple[str | None, UUID | None, str | None], list[Quota]] = {}
        self._counters: dict[str, Counter] = {}
        self._known: dict[tuple[str | None, int | None, LimitedModel], Applicable | None] = {}

    def find(
        self, user_id: str | None, token_id: UUID | None, model: LimitedModel
    ) -> Applicable | None:
        """The limits that apply; None without any.

        Models are told apart by identity: a changed one is another object.
        """
        if not self._quotas and model.rates is None:
            return None
        who = (user_id, None if token_id is None else token_id.int, model)
        try:
            return self._known[who]
        except KeyError:
            return self._learn(who, token_id)

    def try_reserve(self, limits: Applicable, tokens: int, cost: int | None) -> Hold | None:
        """Reserve one request, `tokens`, and `cost` in nano-dollars, if there is a lease for it.

        None says to use `reserve`. `cost` is None for what has no known price.

        Raises:
            CallFailed: a cost quota applies, and the price is not known.
        """
        if cost is None:
            if limits.counts_cost:
                raise unpriced(limits.model)
            cost = 0
        amounts = (1, tokens, cost)
        now = self._now()
        leases = []
        for counter, kind in limits.pairs:
            lease = counter.lease
            if lease.free < amounts[kind] or now >= lease.until:
                return None
            leases.append(lease)
        for counter, kind in limits.pairs:
            lease = counter.lease
            lease.free -= amounts[kind]
            if lease.free < counter.low and not counter.is_asked:
                self.refill.ask(counter)
        return Hold(limits, amounts, leases, self.refill)

    async def reserve(self, limits: Applicable, tokens: int, cost: int | None) -> Hold:
        """The same, waiting for the shared counters where that must be.

        Raises:
            CallFailed: there is not so much left, or the counters cannot be asked.
        """
        for _ in range(MOST_ROUNDS):
            hold = self.try_reserve(limits, tokens, cost)
            if hold is not None:
                return hold
            await self.refill.wait(limits.pairs, (1, tokens, cost or 0))
        raise unavailable()

    def headers(self, limits: Applicable) -> bytes:
        """The header lines that say how the most binding limits stand; of a hold, its `limits`."""
        now = self._now()
        lines = b""
        if limits.requests:
            lines = remaining_lines(b"requests", limits.requests, now)
        if limits.tokens:
            lines += remaining_lines(b"tokens", limits.tokens, now)
        return lines

    def set_quotas(self, quotas: Sequence[Quota]) -> None:
        """These quotas apply from now on, and no others."""
        index: dict[tuple[str | None, UUID | None, str | None], list[Quota]] = {}
        for quota in quotas:
            index.setdefault((quota.user_id, quota.token_id, quota.model), []).append(quota)
        self._quotas = index
        self._known.clear()
        limits = {quota.key: quota.limit for quota in quotas}
        for key in [key for key, one in self._counters.items() if one.is_quota]:
            counter = self._counters[key]
            if key not in limits:
                del self._counters[key]
                self.refill.recalled(counter)
            else:
                self._set_limit(counter, limits[key])

    async def on_recall(self, key: str | None) -> None:
        """Give back what is not used of a counter, or of all, as another worker needs it."""
        if key is None:
            for counter in list(self.refill.live):
                self.refill.recalled(counter)
        elif (found := self._counters.get(key)) is not None:
            self.refill.recalled(found)

    async def flush(self) -> None:
        """Tell the shared counters what was spent, and wait until they know.

        Raises:
            DatabaseUnavailable: they do not.
        """
        await self.refill.flush()

    async def run(self) -> None:
        """Tell them of it all the time, until cancelled, and give everything back then."""
        await self.refill.run(self._forget)

    def _learn(
        self, who: tuple[str | None, int | None, LimitedModel], token_id: UUID | None
    ) -> Applicable | None:
        user_id, _, model = who
        counters = []
        rates = model.rates
        if rates is not None:
            holder = user_id if token_id is None or user_id is not None else f"token {token_id}"
            for window, limit in (
                (Window.MINUTE, rates.per_minute),
                (Window.HOUR, rates.per_hour),
                (Window.DAY, rates.per_day),
            ):
                if limit is not None:
                    key = f"rate:{model.id}:{window.value}:{'' if holder is None else holder}"
                    title = f"the model '{model.name}'"
                    counters.append(self._counter(key, Metric.REQUESTS, window, limit, title))
        named = product(dict.fromkeys((user_id, None)), dict.fromkeys((token_id, None)))
        for user, token in named:
            for name in (model.name, None):
                quotas = self._quotas.get((user, token, name), ())
                counters.extend(self._of_quota(quota) for quota in quotas)
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        limits = Applicable(model.name, counters) if counters else None
        self._known[who] = limits
        return limits

    def _of_quota(self, quota: Quota) -> Counter:
        named = (("user", quota.user_id), ("token", quota.token_id), ("model", quota.model))
        whom = " and ".join(f"the {kind} '{name}'" for kind, name in named if name is not None)
        title = f"the quota of {whom}"
        return self._counter(quota.key, quota.metric, quota.window, quota.limit, title)

    def _counter(self, key: str, metric: Metric, window: Window, limit: int, title: str) -> Counter:
        counter = self._counters.get(key)
        if counter is None:
            is_quota = key.startswith("quota:")
            counter = Counter(key, metric, window, limit, title, is_quota)
            self._counters[key] = counter
        else:
            self._set_limit(counter, limit)
        return counter

    def _set_limit(self, counter: Counter, limit: int) -> None:
        if counter.limit != limit:
            counter.limit = limit
            counter.dry_until = 0.0
            # What was leased by the old limit may be too much by the new one.
            self.refill.recalled(counter)

    def _forget(self) -> None:
        """Let go of counters that nobody uses, when there are too many."""
        if len(self._counters) <= MOST_COUNTERS:
            return
        now = self._now()
        self._counters = {
            key: one
            for key, one in self._counters.items()
            if one in self.refill.live or one.lease.until > now
        }
        self._known.clear()
