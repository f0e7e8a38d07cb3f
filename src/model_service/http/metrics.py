"""Prometheus metrics, under the names of the OpenTelemetry HTTP conventions where one exists."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

#: Seconds; from a cached answer to a provider's slowest validation.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: Seconds; from what the gateway adds to a fast provider to a long answer.
CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class SummedHistogram(Histogram):
    """A histogram that takes many observations at once: a meter's lock costs more than adding."""

    def observe_many(self, counts: Sequence[int], total: float) -> None:
        """Take so many in each bucket, the last one without bound, that add up to `total`."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class Metrics:
    """The process's meters. Each process has one, made by `app`."""

    def __init__(self, *, version: str) -> None:
        self._registry = CollectorRegistry()
        self._before: list[Callable[[], None]] = []
        self.requests = Histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP requests by route and status",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "http_server_active_requests",
            "HTTP requests being answered now",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.reveals = Counter(
            "model_service_key_reveals",
            "Provider keys given out, by outcome",
            ("outcome",),
            registry=self._registry,
        )
        self.validations = Counter(
            "model_service_key_validations",
            "Provider keys checked with their provider, by provider and verdict",
            ("provider", "verdict"),
            registry=self._registry,
        )
        self.term_seals = Gauge(
            "model_service_keyring_term_seals",
            "Records ever sealed under a term of the keyring that still has a key",
            ("term",),
            registry=self._registry,
            multiprocess_mode="max",
        )
        self.resealed = Counter(
            "model_service_records_resealed",
            "Records moved to the active term of the keyring, by table",
            ("table",),
            registry=self._registry,
        )
        self.webhook_attempts = Counter(
            "model_service_webhook_attempts",
            "Events sent to webhooks, by what came of it",
            ("outcome",),
            registry=self._registry,
        )
        self.calls = SummedHistogram(
            "gen_ai_server_request_duration_seconds",
            "Duration of calls through the gateway, by door, provider and status",
            ("model_service_door", "gen_ai_provider_name", "http_response_status_code"),
            buckets=CALL_BUCKETS,
            registry=self._registry,
        )
        self.calls_in_flight = Gauge(
            "gen_ai_server_active_requests",
            "Calls through the gateway that are being answered now",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.tokens = Counter(
            "model_service_tokens",
            "Tokens that calls used, by provider and whether they went in or came out",
            ("gen_ai_provider_name", "gen_ai_token_type"),
            registry=self._registry,
        )
        self.cost = Counter(
            "model_service_cost_usd",
            "US dollars that calls cost, by provider, as far as prices are known",
            ("gen_ai_provider_name",),
            registry=self._registry,
        )
        self.repeats = Counter(
            "model_service_call_retries",
            "Times that providers were asked again for a call, by the provider it ended with",
            ("gen_ai_provider_name",),
            registry=self._registry,
        )
        self.fallbacks = Counter(
            "model_service_call_fallbacks",
            "Calls that another model took over, by that one's provider",
            ("gen_ai_provider_name",),
            registry=self._registry,
        )
        self.limit_refusals = Counter(
            "model_service_limit_refusals",
            "Calls refused by this service's own limits and quotas",
            ("error_type",),
            registry=self._registry,
        )
        self.circuits = Gauge(
            "model_service_circuit_state",
            "Of places that ever failed: 0 they are called, 1 not, 0.5 one call is let through",
            ("gen_ai_provider_name", "server_address", "gen_ai_request_model"),
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self.usage_undrained = Gauge(
            "model_service_usage_undrained_events",
            "Usage events that are in the journal and not in the database yet",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.usage_oldest = Gauge(
            "model_service_usage_oldest_undrained_seconds",
            "Seconds for which the oldest of them has waited",
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self.usage_full = Gauge(
            "model_service_usage_journal_full",
            "Processes that take no calls because their usage could not be kept",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.snapshot_age = Gauge(
            "model_service_snapshot_age_seconds",
            "Seconds for which the gateway may have missed changes of models and keys",
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        info = Gauge(
            "model_service_info",
            "Always 1; the label tells the version",
            ("version",),
            registry=self._registry,
            multiprocess_mode="max",
        )
        info.labels(version).set(1)

    def note_seals(self, seals: Mapping[int, int]) -> None:
        """Take over how many records were sealed under each term."""
        for term, count in seals.items():
            self.term_seals.labels(str(term)).set(count)

    def before_exposing(self, update: Callable[[], None]) -> None:
        """Have meters brought up to date before they are shown; others are a second old."""
        self._before.append(update)

    def update(self) -> None:
        """Bring those meters up to date: for what other processes show of this one."""
        for update in self._before:
            update()

    def expose(self) -> bytes:
        """All meters as text, summed over the worker processes when there are several."""
        self.update()
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if directory and Path(directory).is_dir():
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
            return generate_latest(registry)
        return generate_latest(self._registry)
