"""Wrapping under a key of AWS KMS, against moto's server."""

import logging
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import botocore.session
import pytest
from moto.server import ThreadedMotoServer

from model_service.kernel.errors import (
    IntegrityFailure,
    SecretMismatch,
    StartupFault,
    WrappingUnavailable,
)
from model_service.kernel.secret import Secret
from model_service.vault.kms import KmsKey
from model_service.vault.remote import RemoteWrapper
from model_service.vault.wrap import wrap_aad
from tests.unit.providers.provider_fakes import answering, http

DEK = Secret(bytes(range(32)))
REGION = "eu-central-1"


@dataclass(frozen=True)
class Aws:
    """moto's server, and an administrator's client of its KMS."""

    url: str
    client: Any

    def create_key(self) -> str:
        """A symmetric key; gives its ARN."""
        arn: str = self.client.create_key()["KeyMetadata"]["Arn"]
        return arn

    def key(self, key_id: str, **options: Any) -> KmsKey:
        return KmsKey(key_id, endpoint_url=self.url, **{"region": REGION, **options})


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = botocore.session.get_session().create_client(
        "kms",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="made-up",
        aws_secret_access_key="made-up",
    )
    yield Aws(url, client)
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials from the environment, and nothing of this machine's own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


async def refusal(key: KmsKey) -> str:
    """Why KMS does not wrap."""
    with pytest.raises(WrappingUnavailable) as refused:
        await RemoteWrapper.create(key)
    return refused.value.message


async def test_a_wrapped_data_key_opens_again_in_another_process(aws: Aws) -> None:
    key = aws.key(aws.create_key())
    made = await RemoteWrapper.create(key)
    aad = wrap_aad(made.wrap_id, 3)
    wrapped = await made.wrap(DEK, aad)
    other = await RemoteWrapper.open(key, made.row())
    assert (await other.unwrap(wrapped, aad)).reveal() == DEK.reveal()


async def test_what_is_stored_names_the_key_but_not_where_it_is_kept(aws: Aws) -> None:
    arn = aws.create_key()
    row = (await RemoteWrapper.create(aws.key(arn))).row()
    assert (row.kind, row.params) == ("kms", {"key": arn})
    assert aws.url not in str(row)


async def test_a_key_is_found_by_arn_id_and_alias(aws: Aws) -> None:
    arn = aws.create_key()
    aws.client.create_alias(AliasName="alias/model-service", TargetKeyId=arn)
    made = await RemoteWrapper.create(aws.key(arn))
    for key_id in (arn.rpartition("/")[2], "alias/model-service"):
        await RemoteWrapper.open(aws.key(key_id), made.row())


async def test_a_data_key_is_bound_to_its_wrap_and_term_by_kms_itself(aws: Aws) -> None:
    arn = aws.create_key()
    made = await RemoteWrapper.create(aws.key(arn))
    aad = wrap_aad(made.wrap_id, 1)
    wrapped = await made.wrap(DEK, aad)
    context = {
        "purpose": "model-service keyring",
        "wrap": made.wrap_id,
        "place": aad.hex(),
    }
    opened = aws.client.decrypt(CiphertextBlob=wrapped, EncryptionContext=context)["Plaintext"]
    assert opened.endswith(DEK.reveal())
    for name, value in (("wrap", "another"), ("place", wrap_aad(made.wrap_id, 2).hex())):
        with pytest.raises(aws.client.exceptions.InvalidCiphertextException):
            aws.client.decrypt(CiphertextBlob=wrapped, EncryptionContext={**context, name: value})
    other = await RemoteWrapper.open(aws.key(arn), made.row())
    for elsewhere in (wrap_aad(made.wrap_id, 2), wrap_aad("another", 1)):
        with pytest.raises(IntegrityFailure):
            await other.unwrap(wrapped, elsewhere)


@pytest.mark.parametrize("code", ["IncorrectKeyException", "InvalidCiphertextException"])
async def test_the_wrap_of_another_key_is_told_from_a_corrupt_one(aws: Aws, code: str) -> None:
    row = (await RemoteWrapper.create(aws.key(aws.create_key()))).row()
    # moto decrypts with whatever key a ciphertext names; KMS does so with the one it is given.
    async with answering(http(400, {"__type": code})) as server:
        key = KmsKey("alias/another", region=REGION, endpoint_url=server.origin)
        with pytest.raises(SecretMismatch):
            await RemoteWrapper.open(key, row)
    assert b'"KeyId": "alias/another"' in server.requests[0]


@pytest.mark.parametrize("wrapped", [b"", b"nonsense", bytes(200), bytes(9000)])
async def test_what_cannot_be_a_wrapped_key_does_not_open(aws: Aws, wrapped: bytes) -> None:
    made = await RemoteWrapper.create(aws.key(aws.create_key()))
    with pytest.raises((IntegrityFailure, WrappingUnavailable)):
        await made.unwrap(wrapped, wrap_aad(made.wrap_id, 1))


async def test_what_was_answered_once_is_not_asked_again(aws: Aws) -> None:
    arn = aws.create_key()
    made = await RemoteWrapper.create(aws.key(arn))
    aad = wrap_aad(made.wrap_id, 1)
    wrapped = await made.wrap(DEK, aad)
    aws.client.disable_key(KeyId=arn.rpartition("/")[2])
    assert (await made.unwrap(wrapped, aad)).reveal() == DEK.reveal()


