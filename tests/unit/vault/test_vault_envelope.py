import hashlib
from dataclasses import replace
from typing import NoReturn
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from model_service.kernel.errors import IntegrityFailure, InvalidInput
from model_service.kernel.secret import Secret
from model_service.vault import envelope
from model_service.vault.encoding import decode_base64, encode_base64
from model_service.vault.envelope import (
    HEADER,
    MIN_RECORD_BYTES,
    AssociatedData,
    Envelope,
    ciphertext_sha256,
    open_envelope,
    seal_envelope,
    term_of,
)
from model_service.vault.primitives import aes_gcm_open
from tests.unit.vault.vault_fakes import AAD, keyring_of

DEK = bytes(range(32))
OTHER_DEK = bytes(range(1, 33))
PLAINTEXT = b"sk-plaintext-0123456789"

texts = st.text(st.characters(exclude_categories=["Cs"]))
places = st.builds(
    AssociatedData,
    record_id=st.uuids(),
    user_id=texts,
    provider=texts,
    key_version=st.integers(0, 2**32 - 1),
    endpoint_origin=texts,
)


def opens(stored: str, aad: AssociatedData = AAD) -> bool:
    """Whether a keyring holding DEK as its term 1 opens the record at `aad`."""
    try:
        keyring_of({1: DEK}).open(stored, aad)
    except IntegrityFailure:
        return False
    return True


def sealed(plaintext: bytes = PLAINTEXT, aad: AssociatedData = AAD) -> bytes:
    return decode_base64(seal_envelope(DEK, 1, aad, plaintext).text())


@given(texts, places)
def test_any_text_comes_back_at_the_place_it_was_sealed_for(
    text: str, place: AssociatedData
) -> None:
    keyring = keyring_of({1: DEK})
    assert keyring.open(keyring.seal(place, Secret(text)), place).reveal() == text


@given(st.binary(), st.integers(0, 2**32 - 1))
def test_any_bytes_come_back_under_any_term(plaintext: bytes, term: int) -> None:
    record = Envelope.parse(seal_envelope(DEK, term, AAD, plaintext).text())
    assert record.term == term
    assert open_envelope(DEK, term, record, AAD) == plaintext


def test_the_fields_lie_where_the_format_says() -> None:
    record = sealed()
    assert record[:6] == bytes([1, 1, 0, 0, 0, 1])
    assert HEADER.size == 1 + 1 + 4 + 16 + 12 + 32
    assert len(record) == HEADER.size + len(PLAINTEXT) + 16


def test_two_records_of_one_plaintext_share_neither_salt_nor_iv_nor_commit() -> None:
    first, second = (seal_envelope(DEK, 1, AAD, PLAINTEXT) for _ in range(2))
    assert first.salt != second.salt
    assert first.iv != second.iv
    assert first.commit != second.commit
    assert first.sealed != second.sealed


def test_a_record_with_any_one_bit_flipped_does_not_open() -> None:
    record = sealed()
    flipped = [
        bit
        for bit in range(len(record) * 8)
        if opens(
            encode_base64(
                (int.from_bytes(record) ^ (1 << bit)).to_bytes(len(record)),
            )
        )
    ]
    assert opens(encode_base64(record))
    assert flipped == []


def test_a_record_cut_to_any_length_does_not_open() -> None:
    record = sealed()
    assert [cut for cut in range(len(record)) if opens(encode_base64(record[:cut]))] == []


def test_a_record_cut_at_its_front_does_not_open() -> None:
    record = sealed()
    assert [cut for cut in range(1, len(record)) if opens(encode_base64(record[cut:]))] == []


@given(st.binary(min_size=1, max_size=64))
def test_a_record_extended_at_either_end_does_not_open(extension: bytes) -> None:
    record = sealed()
    assert not opens(encode_base64(record + extension))
    assert not opens(encode_base64(extension + record))


def test_a_record_with_any_character_of_its_text_changed_does_not_open() -> None:
    text = encode_base64(sealed())
    changed = [
        index
        for index in range(len(text))
        for character in "A/=\n é"
        if text[index] != character and opens(text[:index] + character + text[index + 1 :])
    ]
    assert changed == []


@given(st.binary(max_size=MIN_RECORD_BYTES - 1))
def test_bytes_shorter_than_an_empty_record_are_too_short(data: bytes) -> None:
    with pytest.raises(IntegrityFailure, match="too short"):
        Envelope.parse(encode_base64(data))


