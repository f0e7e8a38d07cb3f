"""Errors in OpenAI's shape and its relatives': read by their status and words, and written."""

from typing import Any

import openai
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.faults import STATUSES, Fault, FaultKind
from model_service.providers.openai_faults import OpenAIFaults, holds_error

from .official import client, streaming

FAULTS = OpenAIFaults()

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("error", "message", "code", "type", "param", "detail", "loc", "metadata")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def openai_error(message: str, kind: str | None, code: str | None, param: str | None = None) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (
            401,
            openai_error("Incorrect API key provided", "invalid_request_error", "invalid_api_key"),
            FaultKind.KEY_REFUSED,
        ),
        (
            403,
            openai_error(
                "Country, region, or territory not supported",
                "request_forbidden",
                "unsupported_country_region_territory",
            ),
            FaultKind.PERMISSION,
        ),
        (
            404,
            openai_error(
                "The model `x` does not exist", "invalid_request_error", "model_not_found"
            ),
            FaultKind.NOT_FOUND,
        ),
        (
            400,
            openai_error("too long", "invalid_request_error", "context_length_exceeded"),
            FaultKind.CONTEXT_LENGTH,
        ),
        (
            429,
            openai_error("Rate limit reached for gpt-6", "tokens", "rate_limit_exceeded"),
            FaultKind.RATE_LIMITED,
        ),
        (
            429,
            openai_error("Check your plan", "insufficient_quota", "insufficient_quota"),
            FaultKind.QUOTA_EXHAUSTED,
        ),
        (
            429,
            openai_error("Slow down", "rate_limit_error", "slow_down"),
            FaultKind.RATE_LIMITED,
        ),
        (
            503,
            openai_error("Try again", "service_unavailable_error", "server_is_overloaded"),
            FaultKind.OVERLOADED,
        ),
        (500, openai_error("Sorry about that", "server_error", None), FaultKind.UPSTREAM),
        (
            400,
            openai_error("Bad value", "invalid_request_error", "invalid_value", "top_p"),
            FaultKind.INVALID_REQUEST,
        ),
        (413, None, FaultKind.TOO_LARGE),
        (409, None, FaultKind.CONFLICT),
        (408, None, FaultKind.TIMEOUT),
        (504, None, FaultKind.TIMEOUT),
        (529, None, FaultKind.OVERLOADED),
        (418, None, FaultKind.INVALID_REQUEST),
    ],
)
def test_the_status_says_what_it_is_and_the_code_says_it_better(
    status: int, document: object, kind: FaultKind
) -> None:
    fault = FAULTS.fault(status, document)
    assert fault.kind is kind
    assert fault.status == status


