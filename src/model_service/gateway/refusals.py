"""What callers hear whom a limit stops: which one, how much it is, and when it starts anew."""

import math
import time
from datetime import UTC, datetime
from typing import Final

from model_service.gateway.counters import Counter
from model_service.gateway.ratelimit_heads import duration
from model_service.kernel.counting import NANO, Metric, Window, window_bounds
from model_service.providers.faults import CallFailed, Fault, FaultKind

#: Seconds after which it is worth asking again when only reservations of calls under way are in
#: the way: most calls use much less than they reserve.
UNDER_WAY_SECONDS: Final = 2


def refused(counter: Counter, amount: int, now: float) -> CallFailed:
    """The error for a call that needs so much of a counter."""
    seconds = counter.lease.window_ends - now
    if seconds <= 0:  # it never had to be asked about
        moment = datetime.fromtimestamp(time.time(), UTC)
        seconds = (window_bounds(counter.window, moment)[1] - moment).total_seconds()
    wait = max(1, math.ceil(seconds))
    limit = f"{_said(counter.metric, counter.limit)} per {counter.window.value}"
    resets = f"it resets in {duration(wait).decode()}"
    if amount > counter.limit:
        what = f"this call may need {_said(counter.metric, amount)}"
        message = f"Over the limit of {counter.title}, {limit}: {what}; {resets}"
    elif counter.taken - counter.reserved + amount <= counter.limit:
        message = f"The limit of {counter.title}, {limit}, is reserved by calls under way; {resets}"
        wait = min(wait, UNDER_WAY_SECONDS)
    else:
        message = f"The limit of {counter.title}, {limit}, is used up; {resets}"
    # Waiting helps where a window is a minute, as every client's retries know.
    is_soon = not counter.is_quota or counter.window is Window.MINUTE
    kind = FaultKind.RATE_LIMITED if is_soon else FaultKind.QUOTA_EXHAUSTED
    code = "quota_exceeded" if counter.is_quota else "rate_limit_exceeded"
    return CallFailed(Fault(kind, message, code=code, retry_after=wait))


def unpriced(model: str) -> CallFailed:
    """The error for a model without a known price, where a cost quota applies."""
    message = (
        f"The model '{model}' has no known price, and a cost quota applies to this call: "
        "register the model's costs"
    )
    return CallFailed(Fault(FaultKind.PERMISSION, message, param="model", code="model_unpriced"))


def unavailable() -> CallFailed:
    """The error while limits apply that cannot be counted."""
    message = "Limits apply to this call, and they cannot be checked right now"
    return CallFailed(
        Fault(FaultKind.UNAVAILABLE, message, code="limits_unavailable", retry_after=2)
    )


def _said(metric: Metric, amount: int) -> str:
    if metric is Metric.COST:
        dollars = f"{amount / NANO:.9f}".rstrip("0")
        return f"{dollars}00 US dollars" if dollars.endswith(".") else f"{dollars} US dollars"
    unit = metric.value[:-1] if amount == 1 else metric.value
    return f"{amount:,} {unit}"
