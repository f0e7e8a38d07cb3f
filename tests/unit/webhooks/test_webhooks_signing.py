"""Signatures, against the published example and the specification's own package."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as ReferenceVerifier

from model_service.kernel.secret import Secret
from model_service.webhooks.signing import new_secret, signed_headers

# The example of the specification's reference libraries.
SECRET = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
MOMENT = datetime.fromtimestamp(1614265330, UTC)
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_example_is_signed_as_published() -> None:
    assert signed_headers([SECRET], ID, MOMENT, BODY) == (
        ("webhook-id", ID),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", SIGNATURE),
    )


@given(body=st.text().map(str.encode), count=st.integers(1, 3))
def test_the_reference_package_accepts_what_is_signed_by_any_of_its_secrets(
    body: bytes, count: int
) -> None:
    secrets = [new_secret() for _ in range(count)]
    headers = dict(signed_headers(secrets, "a-message", datetime.now(UTC), body))
    for secret in secrets:
        ReferenceVerifier(secret.reveal()).verify(body, headers, json_parse=False)


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_a_changed_body_has_another_signature(at: int, mask: int) -> None:
    changed = BODY[:at] + bytes((BODY[at] ^ mask,)) + BODY[at + 1 :]
    assert signed_headers([SECRET], ID, MOMENT, changed)[2][1] != SIGNATURE


def test_the_time_of_the_attempt_counts_in_whole_seconds() -> None:
    late_in_the_second = MOMENT.replace(microsecond=999_000)
    assert signed_headers([SECRET], ID, late_in_the_second, BODY)[2][1] == SIGNATURE


def test_two_secrets_give_two_signatures_in_their_order() -> None:
    other = new_secret()
    signatures = signed_headers([other, SECRET], ID, MOMENT, BODY)[2][1].split(" ")
    assert signatures == [signed_headers([other], ID, MOMENT, BODY)[2][1], SIGNATURE]


def test_an_id_with_a_full_stop_is_not_signed() -> None:
    with pytest.raises(ValueError, match="full stop"):
        signed_headers([SECRET], "a.1614265330", MOMENT, BODY)


def test_a_new_secret_is_32_random_bytes_in_the_standard_form() -> None:
    made = [new_secret().reveal() for _ in range(8)]
    assert len(set(made)) == 8
    assert {len(base64.b64decode(one.removeprefix("whsec_"), validate=True)) for one in made} == {
        32
    }
    assert all(one.startswith("whsec_") for one in made)
