"""The errors by which OpenAI's API says what is wrong, for models that misbehave.

After https://developers.openai.com/api/docs/guides/error-codes and errors of the live API.
"""

from collections.abc import Mapping
from typing import Final

from model_service.sandbox.faults import RETRY_AFTER, Fault
from model_service.sandbox.openai_shapes import Refused

_SORRY: Final = "The server had an error while processing your request. Sorry about that!"

#: The window that a model has which finds its input too long.
_WINDOW: Final = 1_047_576


def error(fault: Fault, model: str, key: str, input_field: str) -> Refused:
    """The error for a fault; `input_field` is where this way of calling has the conversation."""
    match fault:
        case Fault.LIMITED:
            return Refused(
                f"Rate limit reached for {model} in organization org-sandbox on requests per min "
                f"(RPM): Limit 500, Used 500, Requested 1. Please try again in {RETRY_AFTER}s. "
                "Visit https://platform.openai.com/account/rate-limits to learn more.",
                None,
                "rate_limit_exceeded",
                status=429,
                kind="requests",
            )
        case Fault.NO_CREDIT:
            return Refused(
                "You exceeded your current quota, please check your plan and billing details. For "
                "more information on this error, read the docs: "
                "https://platform.openai.com/docs/guides/error-codes/api-errors.",
                None,
                "insufficient_quota",
                status=429,
                kind="insufficient_quota",
            )
        case Fault.UNAVAILABLE:
            return Refused(
                "The engine is currently overloaded, please try again later",
                status=503,
                kind="server_error",
            )
        case Fault.OVERLOADED:
            return Refused(
                "Our servers are currently overloaded. Please try again later.",
                None,
                "server_is_overloaded",
                status=503,
                kind="service_unavailable_error",
            )
        case Fault.CONTEXT:
            return too_long(_WINDOW, 2 * _WINDOW, input_field)
        case Fault.FILTER:
            return Refused(
                "Invalid prompt: your prompt was flagged as potentially violating our usage "
                "policy. Please try again with a different prompt: "
                "https://platform.openai.com/docs/guides/reasoning#advice-on-prompting",
                None,
                "invalid_prompt",
            )
        case Fault.REFUSED_PARAM:
            return Refused(
                "Unsupported parameter: 'temperature' is not supported with this model.",
                "temperature",
                "unsupported_parameter",
            )
        case Fault.TOO_LARGE:
            return Refused("Maximum content size limit (26214400) exceeded", status=413)
        case Fault.ECHO:
            return Refused(f"Incorrect API key provided: {key}.", None, "invalid_api_key")
        case Fault.ERROR_200:
            return broken(status=200)
        case _:
            return broken()


def broken(status: int = 500) -> Refused:
    """The error of a server that failed."""
    return Refused(_SORRY, status=status, kind="server_error")


def too_long(window: int, tokens: int, input_field: str) -> Refused:
    """The error for a conversation that is longer than the model's window."""
    if input_field == "input":
        message = (
            "Your input exceeds the context window of this model. Please adjust your input and "
            "try again."
        )
    else:
        message = (
            f"This model's maximum context length is {window} tokens. However, your messages "
            f"resulted in {tokens} tokens. Please reduce the length of the messages."
        )
    return Refused(message, input_field, "context_length_exceeded")


def limits(remaining: int = 499) -> Mapping[str, str]:
    """The headers that tell how much of the rate limits is left."""
    return {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-requests": str(remaining),
        "x-ratelimit-remaining-tokens": "199000" if remaining else "0",
        "x-ratelimit-reset-requests": "120ms" if remaining else f"{RETRY_AFTER}s",
        "x-ratelimit-reset-tokens": "300ms" if remaining else f"{RETRY_AFTER}s",
    }


def retry_headers() -> Mapping[str, str]:
    """The headers that say when to come back."""
    return {
        "retry-after": str(RETRY_AFTER),
        "retry-after-ms": str(RETRY_AFTER * 1000),
        **limits(0),
    }
