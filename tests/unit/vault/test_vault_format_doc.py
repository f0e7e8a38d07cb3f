"""docs/vault-format.md says what the code does: its vectors and its program are run."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from model_service.kernel.keyring import WrapRow
from model_service.kernel.secret import Secret
from model_service.vault.envelope import (
    HEADER,
    MIN_RECORD_BYTES,
    AssociatedData,
    Envelope,
    _record_keys,
    _seal,
    ciphertext_sha256,
    open_envelope,
)
from model_service.vault.wrap import SCRYPT_ACCEPTED_N, ScryptParams, ScryptWrapper, wrap_aad
from tests.unit.vault.vault_fakes import AAD, keyring_of

DOCUMENT = (Path(__file__).parents[3] / "docs" / "vault-format.md").read_text()


@cache
def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


@cache
def vector() -> dict[str, str]:
    lines = (line.split(" = ", 1) for line in block("vector").splitlines())
    return {name.strip(): value for name, value in lines}


def hex_of(name: str) -> bytes:
    return bytes.fromhex(vector()[name])


def documented_place() -> AssociatedData:
    return AssociatedData(
        record_id=UUID(vector()["record id"]),
        user_id=vector()["user id"],
        provider=vector()["provider"],
        key_version=int(vector()["key version"]),
        endpoint_origin=vector()["endpoint origin"],
    )


@cache
def program() -> dict[str, Callable[..., Any]]:
    """The functions of the document's program, which shares no line with the vault."""
    functions: dict[str, Any] = {}
    exec(block("python"), functions)  # noqa: S102 - the document's own program is under test
    return functions


async def test_the_documented_wrap_is_what_the_code_derives_and_opens() -> None:
    params = ScryptParams(int(vector()["n"]), hex_of("scrypt salt"))
    row = WrapRow(vector()["wrap id"], "scrypt", params.stored(), hex_of("check value"))
    wrapper = await ScryptWrapper.derive(Secret(vector()["secret"]), row)
    place = wrap_aad(row.wrap_id, int(vector()["term"]))
    assert wrapper._kek.reveal() == hex_of("kek")
    assert place == hex_of("wrap aad")
    assert hex_of("wrapped").startswith(hex_of("wrap iv"))
    assert (await wrapper.unwrap(hex_of("wrapped"), place)).reveal() == hex_of("dek")


def test_the_documented_record_is_what_the_code_seals() -> None:
    place = documented_place()
    record = _seal(
        hex_of("dek"),
        int(vector()["term"]),
        place,
        vector()["plaintext"].encode(),
        salt=hex_of("salt"),
        iv=hex_of("iv"),
    )
    assert place.encode(1) == hex_of("aad")
    assert _record_keys(hex_of("dek"), hex_of("salt")) == (hex_of("k_enc"), hex_of("commit"))
    assert record.commit == hex_of("commit")
    assert record.sealed == hex_of("sealed")
    assert record.text() == vector()["stored"]
    assert ciphertext_sha256(record.text()) == vector()["stored sha256"]


def test_the_documented_record_is_what_the_code_opens() -> None:
    record = Envelope.parse(vector()["stored"])
    opened = open_envelope(hex_of("dek"), record.term, record, documented_place())
    assert opened.decode() == vector()["plaintext"]


def test_the_documented_program_opens_the_documented_record() -> None:
    params = {"n": int(vector()["n"]), "r": 8, "p": 1, "salt": vector()["scrypt salt"]}
    dek = program()["unwrap"](
        vector()["secret"],
        params,
        hex_of("check value"),
        vector()["wrap id"],
        int(vector()["term"]),
        hex_of("wrapped"),
    )
    opened = program()["decrypt"](
        dek,
        vector()["stored"],
        vector()["record id"],
        vector()["user id"],
        vector()["provider"],
        int(vector()["key version"]),
        vector()["endpoint origin"],
    )
    assert opened == vector()["plaintext"]


def test_the_documented_program_opens_what_the_code_seals() -> None:
    stored = keyring_of({3: hex_of("dek")}).seal(AAD, Secret("sk-ключ"))
    opened = program()["decrypt"](
        hex_of("dek"),
        stored,
        str(AAD.record_id),
        AAD.user_id,
        AAD.provider,
        AAD.key_version,
        AAD.endpoint_origin,
    )
    assert opened == "sk-ключ"


def test_the_documented_numbers_are_the_code_s() -> None:
    offsets = [int(number) for number in re.findall(r"^\| (\d+) \| ", DOCUMENT, re.MULTILINE)]
    assert offsets == [0, 1, 2, 6, 22, 34, HEADER.size]
    assert f"at least {MIN_RECORD_BYTES} bytes" in DOCUMENT
    accepted = "131072, 262144, 524288 and 1048576 are accepted"
    assert accepted in DOCUMENT
    assert {int(number) for number in re.findall(r"\d+", accepted)} == SCRYPT_ACCEPTED_N
