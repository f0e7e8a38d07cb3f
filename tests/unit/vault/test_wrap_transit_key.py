"""Wrapping under a Transit key, against a stand-in that speaks the engine's wire format."""

import base64
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from model_service.kernel.errors import (
    IntegrityFailure,
    SecretMismatch,
    StartupFault,
    WrappingUnavailable,
)
from model_service.kernel.secret import Secret
from model_service.vault.remote import MAX_CIPHERTEXT, RemoteWrapper
from model_service.vault.transit import TransitAddress, TransitKey
from model_service.vault.wrap import wrap_aad
from tests.faults.authority import Authority
from tests.transit_stand_in import TOKEN, Transit, serving
from tests.unit.providers.provider_fakes import answering, http

DEK = Secret(bytes(range(32)))
KEY = "model-service"


@pytest.fixture(scope="module")
def served() -> Iterator[Transit]:
    with serving() as transit:
        yield transit


@pytest.fixture
def transit(served: Transit) -> Transit:
    """The engine with one key and a token that may use it."""
    fresh = Transit()
    fresh.address = served.address
    served.__dict__.update(fresh.__dict__)
    served.create_key(KEY)
    return served


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


@pytest.fixture
def key(transit: Transit, token_file: Path) -> TransitKey:
    return TransitKey(TransitAddress.parse(transit.address, key=KEY), token_file)


def leave(token_file: Path, content: bytes | None) -> None:
    """Have the agent write this, or take the file away."""
    token_file.unlink()
    if content is not None:
        token_file.write_bytes(content)


async def refusal(key: TransitKey) -> str:
    """Why the engine does not wrap."""
    with pytest.raises(WrappingUnavailable) as refused:
        await RemoteWrapper.create(key)
    return refused.value.message


async def test_a_wrapped_data_key_opens_again_in_another_process(key: TransitKey) -> None:
    made = await RemoteWrapper.create(key)
    aad = wrap_aad(made.wrap_id, 3)
    wrapped = await made.wrap(DEK, aad)
    assert wrapped.startswith(b"vault:v1:")
    other = await RemoteWrapper.open(key, made.row())
    assert (await other.unwrap(wrapped, aad)).reveal() == DEK.reveal()


async def test_what_is_stored_names_the_key_but_not_where_it_is_kept(
    key: TransitKey, transit: Transit
) -> None:
    row = (await RemoteWrapper.create(key)).row()
    assert (row.kind, row.params) == ("transit", {"mount": "transit", "key": KEY})
    assert "127.0.0.1" not in str(row)


@pytest.mark.parametrize("derived", [False, True])
async def test_a_data_key_is_bound_to_its_wrap_and_term(
    key: TransitKey, transit: Transit, derived: bool
) -> None:
    transit.create_key(KEY, derived=derived)
    made = await RemoteWrapper.create(key)
    wrapped = await made.wrap(DEK, wrap_aad(made.wrap_id, 1))
    other = await RemoteWrapper.open(key, made.row())
    for elsewhere in (wrap_aad(made.wrap_id, 2), wrap_aad("another", 1)):
        with pytest.raises(IntegrityFailure):
            await other.unwrap(wrapped, elsewhere)


async def test_the_binding_holds_where_the_engine_leaves_associated_data_out(
    key: TransitKey, transit: Transit
) -> None:
    transit.ignores_associated_data = True
    made = await RemoteWrapper.create(key)
    wrapped = await made.wrap(DEK, wrap_aad(made.wrap_id, 1))
    other = await RemoteWrapper.open(key, made.row())
    with pytest.raises(IntegrityFailure, match="another place"):
        await other.unwrap(wrapped, wrap_aad(made.wrap_id, 2))


