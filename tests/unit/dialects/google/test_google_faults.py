"""How the API says what is wrong, and how its door does."""

from typing import Any

import pytest
from google.genai import errors
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.dialects.google.faults import GoogleFaults
from model_service.providers.faults import Fault, FaultKind

TYPE = "type.googleapis.com/google.rpc."


def error(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        document["details"] = list(details)
    return {"error": document}


def info(reason: str) -> dict[str, Any]:
    return {"@type": f"{TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def quota(quota_id: str) -> dict[str, Any]:
    return {
        "@type": f"{TYPE}QuotaFailure",
        "violations": [{"quotaMetric": "generate_requests", "quotaId": quota_id}],
    }


def delay(text: Any) -> dict[str, Any]:
    return {"@type": f"{TYPE}RetryInfo", "retryDelay": text}


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (400, error(400, "INVALID_ARGUMENT", "Bad value"), FaultKind.INVALID_REQUEST),
        (
            400,
            error(400, "INVALID_ARGUMENT", "API key not valid.", info("API_KEY_INVALID")),
            FaultKind.KEY_REFUSED,
        ),
        (
            400,
            error(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."),
            FaultKind.KEY_REFUSED,
        ),
        (
            403,
            error(403, "PERMISSION_DENIED", "Blocked.", info("API_KEY_SERVICE_BLOCKED")),
            FaultKind.KEY_REFUSED,
        ),
        (
            403,
            error(403, "PERMISSION_DENIED", "Your API key was reported as leaked."),
            FaultKind.KEY_REFUSED,
        ),
        (403, error(403, "PERMISSION_DENIED", "No access to it"), FaultKind.PERMISSION),
        (401, error(401, "UNAUTHENTICATED", "Wrong credentials"), FaultKind.KEY_REFUSED),
        (404, error(404, "NOT_FOUND", "models/x is not found"), FaultKind.NOT_FOUND),
        (409, error(409, "ABORTED", "Again"), FaultKind.CONFLICT),
        (
            400,
            error(
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed "
                "(1048576).",
            ),
            FaultKind.CONTEXT_LENGTH,
        ),
        (
            400,
            error(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520"),
            FaultKind.TOO_LARGE,
        ),
        (
            400,
            error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
            FaultKind.PERMISSION,
        ),
        (
            400,
            error(400, "FAILED_PRECONDITION", "The file is not in an ACTIVE state"),
            FaultKind.INVALID_REQUEST,
        ),
        (
            429,
            error(429, "RESOURCE_EXHAUSTED", "Slow", quota("GenerateRequestsPerMinute")),
            FaultKind.RATE_LIMITED,
        ),
        (
            429,
            error(429, "RESOURCE_EXHAUSTED", "Slow", quota("GenerateRequestsPerDay-FreeTier")),
            FaultKind.QUOTA_EXHAUSTED,
        ),
        (
            429,
            error(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
            FaultKind.QUOTA_EXHAUSTED,
        ),
        (500, error(500, "INTERNAL", "An internal error"), FaultKind.UPSTREAM),
        (501, error(501, "UNIMPLEMENTED", "Not there"), FaultKind.UNSUPPORTED),
        (503, error(503, "UNAVAILABLE", "The model is overloaded."), FaultKind.OVERLOADED),
        (504, error(504, "DEADLINE_EXCEEDED", "Too slow"), FaultKind.TIMEOUT),
        (502, None, FaultKind.UPSTREAM),
        (413, None, FaultKind.TOO_LARGE),
        (418, {}, FaultKind.INVALID_REQUEST),
    ],
)
def test_a_status_and_its_details_tell_what_kind_of_fault_it_is(
    status: int, document: Any, kind: FaultKind
) -> None:
    fault = GoogleFaults().fault(status, document)
    assert fault.kind is kind
    assert fault.status == status


def test_the_providers_message_and_word_are_kept() -> None:
    fault = GoogleFaults().fault(404, error(404, "NOT_FOUND", "models/x is not found"))
    assert fault.message == "models/x is not found"
    assert fault.code == "NOT_FOUND"


def test_the_reason_is_a_better_word_than_the_status() -> None:
    document = error(400, "INVALID_ARGUMENT", "API key not valid.", info("API_KEY_INVALID"))
    assert GoogleFaults().fault(400, document).code == "API_KEY_INVALID"


def test_an_error_within_a_200_has_its_own_status() -> None:
    fault = GoogleFaults().fault(200, error(503, "UNAVAILABLE", "High demand"))
    assert (fault.kind, fault.status) == (FaultKind.OVERLOADED, 503)


def test_an_error_may_stand_in_a_list() -> None:
    fault = GoogleFaults().fault(429, [error(429, "RESOURCE_EXHAUSTED", "Slow", delay("7s"))])
    assert (fault.kind, fault.message) == (FaultKind.RATE_LIMITED, "Slow")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("37s", 37), ("34.074824224s", 35), ("0s", 0), ("soon", None), ("-1s", None), (5, None),
     ("nans", None), ("infs", None)],
)  # fmt: skip
def test_a_retry_delay_is_rounded_up_to_whole_seconds(text: Any, seconds: int | None) -> None:
    document = error(429, "RESOURCE_EXHAUSTED", "Slow", delay(text))
    assert GoogleFaults().fault(429, document).retry_after == seconds


def test_a_violation_names_the_field() -> None:
    violation = {"field": "contents[0].role", "description": "Please use a valid role."}
    details = {"@type": f"{TYPE}BadRequest", "fieldViolations": [violation]}
    fault = GoogleFaults().fault(400, error(400, "INVALID_ARGUMENT", "Bad role", details))
    assert fault.param == "contents[0].role"


@pytest.mark.parametrize("kind", list(FaultKind))
def test_the_official_client_raises_every_kind_with_its_message(kind: FaultKind) -> None:
    faults = GoogleFaults()
    fault = Fault(kind, "What went wrong", param="contents", retry_after=3)
    status = faults.status(fault)
    with pytest.raises(errors.APIError) as raised:
        errors.APIError.raise_error(status, faults.error(fault, "req-1"), None)
    assert raised.value.code == status
    assert raised.value.message is not None
    assert raised.value.message.endswith("What went wrong")
    assert isinstance(raised.value, errors.ClientError if status < 500 else errors.ServerError)


def test_the_door_says_field_delay_and_request_in_the_details() -> None:
    fault = Fault(FaultKind.RATE_LIMITED, "Slow", param="contents", retry_after=3)
    details = GoogleFaults().error(fault, "req-1")["error"]["details"]
    assert details[1:] == [
        {
            "@type": f"{TYPE}BadRequest",
            "fieldViolations": [{"field": "contents", "description": "Slow"}],
        },
        delay("3s"),
        {"@type": f"{TYPE}RequestInfo", "requestId": "req-1"},
    ]


def test_the_providers_status_is_the_doors() -> None:
    assert GoogleFaults().status(Fault(FaultKind.OVERLOADED, "Busy", status=529)) == 529


def test_a_refused_key_is_not_taken_for_the_callers_token() -> None:
    fault = Fault(FaultKind.KEY_REFUSED, "API key not valid.", status=400)
    document = GoogleFaults().error(fault, "")["error"]
    assert document["code"] == 401
    assert document["message"] == "The provider refused the stored key: API key not valid."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["error", "details", "code", "message", "status", "@type", "reason", "violations",
             "fieldViolations", "field", "retryDelay", "quotaId"]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


@given(JSON, st.sampled_from([200, 400, 429, 500]))
def test_no_shape_of_an_error_breaks_the_reader(document: Any, status: int) -> None:
    fault = GoogleFaults().fault(status, document)
    assert fault.message
    assert GoogleFaults().error(fault, "")["error"]["code"] >= 400
