"""Errors of Anthropic's, read; and errors of anybody's, written as its door would."""

from typing import Any

import anthropic
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.dialects.anthropic.faults import AnthropicFaults
from model_service.providers.faults import Fault, FaultKind, invalid
from tests.unit.dialects.anthropic.wire_data import as_client_sees

FAULTS = AnthropicFaults()

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "type", "message", "details", "error_code"]), inner
        )
    ),
    max_leaves=8,
)


def body(kind: str, message: str = "No.", **more: Any) -> dict[str, Any]:
    return {
        "type": "error",
        "error": {"type": kind, "message": message, **more},
        "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
    }


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        (400, "invalid_request_error", FaultKind.INVALID_REQUEST),
        (401, "authentication_error", FaultKind.KEY_REFUSED),
        (402, "billing_error", FaultKind.QUOTA_EXHAUSTED),
        (403, "permission_error", FaultKind.PERMISSION),
        (404, "not_found_error", FaultKind.NOT_FOUND),
        (409, "conflict_error", FaultKind.CONFLICT),
        (413, "request_too_large", FaultKind.TOO_LARGE),
        (422, "invalid_request_error", FaultKind.INVALID_REQUEST),
        (429, "rate_limit_error", FaultKind.RATE_LIMITED),
        (500, "api_error", FaultKind.UPSTREAM),
        (502, "", FaultKind.UPSTREAM),
        (503, "", FaultKind.UNAVAILABLE),
        (504, "timeout_error", FaultKind.TIMEOUT),
        (529, "overloaded_error", FaultKind.OVERLOADED),
    ],
)
def test_a_status_says_what_kind_of_fault_it_is(status: int, word: str, kind: FaultKind) -> None:
    fault = FAULTS.fault(status, body(word))
    assert (fault.kind, fault.status, fault.message) == (kind, status, "No.")


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("overloaded_error", FaultKind.OVERLOADED),
        ("rate_limit_error", FaultKind.RATE_LIMITED),
        ("authentication_error", FaultKind.KEY_REFUSED),
        ("invalid_request_error", FaultKind.INVALID_REQUEST),
        ("timeout_error", FaultKind.TIMEOUT),
        ("api_error", FaultKind.UPSTREAM),
        ("a_kind_to_come", FaultKind.UPSTREAM),
    ],
)
def test_within_a_stream_the_type_says_what_kind_it_is(word: str, kind: FaultKind) -> None:
    fault = FAULTS.fault(200, body(word))
    assert (fault.kind, fault.status, fault.code) == (kind, None, word)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("prompt is too long: 214032 tokens > 200000 maximum", FaultKind.CONTEXT_LENGTH),
        (
            "input length and `max_tokens` exceed context limit: 198000 + 8192 > 200000",
            FaultKind.CONTEXT_LENGTH,
        ),
        (
            "Your credit balance is too low to access the Anthropic API.",
            FaultKind.QUOTA_EXHAUSTED,
        ),
        ("You have reached your specified API usage limits.", FaultKind.QUOTA_EXHAUSTED),
        ("Output blocked by content filtering policy", FaultKind.CONTENT_FILTER),
    ],
)
def test_the_words_of_an_invalid_request_tell_more(message: str, kind: FaultKind) -> None:
    assert FAULTS.fault(400, body("invalid_request_error", message)).kind is kind


def test_words_do_not_outweigh_a_status_that_says_enough() -> None:
    fault = FAULTS.fault(429, body("rate_limit_error", "prompt is too long for this minute"))
    assert fault.kind is FaultKind.RATE_LIMITED


def test_a_spent_limit_is_no_limit_that_passes() -> None:
    details = {"error_code": "enforced_spend_limit_reached"}
    fault = FAULTS.fault(429, body("rate_limit_error", details=details))
    assert (fault.kind, fault.code) == (FaultKind.QUOTA_EXHAUSTED, "enforced_spend_limit_reached")


def test_a_page_of_html_is_a_fault_that_names_the_status() -> None:
    fault = FAULTS.fault(502, None)
    assert (fault.kind, fault.code) == (FaultKind.UPSTREAM, None)
    assert "502" in fault.message


@given(st.sampled_from([200, 400, 401, 429, 500, 529]), _json)
def test_whatever_a_provider_says_is_a_fault_with_a_message(status: int, document: object) -> None:
    assert FAULTS.fault(status, document).message