async def test_a_key_that_is_not_there_is_named(aws: Aws) -> None:
    absent = f"arn:aws:kms:{REGION}:123456789012:key/00000000-0000-0000-0000-000000000000"
    assert "there is no key AWS_KMS_KEY_ID" in await refusal(aws.key(absent))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("DisabledException", "disabled"),
        ("AccessDeniedException", "kms:Encrypt and kms:Decrypt"),
        ("KMSInvalidStateException", "pending deletion"),
        ("ExpiredTokenException", "expired"),
        ("NotFoundException", "there is no key AWS_KMS_KEY_ID in this region"),
        ("InvalidKeyUsageException", "not for encryption and decryption"),
        ("UnrecognizedClientException", "(UnrecognizedClientException: the credentials are not"),
        ("SomethingNew", "AWS KMS cannot be asked (SomethingNew)"),
        ("", "AWS KMS cannot be asked (unknown)"),
    ],
)
async def test_each_refusal_is_told_in_words_of_our_own(code: str, words: str) -> None:
    body = {"__type": code, "message": "made-up detail"}
    async with answering(http(400, body)) as server:
        key = KmsKey("alias/model-service", region=REGION, endpoint_url=server.origin)
        message = await refusal(key)
    assert words in message
    assert "made-up" not in message


async def test_an_answer_that_may_pass_is_asked_for_three_times_in_all() -> None:
    async with answering(http(500, {"__type": "KMSInternalException"})) as server:
        key = KmsKey("alias/any", region=REGION, endpoint_url=server.origin)
        assert "KMSInternalException" in await refusal(key)
    assert len(server.requests) == 3


async def test_a_silent_service_is_given_up_after_the_time_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        key = KmsKey("alias/any", region=REGION, endpoint_url=url, timeout=0.05)
        assert "ReadTimeoutError" in await refusal(key)


async def test_one_client_is_made_for_all_requests(aws: Aws, monkeypatch: Any) -> None:
    key = aws.key(aws.create_key())
    made = []
    connected = key._connected

    def counted() -> Any:
        made.append(connected())
        return made[-1]

    monkeypatch.setattr(key, "_connected", counted)
    wrapper = await RemoteWrapper.create(key)
    await wrapper.wrap(DEK, wrap_aad(wrapper.wrap_id, 1))
    assert len(made) == 1


@pytest.mark.parametrize(
    ("key_id", "region", "used"),
    [
        ("arn:aws:kms:eu-west-1:123456789012:key/k", None, "eu-west-1"),
        ("arn:aws-cn:kms:cn-north-1:123456789012:alias/a", None, "cn-north-1"),
        ("arn:aws:kms:eu-west-1:123456789012:key/k", "eu-west-2", "eu-west-2"),
        ("alias/model-service", "eu-west-2", "eu-west-2"),
    ],
)
def test_the_region_is_the_one_given_or_the_arn_s(
    key_id: str, region: str | None, used: str
) -> None:
    client = KmsKey(key_id, region=region)._connected()
    assert client.meta.region_name == used
    assert client.meta.service_model.service_name == "kms"


@pytest.mark.parametrize("url", ["http://kms.example.com", "kms", "https://kms.example.com/v1"])
def test_where_kms_must_not_be_asked_is_a_fault(url: str) -> None:
    with pytest.raises(StartupFault, match=r"^AWS_KMS_ENDPOINT_URL must be"):
        KmsKey("alias/any", region=REGION, endpoint_url=url)


@pytest.mark.parametrize("key_id", ["x" * 256, "alias/a_b-c/d", "0" * 36])
def test_what_can_name_a_key_is_none(key_id: str) -> None:
    key = KmsKey(key_id, region=REGION)
    assert (key.kind, key.name, key.params()) == (
        "kms",
        f"the KMS key '{key_id}'",
        {"key": key_id},
    )


async def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, aws: Aws) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no credentials were found" in await refusal(aws.key("alias/any"))


async def test_a_missing_region_is_named(aws: Aws) -> None:
    assert "AWS_REGION" in await refusal(aws.key("alias/any", region=None))


async def test_an_arn_gives_the_region(aws: Aws) -> None:
    await RemoteWrapper.create(aws.key(aws.create_key(), region=None))


async def test_an_absent_service_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    key = KmsKey("alias/any", region=REGION, endpoint_url=url)
    assert "EndpointConnectionError" in await refusal(key)


async def test_no_proxy_of_the_environment_is_asked(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await RemoteWrapper.create(aws.key(aws.create_key()))


@pytest.mark.parametrize("key_id", ["", "a b", "arn:aws:s3:::bucket", "alias/../x?", "x" * 300])
def test_what_cannot_name_a_key_is_a_fault(key_id: str) -> None:
    with pytest.raises(StartupFault, match="AWS_KMS_KEY_ID"):
        KmsKey(key_id)


def test_the_missing_extra_is_a_fault_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(StartupFault, match=r"model-service\[kms\]"):
        KmsKey("alias/any")
