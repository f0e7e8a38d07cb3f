import asyncio
import hashlib
from typing import Any, NoReturn
from unittest.mock import create_autospec

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from model_service.kernel.errors import (
    IntegrityFailure,
    KeyringCorrupt,
    SecretMismatch,
    StartupFault,
)
from model_service.kernel.keyring import WrapRow
from model_service.kernel.secret import Secret
from model_service.vault import primitives, wrap
from model_service.vault.wrap import ScryptParams, ScryptWrapper, require_strong, wrap_aad
from tests.unit.vault.vault_fakes import OTHER_SECRET, SECRET, wrapper_of, wrapper_with

DEK = Secret(bytes(range(32)))
BOUNDS: dict[str, Any] = {"n": 2**17, "r": 8, "p": 1, "salt": "00" * 16}


async def test_a_data_key_comes_back_from_its_wrap() -> None:
    wrapper = wrapper_with(bytes(32))
    wrapped = await wrapper.wrap(DEK, wrap_aad("wrap-1", 1))
    assert len(wrapped) == 12 + 32 + 16
    assert (await wrapper.unwrap(wrapped, wrap_aad("wrap-1", 1))).reveal() == DEK.reveal()


@pytest.mark.parametrize(("n", "bytes_"), [(2**17, 2**28), (2**20, 2**31)])
def test_stretching_may_take_twice_the_memory_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, n: int, bytes_: int
) -> None:
    asked: list[dict[str, Any]] = []

    def scrypt(_: bytes, **parameters: Any) -> bytes:
        asked.append(parameters)
        return bytes(32)

    monkeypatch.setattr(wrap, "scrypt", scrypt)
    ScryptParams(n, bytes(range(16))).stretch(SECRET)
    assert asked == [
        {"salt": bytes(range(16)), "n": n, "r": 8, "p": 1, "length": 32, "max_memory": bytes_}
    ]


async def test_two_wraps_of_one_key_differ() -> None:
    wrapper = wrapper_with(bytes(32))
    assert await wrapper.wrap(DEK, b"") != await wrapper.wrap(DEK, b"")


async def test_a_wrapped_key_with_any_one_bit_flipped_does_not_unwrap() -> None:
    wrapper = wrapper_with(bytes(32))
    wrapped = await wrapper.wrap(DEK, b"place")
    for bit in range(len(wrapped) * 8):
        flipped = (int.from_bytes(wrapped) ^ (1 << bit)).to_bytes(len(wrapped))
        with pytest.raises(IntegrityFailure):
            await wrapper.unwrap(flipped, b"place")


async def test_a_wrapped_key_of_another_length_does_not_unwrap() -> None:
    wrapper = wrapper_with(bytes(32))
    wrapped = await wrapper.wrap(DEK, b"place")
    for other in (*(wrapped[:length] for length in range(len(wrapped))), wrapped + b"\0"):
        with pytest.raises(IntegrityFailure, match="length"):
            await wrapper.unwrap(other, b"place")


@pytest.mark.parametrize(
    "elsewhere", [wrap_aad("wrap-2", 1), wrap_aad("wrap-1", 2), wrap_aad("wrap-", 1), b""]
)
async def test_a_wrapped_key_does_not_unwrap_in_another_place(elsewhere: bytes) -> None:
    wrapper = wrapper_with(bytes(32))
    wrapped = await wrapper.wrap(DEK, wrap_aad("wrap-1", 1))
    with pytest.raises(IntegrityFailure):
        await wrapper.unwrap(wrapped, elsewhere)


async def test_a_wrapped_key_does_not_unwrap_under_another_key() -> None:
    wrapped = await wrapper_with(bytes(32)).wrap(DEK, b"")
    with pytest.raises(IntegrityFailure):
        await wrapper_with(b"\1" * 32).unwrap(wrapped, b"")


def test_kek_and_check_value_are_the_two_hkdf_outputs_of_one_scrypt() -> None:
    stretched = hashlib.scrypt(
        SECRET.reveal().encode(),
        salt=bytes(range(16)),
        n=2**17,
        r=8,
        p=1,
        maxmem=2**28,
        dklen=32,
    )
    wrapper = wrapper_of(SECRET.reveal())
    assert wrapper._kek.reveal() == HKDF(SHA256(), 32, None, b"kek").derive(stretched)
    assert wrapper.row().check_value == HKDF(SHA256(), 16, None, b"kcv").derive(stretched)


async def test_a_stored_wrap_derives_to_the_same_key() -> None:
    made = wrapper_of(SECRET.reveal())
    wrapped = await made.wrap(DEK, b"")
    found = await ScryptWrapper.derive(SECRET, made.row())
    assert found.row() == made.row()
    assert (await found.unwrap(wrapped, b"")).reveal() == DEK.reveal()


async def test_another_secret_does_not_match_a_stored_wrap() -> None:
    with pytest.raises(SecretMismatch):
        await ScryptWrapper.derive(OTHER_SECRET, wrapper_of(SECRET.reveal()).row())


async def test_new_wraps_have_an_id_and_a_salt_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wrap, "scrypt", create_autospec(primitives.scrypt, return_value=bytes(32)))
    first, second = await ScryptWrapper.create(SECRET), await ScryptWrapper.create(SECRET)
    assert first.wrap_id != second.wrap_id
    assert first.row().params["salt"] != second.row().params["salt"]
    assert {**first.row().params, "salt": ""} == {"n": 2**17, "r": 8, "p": 1, "salt": ""}


