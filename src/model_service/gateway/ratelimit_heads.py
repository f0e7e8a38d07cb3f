"""The answer's header lines that say how limits stand, in the form that OpenAI gave them."""

from collections.abc import Sequence
from typing import Final

from model_service.gateway.counters import Counter

_LINES: Final = (
    b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n"
)
#: Texts of durations, made once each: fewer than a month has seconds.
_TEXTS: dict[int, bytes] = {}
_MOST_TEXTS: Final = 100_000


def remaining_lines(kind: bytes, counters: Sequence[Counter], now: float) -> bytes:
    """The trio for the most binding of some limits: the one of which least is left.

    What is left is as last heard of the other workers: what they lease counts as gone.
    """
    binding, least = counters[0], -1
    for counter in counters:
        left = counter.limit - counter.taken + counter.lease.free
        if left < least or least < 0:
            binding, least = counter, max(left, 0)
    reset = duration(int(binding.lease.window_ends - now) + 1)
    return _LINES % (kind, binding.limit, kind, least, kind, reset)


def duration(seconds: int) -> bytes:
    """Seconds as OpenAI writes them: `1s`, `6m0s`, `23h59m59s`."""
    text = _TEXTS.get(seconds)
    if text is None:
        if len(_TEXTS) >= _MOST_TEXTS:
            _TEXTS.clear()
        text = _TEXTS[seconds] = _duration(max(seconds, 0))
    return text


def _duration(seconds: int) -> bytes:
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    if hour:
        return b"%dh%dm%ds" % (hour, minute, second)
    return b"%dm%ds" % (minute, second) if minute else b"%ds" % second
