"""The answer's header lines that say how limits stand, in the form that OpenAI gave them."""

from collections.abc import Sequence

from model_service.gateway.counters import Counter


def remaining_lines(kind: bytes, counters: Sequence[Counter], now: float) -> bytes:
    """The trio for the most binding of some limits: the one of which least is left.

    What is left is as last heard of the other workers: what they lease counts as gone.
    """
    binding = counters[0]
    least = binding.limit - binding.taken + binding.lease.free
    for counter in counters[1:]:
        left = counter.limit - counter.taken + counter.lease.free
        if left < least:
            binding, least = counter, left
    second = -int((now - binding.lease.window_ends) // 1)  # rounded up
    if binding.lines_at != (binding.limit, second):
        # The same for all answers of a second, but for the number in their middle.
        binding.lines_at = (binding.limit, second)
        binding.head = b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: " % (
            kind,
            binding.limit,
            kind,
        )
        binding.tail = b"\r\nx-ratelimit-reset-%b: %b\r\n" % (kind, duration(second))
    return b"%b%d%b" % (binding.head, max(0, least), binding.tail)


def duration(seconds: int) -> bytes:
    """Seconds as OpenAI writes them: `1s`, `6m0s`, `23h59m59s`."""
    minutes, second = divmod(max(seconds, 0), 60)
    hour, minute = divmod(minutes, 60)
    if hour:
        return b"%dh%dm%ds" % (hour, minute, second)
    return b"%dm%ds" % (minute, second) if minute else b"%ds" % second
