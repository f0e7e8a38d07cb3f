"""AWS KMS as keeper of the wrapping key, asked by botocore (the extra `model-service[kms]`).

Credentials are found as by every AWS tool: environment, profile, container or instance role.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from model_service.kernel.errors import IntegrityFailure, StartupFault, WrappingUnavailable
from model_service.vault.origin import parse_origin

KMS_KIND: Final = "kms"
#: Seconds for connecting, and for each part of an answer.
TIMEOUT: Final = 5.0
_EXAMPLE: Final = "https://kms.eu-central-1.amazonaws.com"

_ARN: Final = re.compile(r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):\d{12}:(?:key|alias)/.+")
_ID: Final = re.compile(r"(?:alias/)?[A-Za-z0-9/_-]{1,256}")
# What Decrypt answers to a ciphertext of another key, altered, or with another context.
_NOT_OURS: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_REASONS: Final[Mapping[str, str]] = {
    "NotFoundException": "there is no key AWS_KMS_KEY_ID in this region",
    "DisabledException": "the key is disabled",
    "KMSInvalidStateException": "the key is pending deletion or otherwise out of use",
    "InvalidKeyUsageException": "the key is not for encryption and decryption",
    "AccessDeniedException": "the role needs kms:Encrypt and kms:Decrypt on the key",
    "ExpiredTokenException": "the credentials have expired",
    "UnrecognizedClientException": "the credentials are not known",
    "NoCredentialsError": "no credentials were found",
    "NoRegionError": "set AWS_REGION, or AWS_KMS_KEY_ID to an ARN",
}


class KmsKey:
    """A `RemoteKey` of AWS KMS."""

    kind = KMS_KIND

    def __init__(
        self,
        key_id: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """`key_id` is an ARN, a key id or `alias/...`; its region is taken from an ARN.

        Raises:
            StartupFault: botocore is not installed, or `key_id` cannot name a key, or
                `endpoint_url` is not where KMS may be asked.
        """
        arn = _ARN.fullmatch(key_id)
        if arn is None and not _ID.fullmatch(key_id):
            raise StartupFault("AWS_KMS_KEY_ID is not an ARN, a key id or an alias of AWS KMS")
        if endpoint_url is not None:
            try:
                parse_origin(endpoint_url, example=_EXAMPLE)
            except ValueError as error:
                raise StartupFault(f"AWS_KMS_ENDPOINT_URL {error}") from None
        self._key_id = key_id
        self._region = region or (arn["region"] if arn else None)
        self._endpoint_url = endpoint_url
        self._timeout = timeout
        self._botocore = _load()
        self._client: Any = None

    @property
    def name(self) -> str:
        """What operators call the key."""
        return f"the KMS key '{self._key_id}'"

    def params(self) -> Mapping[str, int | str]:
        """The key's id as configured, for people to read."""
        return {"key": self._key_id}

    async def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt, bound to the context."""
        answer = await self._ask("encrypt", Plaintext=plaintext, EncryptionContext=dict(context))
        return bytes(answer["CiphertextBlob"])

    async def decrypt(self, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        """Decrypt what `encrypt` gave for the same context, with this key and no other."""
        answer = await self._ask(
            "decrypt", CiphertextBlob=ciphertext, EncryptionContext=dict(context)
        )
        return bytes(answer["Plaintext"])

    async def _ask(self, operation: str, **asked: object) -> Mapping[str, Any]:
        return await asyncio.to_thread(self._call, operation, asked)

    def _call(self, operation: str, asked: Mapping[str, object]) -> Mapping[str, Any]:
        exceptions = self._botocore.exceptions
        try:
            if self._client is None:
                self._client = self._connected()
            answer = getattr(self._client, operation)(KeyId=self._key_id, **asked)
        except exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code") or "unknown")
            if code in _NOT_OURS:
                raise IntegrityFailure("A wrapped data key does not open") from error
            raise _unavailable(code) from error
        except exceptions.BotoCoreError as error:
            raise _unavailable(type(error).__name__) from error
        return dict(answer)

    def _connected(self) -> Any:  # noqa: ANN401 - botocore carries no types
        config = self._botocore.config.Config(
            connect_timeout=self._timeout,
            read_timeout=self._timeout,
            retries={"mode": "standard", "total_max_attempts": 3},
            # No proxy is taken from the environment: see the egress rules.
            proxies={},
        )
        return self._botocore.session.get_session().create_client(
            "kms", region_name=self._region, endpoint_url=self._endpoint_url, config=config
        )


def _load() -> Any:  # noqa: ANN401 - botocore carries no types
    try:
        import botocore.config
        import botocore.exceptions
        import botocore.session
    except ImportError:
        raise StartupFault(
            "KEY_WRAPPER=kms needs botocore: install model-service[kms], or botocore beside it"
        ) from None
    return botocore


def _unavailable(code: str) -> WrappingUnavailable:
    reason = _REASONS.get(code)
    told = f"{code}: {reason}" if reason else code
    return WrappingUnavailable(f"AWS KMS cannot be asked ({told})")