@given(st.text())
def test_no_text_of_chance_opens(text: str) -> None:
    assert not opens(text)


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param(replace(AAD, record_id=UUID(int=1)), id="record"),
        pytest.param(replace(AAD, user_id="user-2"), id="user"),
        pytest.param(replace(AAD, provider="ANTHROPIC"), id="provider"),
        pytest.param(replace(AAD, key_version=2), id="key version"),
        pytest.param(replace(AAD, endpoint_origin="https://evil.example"), id="endpoint"),
        pytest.param(replace(AAD, user_id="user-1 "), id="user with a space"),
        pytest.param(replace(AAD, user_id=""), id="no user"),
        pytest.param(replace(AAD, user_id="\ud800"), id="user that is not Unicode"),
        pytest.param(replace(AAD, key_version=-1), id="impossible key version"),
    ],
)
def test_a_record_does_not_open_elsewhere(elsewhere: AssociatedData) -> None:
    assert not opens(encode_base64(sealed()), elsewhere)


@given(places, places)
def test_a_record_opens_at_no_other_place_than_its_own(
    place: AssociatedData, other: AssociatedData
) -> None:
    assume(place != other)
    assert not opens(encode_base64(sealed(aad=place)), other)


@given(texts, texts.filter(bool), texts)
def test_characters_cannot_move_from_one_part_to_the_next(head: str, moved: str, tail: str) -> None:
    left = replace(AAD, user_id=head + moved, provider=tail)
    right = replace(AAD, user_id=head, provider=moved + tail)
    assert left.encode(1) != right.encode(1)
    assert not opens(encode_base64(sealed(aad=left)), right)


@pytest.mark.parametrize("place", [replace(AAD, user_id="\ud800"), replace(AAD, key_version=2**32)])
def test_nothing_is_sealed_for_a_place_that_has_no_encoding(place: AssociatedData) -> None:
    with pytest.raises(InvalidInput):
        seal_envelope(DEK, 1, place, PLAINTEXT)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_a_record_of_another_version_is_named_as_such(version: int) -> None:
    record = sealed()
    with pytest.raises(IntegrityFailure, match="unknown version"):
        Envelope.parse(encode_base64(bytes([version]) + record[1:]))


@pytest.mark.parametrize("suite", [0, 2, 255])
def test_a_record_of_another_suite_is_named_as_such(suite: int) -> None:
    record = sealed()
    with pytest.raises(IntegrityFailure, match="unknown cipher suite"):
        Envelope.parse(encode_base64(record[:1] + bytes([suite]) + record[2:]))


def test_a_record_of_another_term_is_named_as_such() -> None:
    with pytest.raises(IntegrityFailure, match="another term"):
        open_envelope(DEK, 2, Envelope.parse(encode_base64(sealed())), AAD)


def test_a_record_relabelled_to_a_term_of_the_same_key_does_not_open() -> None:
    relabelled = seal_envelope(DEK, 1, AAD, PLAINTEXT)._replace(term=2)
    with pytest.raises(IntegrityFailure):
        open_envelope(DEK, 2, relabelled, AAD)


def test_a_record_of_another_data_key_does_not_open() -> None:
    with pytest.raises(IntegrityFailure):
        open_envelope(OTHER_DEK, 1, seal_envelope(DEK, 1, AAD, PLAINTEXT), AAD)


def test_a_record_that_aes_would_open_is_refused_for_its_commitment_before_aes_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = seal_envelope(DEK, 1, AAD, PLAINTEXT)
    foreign = record._replace(commit=seal_envelope(OTHER_DEK, 1, AAD, PLAINTEXT).commit)
    encryption_key, _ = envelope._record_keys(DEK, foreign.salt)
    opened = aes_gcm_open(encryption_key, foreign.iv, foreign.sealed, AAD.encode(1))
    assert opened == PLAINTEXT

    def aes_ran(*_: object) -> NoReturn:
        raise AssertionError("AES ran before the commitment was compared")

    monkeypatch.setattr(envelope, "aes_gcm_open", aes_ran)
    with pytest.raises(IntegrityFailure):
        open_envelope(DEK, 1, foreign, AAD)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_data_key_of_another_length_is_a_programming_error(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        seal_envelope(bytes(length), 1, AAD, PLAINTEXT)


def test_a_refusal_says_nothing_of_plaintext_place_or_key() -> None:
    with pytest.raises(IntegrityFailure) as refusal:
        open_envelope(OTHER_DEK, 1, seal_envelope(DEK, 1, AAD, PLAINTEXT), AAD)
    said = refusal.value.message + repr(refusal.value)
    assert not [
        word for word in (PLAINTEXT.decode(), AAD.user_id, DEK.hex(), repr(DEK)) if word in said
    ]


def test_the_term_of_a_stored_record_is_read_without_a_key() -> None:
    assert term_of(seal_envelope(DEK, 4_000_000_000, AAD, b"").text()) == 4_000_000_000


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_the_digest_is_of_the_stored_text_whatever_it_is(stored: str) -> None:
    assert ciphertext_sha256(stored) == hashlib.sha256(stored.encode()).hexdigest()
