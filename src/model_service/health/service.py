"""How all places are doing, told from what every process saw of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from model_service.health.domain import (
    Board,
    ChangeFilter,
    HealthStore,
    KnownState,
    PastChange,
    Standing,
)
from model_service.kernel.types import Clock
from model_service.providers.condition import Numbers, Place, State, merged, percentile

#: How long a process's numbers hold when it tells no new ones: it tells them every five seconds.
NUMBERS_HOLD: Final = timedelta(seconds=20)


class HealthService:
    """The use cases of health: reading alone."""

    def __init__(self, store: HealthStore, board: Board, clock: Clock, instance: str) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._instance = instance

    async def standings(self) -> list[Standing]:
        """All places that calls went to lately, or that something is known of.

        Raises:
            DatabaseUnavailable: what others saw cannot be read.
        """
        now = self._clock.now()
        states = {state.place: state for state in await self._store.states()}
        told: dict[Place, list[Numbers]] = {place: [] for place in states}
        others = await self._store.numbers(now - NUMBERS_HOLD, but=self._instance)
        # Its own are read as they are now.
        for numbers in [*others, *self._board.numbers()]:
            told.setdefault(numbers.place, []).append(numbers)
        return [
            _standing(place, states.get(place), told[place], now)
            for place in sorted(told, key=lambda place: tuple(map(str, place)))
        ]

    async def changes(self, wanted: ChangeFilter, limit: int) -> Sequence[PastChange]:
        """When calls were stopped and let go again, newest first. Raises DatabaseUnavailable."""
        return await self._store.changes(wanted, limit)


def _standing(
    place: Place, known: KnownState | None, told: Sequence[Numbers], now: datetime
) -> Standing:
    calls = sum(one.calls for one in told)
    failures = sum(one.failures for one in told)
    latencies, first_tokens = (
        told[0].latencies if told else {},
        told[0].first_tokens if told else {},
    )
    for one in told[1:]:
        latencies = merged(latencies, one.latencies)
        first_tokens = merged(first_tokens, one.first_tokens)
    names = {name for one in told for name in one.names} | set(known.names if known else ())
    errors = [one for one in told if one.last_error is not None and one.last_error_at is not None]
    last = max(errors, key=lambda one: one.last_error_at or 0.0, default=None)
    state, since = _state(known, told, now)
    error, why = (None, "") if known is None else (known.error, known.why)
    at = known.changed_at if known is not None and error is not None else None
    if last is not None and last.last_error_at is not None:
        error, why = last.last_error, last.last_error_why
        at = datetime.fromtimestamp(last.last_error_at, UTC)
    return Standing(
        place=place,
        names=tuple(sorted(names)),
        state=state,
        since=since,
        retry_at=None if known is None or state is State.CLOSED else known.retry_at,
        calls=calls,
        error_rate=failures / calls if calls else None,
        p50=percentile(latencies, 0.5),
        p95=percentile(latencies, 0.95),
        first_token_p50=percentile(first_tokens, 0.5),
        first_token_p95=percentile(first_tokens, 0.95),
        last_error=error,
        last_error_at=at,
        why=why,
    )


def _state(
    known: KnownState | None, told: Sequence[Numbers], now: datetime
) -> tuple[State, datetime]:
    """The state, by what was told last, and since when."""
    newest = max(told, key=lambda one: one.since, default=None)
    if known is None or (
        # Found a moment ago, and not yet stored; to the millisecond they are the same.
        newest is not None
        and newest.state is not State.CLOSED
        and known.state is State.CLOSED
        and newest.since > known.since.timestamp()
    ):
        # Without anything told there is neither.
        assert newest is not None  # noqa: S101
        return newest.state, datetime.fromtimestamp(newest.since, UTC)
    if known.state is State.CLOSED:
        return State.CLOSED, known.since
    is_due = known.retry_at is not None and known.retry_at <= now
    return State.HALF_OPEN if is_due else State.OPEN, known.since
