"""The service's own small secrets are bound to what they belong to."""

from uuid import UUID

import pytest

from model_service.kernel.errors import IntegrityFailure
from model_service.kernel.secret import Secret
from model_service.vault.box import KeyringBox
from model_service.vault.envelope import AssociatedData
from tests.unit.vault.vault_fakes import keyring_of

KEYRING = keyring_of({1: bytes(32)})
RECORD = UUID("0198c1de-0000-7000-8000-00000000000a")
OTHER = UUID("0198c1de-0000-7000-8000-00000000000b")
VALUE = Secret("whsec_made-up")


def test_a_small_secret_is_a_record_of_no_user_at_a_place_of_the_service() -> None:
    stored = KeyringBox(KEYRING).seal("webhooks", RECORD, VALUE)
    place = AssociatedData(
        record_id=RECORD,
        user_id="",
        provider="service:webhooks",
        key_version=0,
        endpoint_origin="",
    )
    assert KEYRING.open(stored, place).reveal() == VALUE.reveal()


def test_a_small_secret_opens_where_it_was_sealed() -> None:
    box = KeyringBox(KEYRING)
    opened = box.open("webhooks", RECORD, box.seal("webhooks", RECORD, VALUE))
    assert opened.reveal() == VALUE.reveal()


@pytest.mark.parametrize(
    ("place", "record_id"),
    [("webhooks", OTHER), ("audit_keys", RECORD)],
    ids=["another record", "another place"],
)
def test_a_small_secret_opens_nowhere_else(place: str, record_id: UUID) -> None:
    box = KeyringBox(KEYRING)
    stored = box.seal("webhooks", RECORD, VALUE)
    with pytest.raises(IntegrityFailure):
        box.open(place, record_id, stored)
