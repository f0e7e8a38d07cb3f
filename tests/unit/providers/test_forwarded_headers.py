"""Headers of callers that go on to a provider: sound ones, or the caller hears what is wrong."""

import pytest

from model_service.kernel.types import Provider
from model_service.providers.calls import CALLS, LONGEST_FORWARDED
from model_service.providers.faults import CallFailed, FaultKind

ANTHROPIC = CALLS[Provider.ANTHROPIC]


def test_what_is_part_of_the_providers_api_goes_on() -> None:
    sent = [(b"anthropic-beta", b"a-2026-01-01,b"), (b"x-evil", b"1"), (b"anthropic-beta", b"c")]
    assert ANTHROPIC.forwarded("anthropic", sent) == (
        ("anthropic-beta", "a-2026-01-01,b"),
        ("anthropic-beta", "c"),
    )
    assert ANTHROPIC.forwarded("openai_chat", sent) == ()


@pytest.mark.parametrize(
    "value", [b"\xfc", b"a\tb", b"a\x7f", b"a\r\nx-evil: 1", b"a" * (LONGEST_FORWARDED + 1)]
)
def test_what_could_not_be_sent_is_the_callers_fault(value: bytes) -> None:
    with pytest.raises(CallFailed, match="anthropic-beta") as failed:
        ANTHROPIC.forwarded("anthropic", [(b"anthropic-beta", value)])
    assert failed.value.fault.kind is FaultKind.INVALID_REQUEST
