"""Stripe's client as it is used here: loaded when needed, its errors taken for what they are."""

import subprocess
import sys

import pytest
import stripe

from model_service.billing.outbox import Answer
from model_service.billing.stripe_meter import answer_of


def test_stripes_client_is_not_loaded_before_there_is_something_to_send() -> None:
    program = "import sys, model_service.app; sys.exit('stripe' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("status", "code", "message", "answer"),
    [
        (400, None, "An event already exists with identifier 7.", Answer.TAKEN),
        (400, "duplicate_meter_event", "A duplicate.", Answer.TAKEN),
        (400, "resource_missing", "No such customer", Answer.REFUSED),
        (400, "rate_limit", "Slow down", Answer.BUSY),
        (401, None, "Invalid API Key provided", Answer.KEY_REFUSED),
        (403, None, "Not allowed", Answer.KEY_REFUSED),
        (404, None, "Unrecognized request URL", Answer.REFUSED),
        (409, "idempotency_key_in_use", "Another request", Answer.LOST),
        (429, "rate_limit", "Slow down", Answer.BUSY),
        (500, None, "Sorry", Answer.FAILED),
        (503, None, "Sorry", Answer.FAILED),
        (200, None, "", Answer.LOST),
    ],
)
def test_an_error_is_taken_for_what_it_means(
    status: int, code: str | None, message: str, answer: Answer
) -> None:
    error = stripe.StripeError(
        message, http_status=status, json_body={"error": {}}, code=code, headers={}
    )
    assert answer_of(error).answer is answer


def test_a_page_from_something_in_between_is_not_kept_as_a_reason() -> None:
    page = "<html>sk_live_secret</html>"
    error = stripe.APIError(f"Invalid response object from API: {page!r}", page, 502, None, {})
    sent = answer_of(error)
    assert (sent.answer, sent.reason) == (Answer.FAILED, "502 no API answer")


def test_a_reason_is_one_short_line() -> None:
    error = stripe.InvalidRequestError(  # type: ignore[no-untyped-call]
        "bad\r\n" + "x" * 1000, "param", http_status=400, json_body={"error": {}}
    )
    reason = answer_of(error).reason or ""
    assert len(reason) == 300
    assert reason.isprintable()
