"""What a call may use, and what it used and cost, settled before its caller has all of it."""

import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Final

import structlog

from model_service.gateway.limits import Applicable, Limiter
from model_service.gateway.needs import BYTES_PER_TOKEN, needs_of
from model_service.gateway.ports import CallRecord, Meter
from model_service.gateway.routes import Operation
from model_service.gateway.snapshot import SnapshotModel
from model_service.gateway.work import Work
from model_service.kernel.counting import nano_dollars
from model_service.providers.chat import Usage

#: How much more is reserved than a prompt seems to have, as three to two: providers wrap what
#: they are sent into words of their own, and text that is not English has more tokens.
_MARGIN: Final = (3, 2)
#: Tokens that every prompt has at least.
_LEAST: Final = 16
log = structlog.get_logger(__name__)

_NOTHING: Final = Usage()


class Accounting:
    """Reserves and settles."""

    def __init__(
        self, meter: Meter, limiter: Limiter, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`now` is in seconds and never goes back."""
        self._now = now
        self._meter = meter
        self._limiter = limiter

    def reserve_now(self, work: Work, model: SnapshotModel) -> bool:
        """Reserve what the call may use, without waiting; False: that takes `reserve`.

        Raises:
            CallFailed: there is not so much left, or nobody knows what it would cost.
        """
        principal = work.record.principal
        if principal is None:
            raise RuntimeError("nobody knows who calls")
        limits = self._limiter.find(principal.user_id, principal.token_id, model)
        work.limits = limits
        if limits is None:
            return True
        work.hold = self._limiter.try_reserve(limits, *self._demand(work, limits, model))
        if work.hold is None:
            return False
        work.record.reserved = work.hold.amounts
        return True

    async def reserve(self, work: Work, model: SnapshotModel) -> None:
        """Reserve what the call may use. Raises CallFailed as `reserve_now`, and when it waited."""
        if work.limits is not None:
            demand = self._demand(work, work.limits, model)
            work.hold = await self._limiter.reserve(work.limits, *demand)
            work.record.reserved = work.hold.amounts

    def release(self, work: Work) -> None:
        """Give back what is reserved: another model is to answer."""
        if work.hold is not None:
            work.hold.release()
        work.limits = work.hold = None

    def begin(self, work: Work) -> None:
        """The call is about to be sent to a provider.

        Raises:
            JournalFull: what it uses could not be kept.
        """
        if not work.record.is_metered:
            self._meter.begin(work.record)
            work.record.is_metered = True

    def settle(self, work: Work) -> None:
        """The call is over. May be repeated."""
        if work.is_settled:
            return
        work.is_settled = True
        work.record.finished = self._now()
        try:
            self._settle(work, work.record)
        except Exception as error:  # noqa: BLE001 - the last resort: its caller gets the answer
            log.error(
                "a call could not be accounted for",
                error_type=type(error).__qualname__,
                request_id=work.record.request_id,
            )

    def _settle(self, work: Work, record: CallRecord) -> None:
        try:
            if record.is_metered:
                self._count(work, record)
                self._meter.finish(record)
            elif record.asked is not None:
                self._count(work, record)
                self._meter.note(record)
        finally:
            hold = work.hold
            if hold is None:
                pass
            elif record.is_metered:
                usage, cost = record.usage or _NOTHING, record.cost
                hold.settle(1, usage.total, 0 if cost is None else nano_dollars(cost))
            else:
                hold.release()

    def limit_lines(self, work: Work) -> bytes:
        """The headers that say how limits stand."""
        return b"" if work.limits is None else self._limiter.headers(work.limits)

    def _demand(
        self, work: Work, limits: Applicable, model: SnapshotModel
    ) -> tuple[int, int | None]:
        """Tokens and nano-dollars that the call may come to."""
        if not limits.tokens and not limits.counts_cost:
            return 0, 0
        if work.route is None or work.body is None:
            raise RuntimeError("the call is not read yet")
        needs = needs_of(work.route, work.body, stream=work.record.stream)
        into = needs.input_tokens * _MARGIN[0] // _MARGIN[1] + _LEAST
        count = work.body.get("n")
        answers = count if type(count) is int and 0 < count <= 128 else 1
        out = 0 if needs.embeddings else (needs.output_tokens or model.target.max_tokens) * answers
        if not limits.counts_cost:
            return into + out, 0
        price = None if model.prices is None else model.prices.at(work.record.began)
        if price is None:
            return into + out, None
        tier = work.body.get("service_tier")
        price = price.in_tier(tier if type(tier) is str else None)
        return into + out, nano_dollars(price.ceiling(into, out))

    def _count(self, work: Work, record: CallRecord) -> None:
        """What was used and what it costs, as far as it is known, else by estimate."""
        usage = record.usage
        if usage is None or record.error is not None or record.client_left:
            usage = record.usage = self._guess(work, record)
        model = record.model
        prices = None if model is None else model.prices
        record.tier = usage.tier
        price = None if prices is None else prices.at(record.began, usage.tier)
        if price is not None:
            record.cost, record.price_version = price.cost(usage), price.version
            record.cost_text = f"{record.cost:f}"
        if work.spent:
            self._count_spent(work, record, usage)

    def _guess(self, work: Work, record: CallRecord) -> Usage:
        """What a call used whose end was not heard, or whose provider does not say."""
        usage = record.usage
        if not record.client_left:
            if record.error is not None and not work.call.response_started:
                return _NOTHING  # attempts whose caller had nothing of them are not billed
            if record.error is None and record.operation == Operation.COUNT:
                return _NOTHING
        if not record.attempts:
            return _NOTHING
        record.estimated = True
        if work.spent and usage is None and not record.events_sent:
            return _NOTHING  # no attempt went on from those that are spent
        return _estimated(usage, record)

    def _count_spent(self, work: Work, record: CallRecord, usage: Usage) -> None:
        """Add what attempts took whose beginning the caller got: it was had, and is paid for."""
        cost: Decimal | None = record.cost
        for model, spent in work.spent:
            usage = _together(usage, spent)
            price = None if model.prices is None else model.prices.at(record.began, spent.tier)
            cost = None if price is None or cost is None else cost + price.cost(spent)
        record.usage, record.cost, record.estimated = usage, cost, True
        record.cost_text = None if cost is None else f"{cost:f}"


def _together(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.input + other.input,
        one.cached_input + other.cached_input,
        one.cache_write + other.cache_write,
        one.cache_write_1h + other.cache_write_1h,
        one.output + other.output,
        one.reasoning + other.reasoning,
    )


def _estimated(told: Usage | None, record: CallRecord) -> Usage:
    """What a call took that ended early: what the provider said, or what passed by here."""
    if told is not None and told.prompt:
        if told.output < record.events_sent:
            return replace(told, output=record.events_sent)
        return told
    return Usage(input=record.body_bytes // BYTES_PER_TOKEN, output=record.events_sent)