async def test_the_engine_is_told_purpose_wrap_and_place(key: TransitKey, transit: Transit) -> None:
    made = await RemoteWrapper.create(key)
    await made.wrap(DEK, wrap_aad(made.wrap_id, 7))
    path, asked = transit.requests[-1]
    assert path == f"/v1/transit/encrypt/{KEY}"
    assert asked["context"] == asked["associated_data"]
    told: Mapping[str, str] = json.loads(base64.b64decode(asked["associated_data"]))
    assert told == {
        "purpose": "model-service keyring",
        "wrap": made.wrap_id,
        "place": wrap_aad(made.wrap_id, 7).hex(),
    }


async def test_what_was_answered_once_is_not_asked_again(key: TransitKey, transit: Transit) -> None:
    made = await RemoteWrapper.create(key)
    aad = wrap_aad(made.wrap_id, 1)
    wrapped = await made.wrap(DEK, aad)
    other = await RemoteWrapper.open(key, made.row())
    await other.unwrap(wrapped, aad)
    transit.sealed = True
    for wrapper in (made, other):
        assert (await wrapper.unwrap(wrapped, aad)).reveal() == DEK.reveal()


async def test_the_wrap_of_another_key_is_told_from_a_corrupt_one(
    key: TransitKey, transit: Transit
) -> None:
    row = (await RemoteWrapper.create(key)).row()
    transit.create_key(KEY)
    with pytest.raises(SecretMismatch):
        await RemoteWrapper.open(key, row)


@pytest.mark.parametrize(
    "wrapped",
    [
        b"",
        b"nonsense",
        b"vault:v1",
        b"vault:v1:",
        b"vault:vx:AAAA",
        b"vault:v9:AAAA",
        b"vault:v1:!!!!",
        b"vault:v1:AAAA",
        b"\xff\xfe",
        b"vault:v1:" + b"A" * MAX_CIPHERTEXT,
    ],
)
async def test_what_cannot_be_a_wrapped_key_does_not_open(key: TransitKey, wrapped: bytes) -> None:
    made = await RemoteWrapper.create(key)
    with pytest.raises(IntegrityFailure):
        await made.unwrap(wrapped, wrap_aad(made.wrap_id, 1))


async def test_an_altered_data_key_does_not_open(key: TransitKey) -> None:
    made = await RemoteWrapper.create(key)
    aad = wrap_aad(made.wrap_id, 1)
    wrapped = bytearray(await made.wrap(DEK, aad))
    wrapped[40] ^= 1
    with pytest.raises(IntegrityFailure):
        await made.unwrap(bytes(wrapped), aad)


async def test_a_rotated_key_still_opens_what_it_wrapped_before(
    key: TransitKey, transit: Transit
) -> None:
    made = await RemoteWrapper.create(key)
    aad = wrap_aad(made.wrap_id, 1)
    wrapped = await made.wrap(DEK, aad)
    transit.keys[KEY].versions.append(bytes(32))
    other = await RemoteWrapper.open(key, made.row())
    assert (await other.unwrap(wrapped, aad)).reveal() == DEK.reveal()
    assert (await other.wrap(DEK, aad)).startswith(b"vault:v2:")


async def test_a_version_that_is_no_longer_allowed_is_named(
    key: TransitKey, transit: Transit
) -> None:
    row = (await RemoteWrapper.create(key)).row()
    transit.keys[KEY].versions.append(bytes(32))
    transit.keys[KEY].min_decryption_version = 2
    with pytest.raises(WrappingUnavailable, match="min_decryption_version"):
        await RemoteWrapper.open(key, row)


async def test_a_token_is_read_anew_for_each_request(
    key: TransitKey, transit: Transit, token_file: Path
) -> None:
    made = await RemoteWrapper.create(key)
    transit.tokens = {"renewed": frozenset({"update"})}
    assert "VAULT_TOKEN_FILE" in await refusal(key)
    leave(token_file, b"renewed")
    await made.wrap(DEK, wrap_aad(made.wrap_id, 1))


@pytest.mark.parametrize("content", [b"", b"two tokens", b"a\nb", b"\xff", b"x" * 5000])
async def test_a_file_that_holds_no_token_is_named(
    key: TransitKey, token_file: Path, content: bytes
) -> None:
    leave(token_file, content)
    assert "VAULT_TOKEN_FILE" in await refusal(key)


