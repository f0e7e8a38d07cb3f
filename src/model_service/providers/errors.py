"""From what an upstream did to a verdict, and from a verdict to an error.

The status is looked at first, and mostly decides alone: then the body, which may repeat the
key, is not even read.
"""

from typing import Final

from model_service.kernel.errors import (
    ConnectFailed,
    EgressRefused,
    KeyRefused,
    ProviderUnreachable,
    UpstreamError,
    UpstreamTimeout,
)
from model_service.kernel.provider import Verdict
from model_service.kernel.types import Provider
from model_service.providers.base import Answer, Dialect

#: Seconds until a caller may try again when the provider does not say.
RETRY_AFTER: Final = 10
#: The longest wait, in seconds, that is passed on from a provider.
LONGEST_RETRY_AFTER: Final = 300

# Statuses that mean something else with each provider (API.md, "How each provider is asked").
_TOLD_BY_BODY: Final = frozenset((400, 403, 404))


def verdict_by_status(status: int) -> Verdict | None:
    """What a status means whatever the body says; None where the body has to be read."""
    if 200 <= status <= 299 or status in _TOLD_BY_BODY:
        return None
    if status == 401:
        return Verdict.INVALID
    if status == 429:
        return Verdict.RATE_LIMITED
    if status >= 500:
        return Verdict.PROVIDER_ERROR
    return Verdict.UNEXPECTED_ANSWER


def verdict_of_answer(answer: Answer, dialect: Dialect) -> Verdict:
    """What an answer tells of the key it was asked with.

    The status tells it, and where providers differ the dialect; a page of HTML with status 200,
    as proxies and captive portals send it, is no provider's answer and tells nothing.
    """
    by_status = verdict_by_status(answer.status)
    if by_status is not None:
        return by_status
    if answer.document is None:
        return Verdict.UNEXPECTED_ANSWER
    return Verdict.VALID if answer.is_success else dialect.judge(answer)


def verdict_of_error(error: UpstreamError) -> Verdict:
    """What it means that no whole answer came."""
    if isinstance(error, UpstreamTimeout):
        return Verdict.TIMEOUT
    if isinstance(error, ConnectFailed | EgressRefused):
        return Verdict.UNREACHABLE
    return Verdict.UNEXPECTED_ANSWER


def listing_error(
    provider: Provider, answer: Answer, dialect: Dialect, *, keyed: bool
) -> KeyRefused | ProviderUnreachable:
    """Why an answer other than 2xx gives no models; `keyed` says whether a key was sent."""
    verdict = verdict_of_answer(answer, dialect)
    if verdict is Verdict.INVALID and not keyed:
        return KeyRefused(f"Provider '{provider}' wants a key and there is none to send")
    if verdict is Verdict.INVALID:
        return KeyRefused(f"Provider '{provider}' refused the stored key ({verdict.value})")
    if verdict is Verdict.VALID and answer.status == 403:
        # Asking again is of no use; somebody has to give the key more rights.
        return KeyRefused(
            f"Provider '{provider}' knows the stored key but does not let it list models "
            "(restricted)",
            is_restricted=True,
        )
    if verdict is Verdict.VALID:  # a good key, but this is no way to answer the question
        verdict = Verdict.UNEXPECTED_ANSWER
    return unreachable(provider, verdict, answer.retry_after)


def unreachable(
    provider: Provider, verdict: Verdict, retry_after: int | None = None
) -> ProviderUnreachable:
    """The error for a provider that gave no usable answer; `retry_after` is in seconds."""
    return ProviderUnreachable(
        f"Provider '{provider}' could not be asked ({verdict.value})",
        retry_after=RETRY_AFTER if retry_after is None else retry_after,
    )


def retry_after_seconds(header: str | None) -> int | None:
    """A `Retry-After` header (RFC 9110 section 10.2.3) in seconds, brought within 1 to 300.

    None without one, and for its other form, a date: the provider's clock is not ours.
    """
    if header is None or not (header.isascii() and header.isdigit()) or len(header) > 9:
        return None
    return max(1, min(int(header), LONGEST_RETRY_AFTER))