@pytest.mark.parametrize("kind", FaultKind)
def test_the_client_understands_every_kind(kind: FaultKind) -> None:
    fault = Fault(kind, "No.")
    document = FAULTS.error(fault, "req_1")
    with pytest.raises(anthropic.APIStatusError) as failed:
        as_client_sees(orjson.dumps(document), "application/json", FAULTS.status(fault))
    seen = failed.value
    assert seen.api_message == document["error"]["message"]
    assert seen.type == document["error"]["type"]
    assert document["request_id"] == "req_1"


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        (FaultKind.INVALID_REQUEST, 400, "invalid_request_error"),
        (FaultKind.UNSUPPORTED, 400, "invalid_request_error"),
        (FaultKind.UNAUTHENTICATED, 401, "authentication_error"),
        (FaultKind.PERMISSION, 403, "permission_error"),
        (FaultKind.NOT_FOUND, 404, "not_found_error"),
        (FaultKind.TOO_LARGE, 413, "request_too_large"),
        (FaultKind.CONTEXT_LENGTH, 400, "invalid_request_error"),
        (FaultKind.RATE_LIMITED, 429, "rate_limit_error"),
        (FaultKind.QUOTA_EXHAUSTED, 429, "rate_limit_error"),
        (FaultKind.OVERLOADED, 529, "overloaded_error"),
        (FaultKind.UNAVAILABLE, 503, "api_error"),
        (FaultKind.TIMEOUT, 504, "timeout_error"),
        (FaultKind.UPSTREAM, 502, "api_error"),
        (FaultKind.INTERNAL, 500, "api_error"),
    ],
)
def test_a_fault_of_ours_has_the_status_and_type_of_its_kind(
    kind: FaultKind, status: int, word: str
) -> None:
    fault = Fault(kind, "No.")
    assert (FAULTS.status(fault), FAULTS.error(fault, "")["error"]["type"]) == (status, word)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (402, "billing_error"),
        (408, "timeout_error"),
        (422, "invalid_request_error"),
        (500, "api_error"),
    ],
)
def test_a_providers_own_status_stays_and_has_its_type(status: int, word: str) -> None:
    fault = Fault(FaultKind.QUOTA_EXHAUSTED, "No.", status=status)
    assert (FAULTS.status(fault), FAULTS.error(fault, "")["error"]["type"]) == (status, word)


def test_an_overloaded_provider_is_overloaded_whatever_its_status() -> None:
    fault = Fault(FaultKind.OVERLOADED, "No.", status=503)
    assert FAULTS.status(fault) == 503
    assert FAULTS.error(fault, "")["error"]["type"] == "overloaded_error"


def test_a_status_that_is_no_errors_is_not_given_on() -> None:
    assert FAULTS.status(Fault(FaultKind.UPSTREAM, "No.", status=200)) == 502


def test_a_refused_key_is_told_from_the_callers_own_token() -> None:
    fault = Fault(FaultKind.KEY_REFUSED, "API key not valid.", status=400)
    document = FAULTS.error(fault, "req_1")
    assert FAULTS.status(fault) == 401
    assert document["error"] == {
        "type": "authentication_error",
        "message": "The provider refused the stored key: API key not valid.",
    }


def test_the_words_about_a_refused_key_are_not_doubled() -> None:
    fault = Fault(FaultKind.KEY_REFUSED, "The provider refused the stored key")
    assert FAULTS.error(fault, "")["error"]["message"] == "The provider refused the stored key"


def test_a_code_that_is_no_type_stands_where_clients_look_for_codes() -> None:
    failed = invalid("messages[0].content", "is required")
    assert "details" not in FAULTS.error(failed.fault, "")["error"]
    fault = Fault(FaultKind.CONTEXT_LENGTH, "Too long.", code="context_length_exceeded")
    details = FAULTS.error(fault, "")["error"]["details"]
    assert details == {"error_code": "context_length_exceeded"}


def test_an_error_of_anthropics_own_comes_out_as_it_went_in() -> None:
    document = body("overloaded_error", "Overloaded")
    fault = FAULTS.fault(529, document)
    assert FAULTS.error(fault, document["request_id"]) == document