async def test_a_missing_token_file_is_named(key: TransitKey, token_file: Path) -> None:
    leave(token_file, None)
    assert "FileNotFoundError" in await refusal(key)


async def test_a_key_that_does_not_exist_is_not_made_by_a_token_that_may_only_use_keys(
    key: TransitKey, transit: Transit
) -> None:
    transit.keys.clear()
    assert f"transit/encrypt/{KEY}" in await refusal(key)
    assert not transit.keys


async def test_a_key_that_went_away_is_named(key: TransitKey, transit: Transit) -> None:
    row = (await RemoteWrapper.create(key)).row()
    transit.keys.clear()
    with pytest.raises(WrappingUnavailable, match=f"no Transit key '{KEY}'"):
        await RemoteWrapper.open(key, row)


async def test_a_key_without_authentication_is_refused(key: TransitKey, transit: Transit) -> None:
    transit.create_key(KEY, type="rsa-2048")
    assert "aes256-gcm96" in await refusal(key)


async def test_a_sealed_vault_is_named(key: TransitKey, transit: Transit) -> None:
    transit.sealed = True
    assert "sealed" in await refusal(key)


async def test_another_mount_is_named(key: TransitKey, transit: Transit) -> None:
    transit.mount = "elsewhere"
    assert "no Transit engine at 'transit'" in await refusal(key)


async def test_mount_and_namespace_are_asked_for(transit: Transit, token_file: Path) -> None:
    transit.mount, transit.namespace = "team/transit", "agents"
    address = TransitAddress.parse(
        transit.address, key=KEY, mount="team/transit", namespace="agents"
    )
    made = await RemoteWrapper.create(TransitKey(address, token_file))
    await made.wrap(DEK, wrap_aad(made.wrap_id, 1))


async def test_a_request_is_as_the_engine_reads_it(token_file: Path) -> None:
    wrapped = {"data": {"ciphertext": "vault:v1:AAAA"}}
    async with answering(http(200, wrapped)) as server:
        address = TransitAddress.parse(server.origin, key=KEY, namespace="agents/one")
        assert await TransitKey(address, token_file).encrypt(b"plain", {"b": "2", "a": "1"}) == (
            b"vault:v1:AAAA"
        )
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    assert first == f"POST /v1/transit/encrypt/{KEY} HTTP/1.1"
    headers = dict(field.lower().split(": ", 1) for field in fields)
    assert headers["content-type"] == "application/json"
    assert headers["x-vault-request"] == "true"
    assert headers["x-vault-token"] == TOKEN
    assert headers["x-vault-namespace"] == "agents/one"
    bound = base64.b64encode(b'{"a":"1","b":"2"}').decode()
    assert json.loads(body) == {
        "plaintext": base64.b64encode(b"plain").decode(),
        "associated_data": bound,
        "context": bound,
    }


async def test_without_a_namespace_none_is_named(token_file: Path) -> None:
    async with answering(http(200, {"data": {"plaintext": "cGxhaW4="}})) as server:
        address = TransitAddress.parse(server.origin, key=KEY)
        assert await TransitKey(address, token_file).decrypt(b"vault:v1:AAAA", {}) == b"plain"
    assert b"x-vault-namespace" not in server.requests[0].lower()
    assert b'{"ciphertext": "vault:v1:AAAA", ' in server.requests[0]