@pytest.mark.parametrize(
    ("status", "document", "kind", "message"),
    [
        # Azure: its content filter, a deployment that is not there, no capacity, a wrong key
        (
            400,
            {
                "error": {
                    "message": "The response was filtered",
                    "type": None,
                    "param": "prompt",
                    "code": "content_filter",
                    "status": 400,
                    "innererror": {
                        "code": "ResponsibleAIPolicyViolation",
                        "content_filter_result": {"hate": {"filtered": True}},
                    },
                }
            },
            FaultKind.CONTENT_FILTER,
            "The response was filtered",
        ),
        (
            400,
            {"error": {"message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            FaultKind.CONTENT_FILTER,
            "m",
        ),
        (
            404,
            {"error": {"code": "DeploymentNotFound", "message": "No such deployment"}},
            FaultKind.NOT_FOUND,
            "No such deployment",
        ),
        (
            429,
            {"error": {"code": "429", "message": "Retry after 8 seconds"}},
            FaultKind.RATE_LIMITED,
            "Retry after 8 seconds",
        ),
        (
            503,
            {"error": {"code": "NoCapacity", "message": "High demand"}},
            FaultKind.OVERLOADED,
            "High demand",
        ),
        # a gateway before Azure
        (
            401,
            {"statusCode": 401, "message": "Access denied"},
            FaultKind.KEY_REFUSED,
            "Access denied",
        ),
        # xAI
        (
            400,
            {"code": "Client specified an invalid argument", "error": "Incorrect API key provided"},
            FaultKind.KEY_REFUSED,
            "Incorrect API key provided",
        ),
        (
            400,
            {"code": "invalid", "error": "This model's maximum prompt length is 131072 tokens"},
            FaultKind.CONTEXT_LENGTH,
            "This model's maximum prompt length is 131072 tokens",
        ),
        # DeepSeek
        (
            402,
            openai_error("Insufficient Balance", "unknown_error", "invalid_request_error"),
            FaultKind.QUOTA_EXHAUSTED,
            "Insufficient Balance",
        ),
        # Mistral
        (
            422,
            {
                "object": "error",
                "message": {
                    "detail": [
                        {
                            "type": "extra_forbidden",
                            "loc": ["body", "messages", 0, "mood"],
                            "msg": "Extra inputs are not permitted",
                        }
                    ]
                },
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            },
            FaultKind.INVALID_REQUEST,
            "messages[0].mood: Extra inputs are not permitted",
        ),
        (401, {"detail": "Unauthorized"}, FaultKind.KEY_REFUSED, "Unauthorized"),
        # OpenRouter
        (
            429,
            {
                "error": {
                    "code": 429,
                    "message": "Provider returned error",
                    "metadata": {"raw": "x is rate-limited upstream", "provider_name": "X"},
                }
            },
            FaultKind.RATE_LIMITED,
            "Provider returned error: x is rate-limited upstream",
        ),
        # llama.cpp, vLLM
        (
            400,
            {"error": {"code": 400, "message": "m", "type": "exceed_context_size_error"}},
            FaultKind.CONTEXT_LENGTH,
            "m",
        ),
        (
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 8192 tokens",
                "type": "BadRequestError",
                "code": 400,
            },
            FaultKind.CONTEXT_LENGTH,
            "This model's maximum context length is 8192 tokens",
        ),
        # Gemini's compatible API
        (
            400,
            [{"error": {"code": 400, "message": "API key not valid", "status": "INVALID"}}],
            FaultKind.KEY_REFUSED,
            "API key not valid",
        ),
        # pages and other oddities
        (502, None, FaultKind.UPSTREAM, "The provider answered with status 502 and no message"),
        (500, "boom", FaultKind.UPSTREAM, "boom"),
        (500, [], FaultKind.UPSTREAM, "The provider answered with status 500 and no message"),
    ],
)
def test_every_vendors_shape_is_read(
    status: int, document: object, kind: FaultKind, message: str
) -> None:
    fault = FAULTS.fault(status, document)
    assert (fault.kind, fault.message) == (kind, message)


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": 502, "message": "Provider disconnected"}, FaultKind.UPSTREAM, 502),
        ({"code": "429", "message": "m"}, FaultKind.RATE_LIMITED, 429),
        ({"code": 403, "message": "flagged"}, FaultKind.PERMISSION, 403),
        ({"code": "server_is_overloaded", "message": "m"}, FaultKind.OVERLOADED, None),
        ({"type": "service_unavailable_error", "message": "m"}, FaultKind.OVERLOADED, None),
        ({"type": "invalid_request_error", "message": "m"}, FaultKind.INVALID_REQUEST, None),
        ({"type": "server_error", "message": "m"}, FaultKind.UPSTREAM, None),
        ({"type": "tokens", "message": "m"}, FaultKind.RATE_LIMITED, None),
        ({"code": 1305, "message": "m"}, FaultKind.UPSTREAM, None),
    ],
)
def test_an_error_within_a_200_is_read_by_its_own_words(
    error: object, kind: FaultKind, status: int | None
) -> None:
    fault = FAULTS.fault(200, {"error": error})
    assert (fault.kind, fault.status) == (kind, status)


def test_the_providers_code_and_param_are_kept() -> None:
    fault = FAULTS.fault(400, openai_error("m", "invalid_request_error", "invalid_value", "top_p"))
    assert (fault.code, fault.param) == ("invalid_value", "top_p")


def test_a_code_that_only_repeats_a_status_is_no_code() -> None:
    assert FAULTS.fault(400, {"error": {"code": 400, "message": "m"}}).code is None