async def test_the_event_loop_turns_while_a_secret_is_stretched() -> None:
    deriving = asyncio.create_task(ScryptWrapper.derive(SECRET, wrapper_of(SECRET.reveal()).row()))
    turns = 0
    while not deriving.done():
        await asyncio.sleep(0)
        turns += 1
    await deriving
    assert turns > 100


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({**BOUNDS, "n": 2**16}, id="N too small"),
        pytest.param({**BOUNDS, "n": 2}, id="N tiny"),
        pytest.param({**BOUNDS, "n": 2**21}, id="N too large"),
        pytest.param({**BOUNDS, "n": 2**17 + 1}, id="N no power of two"),
        pytest.param({**BOUNDS, "n": -(2**17)}, id="N negative"),
        pytest.param({**BOUNDS, "n": "131072"}, id="N as text"),
        pytest.param({**BOUNDS, "n": 131072.0}, id="N as fraction"),
        pytest.param({**BOUNDS, "r": 1}, id="r too small"),
        pytest.param({**BOUNDS, "r": 9}, id="r too large"),
        pytest.param({**BOUNDS, "p": 0}, id="p too small"),
        pytest.param({**BOUNDS, "p": 2}, id="p too large"),
        pytest.param({**BOUNDS, "p": True}, id="p as truth value"),
        pytest.param({**BOUNDS, "salt": "00" * 15}, id="salt short"),
        pytest.param({**BOUNDS, "salt": "00" * 17}, id="salt long"),
        pytest.param({**BOUNDS, "salt": ""}, id="salt empty"),
        pytest.param({**BOUNDS, "salt": "0g" * 16}, id="salt not hex"),
        pytest.param({**BOUNDS, "salt": "00" * 16 + "\n"}, id="salt with a line feed"),
        pytest.param({**BOUNDS, "salt": "AA" * 16}, id="salt in capitals"),
        pytest.param({**BOUNDS, "salt": 0}, id="salt as number"),
        pytest.param({**BOUNDS, "q": 1}, id="one parameter too many"),
        pytest.param({"n": 2**17, "r": 8, "p": 1}, id="one parameter too few"),
        pytest.param({}, id="none"),
    ],
)
async def test_stored_parameters_out_of_bounds_are_refused_before_memory_is_spent(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def memory_spent(*_: object, **__: object) -> NoReturn:
        raise AssertionError("scrypt ran")

    monkeypatch.setattr(wrap, "scrypt", memory_spent)
    with pytest.raises(KeyringCorrupt, match=r"keyring corrupt: .* wrap-1 are out of bounds"):
        await ScryptWrapper.derive(SECRET, WrapRow("wrap-1", "scrypt", params, bytes(16)))


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_check_value_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(KeyringCorrupt):
        ScryptParams.parse(WrapRow("wrap-1", "scrypt", BOUNDS, bytes(length)))


@pytest.mark.parametrize("n", [2**17, 2**18, 2**19, 2**20])
def test_each_accepted_cost_may_use_the_memory_it_needs(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = create_autospec(primitives.scrypt, return_value=bytes(32))
    monkeypatch.setattr(wrap, "scrypt", spy)
    row = WrapRow("wrap-1", "scrypt", {**BOUNDS, "n": n}, bytes(16))
    ScryptParams.parse(row).stretch(SECRET)
    asked = spy.call_args.kwargs
    assert (asked["n"], asked["r"], asked["p"]) == (n, 8, 1)
    assert asked["max_memory"] == n * 2**11
    assert asked["max_memory"] > 128 * 8 * (n + 3)  # B, V and the two blocks of scratch


def test_a_new_wrap_may_use_256_mebibytes() -> None:
    assert 2 * 128 * wrap.SCRYPT_N * wrap.SCRYPT_R == primitives.SCRYPT_MAX_MEMORY == 256 * 2**20


def test_stored_parameters_are_what_parse_reads() -> None:
    params = ScryptParams(2**18, bytes(range(16)))
    row = WrapRow("wrap-1", "scrypt", params.stored(), bytes(16))
    assert ScryptParams.parse(row) == params


def test_a_short_secret_is_refused_in_the_documented_words() -> None:
    with pytest.raises(StartupFault) as refusal:
        require_strong(Secret("x" * 31), "ENCRYPTION_SECRET")
    assert refusal.value.message == "ENCRYPTION_SECRET must be at least 32 characters long"


def test_a_secret_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(StartupFault, match="valid UTF-8"):
        require_strong(Secret("x" * 32 + "\udcff"), "ENCRYPTION_SECRET")


def test_a_secret_of_32_characters_is_enough_whatever_its_bytes() -> None:
    require_strong(Secret("ü" * 32), "ENCRYPTION_SECRET")
    with pytest.raises(StartupFault):
        require_strong(Secret("ü" * 31), "ENCRYPTION_SECRET")


def test_a_wrapper_does_not_print_its_key() -> None:
    wrapper = wrapper_with(b"\xab" * 32)
    shown = repr(wrapper) + repr(vars(wrapper))
    assert "xab" not in shown
    assert "ab" * 32 not in shown


def test_the_row_of_a_wrap_holds_the_public_parameters_alone() -> None:
    wrapper = wrapper_with(b"\xab" * 32)
    assert wrapper.row() == WrapRow("wrap-1", "scrypt", BOUNDS, bytes(16))