@pytest.mark.parametrize(
    ("status", "errors", "kind"),
    [
        (400, ["cipher: message authentication failed"], IntegrityFailure),
        (400, ["invalid ciphertext: no prefix"], IntegrityFailure),
        (400, ["illegal base64 data at input byte 3"], IntegrityFailure),
        (400, ["one", "message authentication failed"], IntegrityFailure),
        (500, ["message authentication failed"], WrappingUnavailable),
        (403, ["invalid ciphertext"], WrappingUnavailable),
        (400, ["something else"], WrappingUnavailable),
    ],
)
async def test_only_what_the_engine_says_of_the_ciphertext_makes_it_another_s(
    key: TransitKey, transit: Transit, status: int, errors: list[str], kind: type[Exception]
) -> None:
    transit.instead = (status, json.dumps({"errors": errors}).encode(), {})
    with pytest.raises(kind):
        await key.decrypt(b"vault:v1:AAAA", {})


@pytest.mark.parametrize(
    ("status", "errors", "said"),
    [
        (300, [], "Vault redirects (300): VAULT_ADDR must lead to its active node"),
        (399, [], "Vault redirects (399): VAULT_ADDR must lead to its active node"),
        (403, [], f"needs update on transit/encrypt/{KEY} and transit/decrypt/{KEY}"),
        (404, [], "Vault has no Transit engine at 'transit' (404)"),
        (503, [], "Vault is sealed or not ready (503)"),
        (400, ["encryption key not found"], f"Vault has no Transit key '{KEY}'"),
        (400, ["associated_data not supported"], f"The Transit key '{KEY}' must be of a type"),
        (400, ["ciphertext version is too old"], "lower min_decryption_version"),
        (400, [], "Vault gives no usable answer (400)"),
        (299, [], "Vault gives no usable answer (299)"),
    ],
)
async def test_each_refusal_is_told_in_words_of_our_own(
    key: TransitKey, transit: Transit, status: int, errors: list[str], said: str
) -> None:
    transit.instead = (status, json.dumps({"errors": errors}).encode(), {})
    assert said in await refusal(key)


def test_a_key_is_called_by_its_name(token_file: Path) -> None:
    address = TransitAddress.parse("https://vault.example.com:8200", key=KEY)
    assert (address.mount, address.namespace, address.ca_file) == ("transit", None, None)
    key = TransitKey(address, token_file)
    assert (key.kind, key.name) == ("transit", f"the Transit key '{KEY}'")


@pytest.mark.parametrize(
    "names",
    [
        {"key": "a"}, {"key": "a.b-c_d"}, {"key": KEY, "mount": "a/b-c/d_e"},
        {"key": KEY, "namespace": "a/b/"}, {"key": KEY, "namespace": "a"},
    ],
)  # fmt: skip
def test_what_the_engine_takes_as_a_name_is_taken(names: dict[str, Any]) -> None:
    TransitAddress.parse("https://vault.example.com", **names)


@pytest.mark.parametrize(
    ("names", "setting"),
    [
        ({"key": "-a"}, "VAULT_TRANSIT_KEY"), ({"key": "a."}, "VAULT_TRANSIT_KEY"),
        ({"key": "a/b"}, "VAULT_TRANSIT_KEY"), ({"key": ""}, "VAULT_TRANSIT_KEY"),
        ({"key": KEY, "mount": "a/"}, "VAULT_TRANSIT_MOUNT"),
        ({"key": KEY, "mount": "a//b"}, "VAULT_TRANSIT_MOUNT"),
        ({"key": KEY, "namespace": "/a"}, "VAULT_NAMESPACE"),
        ({"key": KEY, "namespace": ""}, "VAULT_NAMESPACE"),
    ],
)  # fmt: skip
def test_what_could_lead_elsewhere_is_a_fault(names: dict[str, Any], setting: str) -> None:
    with pytest.raises(StartupFault) as fault:
        TransitAddress.parse("https://vault.example.com", **names)
    assert [sentence.split(" ")[0] for sentence in fault.value.faults] == [setting]