def test_a_long_message_is_cut() -> None:
    assert len(FAULTS.fault(400, {"error": {"message": "m" * 100_000}}).message) == 8_000


@given(st.integers(0, 999), _json)
def test_any_document_gives_a_fault_that_can_be_written(status: int, document: object) -> None:
    fault = FAULTS.fault(status, document)
    assert fault.message
    written = FAULTS.error(fault, "")["error"]
    assert 400 <= FAULTS.status(fault) <= 599
    assert orjson.loads(orjson.dumps(written)) == written


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_kind_is_written_with_type_and_status(kind: FaultKind) -> None:
    fault = Fault(kind, "what happened", param="messages[0].content")
    error = FAULTS.error(fault, "req_1")["error"]
    assert error["message"].endswith("what happened")
    assert error["param"] == "messages[0].content"
    assert isinstance(error["type"], str)
    assert FAULTS.status(fault) == STATUSES[kind]


def test_the_providers_own_code_is_shown() -> None:
    fault = Fault(FaultKind.INVALID_REQUEST, "m", code="invalid_value")
    assert FAULTS.error(fault, "")["error"]["code"] == "invalid_value"


def test_a_field_that_the_provider_has_nothing_like_is_called_unsupported() -> None:
    error = FAULTS.error(Fault(FaultKind.UNSUPPORTED, "m"), "")["error"]
    assert error["code"] == "unsupported"
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(("status", "shown"), [(422, 422), (402, 402), (599, 599), (302, 400)])
def test_the_providers_status_is_kept_where_it_is_an_errors(status: int, shown: int) -> None:
    assert FAULTS.status(Fault(FaultKind.INVALID_REQUEST, "m", status=status)) == shown


def test_a_refused_stored_key_is_a_401_that_does_not_blame_the_callers_token() -> None:
    fault = FAULTS.fault(400, {"code": "c", "error": "Incorrect API key provided"})
    error = FAULTS.error(fault, "")["error"]
    assert FAULTS.status(fault) == 401
    assert error["message"] == ("The provider refused the stored key: Incorrect API key provided")
    assert error["code"] == "provider_key_refused"


def test_a_message_that_says_so_already_is_left_as_it_is() -> None:
    said = "The provider refused the stored key"
    error = FAULTS.error(Fault(FaultKind.KEY_REFUSED, said), "")["error"]
    assert error["message"] == said


def test_the_official_client_reads_the_error() -> None:
    fault = Fault(FaultKind.CONTEXT_LENGTH, "too long", param="messages")
    body = orjson.dumps(FAULTS.error(fault, "req_1"))
    with pytest.raises(openai.BadRequestError) as caught:
        client(body, status=FAULTS.status(fault)).models.list()
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"


def test_the_official_client_raises_the_error_of_a_stream() -> None:
    body = orjson.dumps(FAULTS.error(Fault(FaultKind.UPSTREAM, "cut off"), ""))
    stream = streaming(b"data: " + body + b"\n\n").chat.completions.create(
        model="m", messages=[], stream=True
    )
    with pytest.raises(openai.APIError, match="cut off") as caught:
        list(stream)
    assert caught.value.code == "upstream_error"


@pytest.mark.parametrize(
    ("document", "is_error"),
    [
        ({"error": {"message": "m"}}, True),
        ({"error": "m"}, True),
        ({"object": "error", "message": "m"}, True),
        ({"type": "error", "error": {}}, True),
        ({"error": None, "choices": []}, False),
        ({"object": "chat.completion.chunk", "choices": []}, False),
        ({}, False),
    ],
)
def test_an_error_in_a_200_is_told_from_an_answer(document: Any, is_error: bool) -> None:
    assert holds_error(document) is is_error


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("invalid_request_error", "context_length_exceeded"),  # all that Anthropic says
        ("INVALID_ARGUMENT", "context_length_exceeded"),
        ("exceed_context_size_error", "exceed_context_size_error"),
    ],
)
def test_callers_find_openais_word_for_a_context_that_is_too_long(code: str, shown: str) -> None:
    fault = Fault(FaultKind.CONTEXT_LENGTH, "too long", code=code)
    assert FAULTS.error(fault, "")["error"]["code"] == shown
