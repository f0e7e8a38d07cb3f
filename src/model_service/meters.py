"""What the metrics say of the gateway: its calls, the places it calls, its journal.

Nothing here touches a meter for a call: what is only added up is kept in plain numbers and handed
over every second, for a meter's lock costs more than the adding.
"""

from bisect import bisect_left
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import structlog

from model_service.gateway.circuit import Circuit
from model_service.gateway.ports import CallRecord
from model_service.http.metrics import CALL_BUCKETS, Metrics, SummedHistogram
from model_service.providers.condition import Place, State
from model_service.providers.faults import FaultKind
from model_service.usage.metering import Metering

log = structlog.get_logger("model_service.gateway")

#: Places whose circuits are shown one by one: those that failed first.
MOST_PLACES: Final = 256

_LIMITS: Final = (FaultKind.RATE_LIMITED, FaultKind.QUOTA_EXHAUSTED)
_STATES: Final = {State.CLOSED: 0.0, State.HALF_OPEN: 0.5, State.OPEN: 1.0}


class _Durations:
    """How long calls of one kind took, since that was last handed over."""

    __slots__ = ("_meter", "counts", "total")

    def __init__(self, meter: SummedHistogram) -> None:
        self._meter = meter
        self.total = 0.0
        self.counts = [0] * (len(CALL_BUCKETS) + 1)

    def hand_over(self) -> None:
        if self.total:
            self._meter.observe_many(self.counts, self.total)
            self.total = 0.0
            self.counts = [0] * len(self.counts)


class _Sums:
    """What calls of one provider's models came to, since that was last handed over."""

    __slots__ = ("cost", "fallbacks", "input", "output", "repeats")

    def __init__(self) -> None:
        self.input = self.output = self.repeats = self.fallbacks = 0
        self.cost = Decimal(0)


class CallMeters:
    """`CallObserver` that counts calls, and writes failures down."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._durations: dict[tuple[str, str, int], _Durations] = {}
        self._sums: dict[str, _Sums] = {}
        self._refused: dict[FaultKind, int] = {}
        self._under_way = 0

    def begun(self) -> None:
        """A call arrived."""
        self._under_way += 1

    def finished(self, record: CallRecord) -> None:
        """A call is over."""
        self._under_way -= 1
        model = record.model
        provider = "" if model is None else model.target.provider
        labels = (record.door, provider, record.status)
        duration = self._durations.get(labels)
        if duration is None:
            duration = self._durations[labels] = _Durations(self._metrics.calls.labels(*labels))
        took = record.finished - record.started
        duration.total += took
        duration.counts[bisect_left(CALL_BUCKETS, took)] += 1
        usage = record.usage
        if usage is not None:
            sums = self._sums.get(provider)
            if sums is None:
                sums = self._sums[provider] = _Sums()
            sums.input += usage.prompt
            sums.output += usage.output
            if record.cost is not None:
                sums.cost += record.cost
            if record.attempts > 1:
                sums.repeats += record.attempts - 1
            if model is not record.asked:
                sums.fallbacks += 1
        if record.error is not None:
            self._failed(record, provider)

    def _failed(self, record: CallRecord, provider: str) -> None:
        error = record.error
        if error is not None and error in _LIMITS and not record.attempts:
            self._refused[error] = self._refused.get(error, 0) + 1
        log.warning(
            "call failed",
            request_id=record.request_id,
            path=record.door,
            status=record.status,
            code=None if error is None else error.value,
            provider=provider or None,
            duration_ms=round((record.finished - record.started) * 1000, 3),
        )

    def hand_over(self) -> None:
        """Bring the meters up to date."""
        metrics = self._metrics
        metrics.calls_in_flight.set(self._under_way)
        for duration in self._durations.values():
            duration.hand_over()
        done, self._sums = self._sums, {}
        for provider, sums in done.items():
            metrics.tokens.labels(provider, "input").inc(sums.input)
            metrics.tokens.labels(provider, "output").inc(sums.output)
            metrics.cost.labels(provider).inc(float(sums.cost))
            metrics.repeats.labels(provider).inc(sums.repeats)
            metrics.fallbacks.labels(provider).inc(sums.fallbacks)
        refused, self._refused = self._refused, {}
        for kind, count in refused.items():
            metrics.limit_refusals.labels(kind.value).inc(count)


class CircuitMeters:
    """Shows which places are left alone, of those that ever failed."""

    def __init__(self, metrics: Metrics, circuits: Iterable[Circuit]) -> None:
        self._metrics = metrics
        self._circuits = circuits
        self._shown: dict[Place, Any] = {}

    def hand_over(self) -> None:
        """Bring the meters up to date."""
        forgotten = set(self._shown)
        for circuit in self._circuits:
            place = circuit.place
            meter = self._shown.get(place)
            if meter is None:
                if circuit.state is State.CLOSED or len(self._shown) >= MOST_PLACES:
                    continue
                meter = self._shown[place] = self._metrics.circuits.labels(*place)
            meter.set(_STATES[circuit.state])
            forgotten.discard(place)
        for place in forgotten:
            self._shown[place].set(_STATES[State.CLOSED])


class JournalMeters:
    """Shows what of the usage is not stored yet, and whether more can be taken."""

    def __init__(self, metrics: Metrics, metering: Metering) -> None:
        self._metrics = metrics
        self._metering = metering

    def hand_over(self) -> None:
        """Bring the meters up to date."""
        drainer = self._metering.drainer
        self._metrics.usage_undrained.set(drainer.undrained_events)
        self._metrics.usage_oldest.set(round(drainer.oldest_seconds, 3))
        self._metrics.usage_full.set(self._metering.journal.is_full)