async def test_a_redirect_is_not_followed(key: TransitKey, transit: Transit) -> None:
    transit.instead = (307, b"", {"location": "http://169.254.169.254/"})
    assert "active node" in await refusal(key)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>Sign in</html>"),
        (200, b"[]"),
        (200, b'{"data": null}'),
        (200, b'{"data": {}}'),
        (200, b'{"data": {"ciphertext": 7}}'),
        (200, b"x" * 100_000),
        (400, b'{"errors": null}'),
        (500, b'{"errors": ["internal error made-up-secret"]}'),
        (502, b""),
    ],
)
async def test_an_answer_of_another_kind_is_no_answer_and_not_repeated(
    key: TransitKey, transit: Transit, status: int, body: bytes
) -> None:
    transit.instead = (status, body, {})
    message = await refusal(key)
    assert f"no usable answer ({status})" in message
    assert "made-up" not in message


async def test_an_answer_without_a_plaintext_is_no_answer(
    key: TransitKey, transit: Transit
) -> None:
    row = (await RemoteWrapper.create(key)).row()
    for plaintext in ({}, {"plaintext": "!!"}, {"plaintext": None}):
        transit.instead = (200, json.dumps({"data": plaintext}).encode(), {})
        with pytest.raises(WrappingUnavailable):
            await RemoteWrapper.open(key, row)


async def test_an_absent_vault_is_named_with_its_address(token_file: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    key = TransitKey(TransitAddress.parse(f"http://127.0.0.1:{port}", key=KEY), token_file)
    assert await refusal(key) == (
        f"Vault at 127.0.0.1:{port} cannot be asked (ConnectionRefusedError)"
    )


async def test_a_silent_vault_is_given_up(token_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        address = TransitAddress.parse(f"http://127.0.0.1:{port}", key=KEY)
        assert "TimeoutError" in await refusal(TransitKey(address, token_file, timeout=0.05))


async def test_a_certificate_is_checked_against_the_authorities_given(
    tmp_path: Path, token_file: Path
) -> None:
    authority = Authority(tmp_path)
    pem = tmp_path / "ca.pem"
    pem.write_text(authority.pem())
    with serving(authority.server_context("127.0.0.1")) as transit:
        transit.create_key(KEY)
        trusting = TransitAddress.parse(transit.address, key=KEY, ca_file=pem)
        await RemoteWrapper.create(TransitKey(trusting, token_file))
        strange = TransitAddress.parse(transit.address, key=KEY)
        assert "SSLCertVerificationError" in await refusal(TransitKey(strange, token_file))


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("https://vault.example.com:8200", ("vault.example.com", 8200, True)),
        ("https://vault.example.com/", ("vault.example.com", 443, True)),
        ("http://127.0.0.1:8100", ("127.0.0.1", 8100, False)),
        ("http://localhost:8100", ("localhost", 8100, False)),
        ("http://[::1]:8100", ("::1", 8100, False)),
    ],
)
def test_an_origin_is_an_address(address: str, where: tuple[str, int, bool]) -> None:
    parsed = TransitAddress.parse(address, key=KEY)
    assert (parsed.host, parsed.port, parsed.tls) == where


@pytest.mark.parametrize(
    "address",
    [
        "",
        "vault.example.com",
        "ftp://vault.example.com",
        "http://vault.example.com:8200",
        "http://10.0.0.1:8200",
        "https://user:made-up@vault.example.com",
        "https://vault.example.com/v1",
        "https://vault.example.com?a",
        "https://vault.example.com#a",
        "https://vault.example.com:port",
        "https://[::1",
        "https://",
    ],
)
def test_other_addresses_are_faults_that_do_not_repeat_them(address: str) -> None:
    with pytest.raises(StartupFault) as fault:
        TransitAddress.parse(address, key=KEY)
    assert fault.value.message.startswith("VAULT_ADDR ")
    assert "made-up" not in fault.value.message


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(StartupFault) as fault:
        TransitAddress.parse("", key="../keys", mount="/transit", namespace="a b")
    assert [sentence.split(" ")[0] for sentence in fault.value.faults] == [
        "VAULT_ADDR",
        "VAULT_TRANSIT_KEY",
        "VAULT_TRANSIT_MOUNT",
        "VAULT_NAMESPACE",
    ]
