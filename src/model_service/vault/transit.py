"""The Transit engine of HashiCorp Vault and of OpenBao as keeper of the wrapping key.

The wire format is that of https://developer.hashicorp.com/vault/api-docs/secret/transit, which
OpenBao shares. The engine must be asked over TLS, or on loopback, where Vault's agent listens.
"""

import asyncio
import base64
import binascii
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final

from model_service.kernel.errors import IntegrityFailure, StartupFault, WrappingUnavailable
from model_service.vault.origin import parse_origin

TRANSIT_KIND: Final = "transit"
#: Seconds for connecting, and for each part of an answer.
TIMEOUT: Final = 5.0
_EXAMPLE: Final = "https://vault.example.com:8200"

# The engine's own rule for names of keys (`GenericNameRegex`), and mounts of plain segments.
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_MOUNT: Final = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*/?")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")
_MAX_ANSWER: Final = 65_536
_NOT_OURS: Final = "message authentication failed"
_MALFORMED: Final = ("invalid ciphertext", "illegal base64")


@dataclass(frozen=True, slots=True)
class TransitAddress:
    """Where the engine listens, and which key is meant; all of it from settings."""

    host: str
    port: int
    tls: bool
    mount: str
    key: str
    namespace: str | None
    ca_file: Path | None

    @classmethod
    def parse(
        cls,
        address: str,
        *,
        key: str,
        mount: str = "transit",
        namespace: str | None = None,
        ca_file: Path | None = None,
    ) -> "TransitAddress":
        """Read the settings.

        Raises:
            StartupFault: one sentence for each that does not hold.
        """
        faults = []
        host, port, tls = "", 0, True
        try:
            host, port, tls = parse_origin(address, example=_EXAMPLE)
        except ValueError as error:
            faults.append(f"VAULT_ADDR {error}")
        if not _NAME.fullmatch(key):
            faults.append("VAULT_TRANSIT_KEY is not the name of a Transit key")
        if not _MOUNT.fullmatch(mount):
            faults.append("VAULT_TRANSIT_MOUNT is not the path of a mount, such as transit")
        if namespace is not None and not _NAMESPACE.fullmatch(namespace):
            faults.append("VAULT_NAMESPACE is not the path of a namespace")
        if faults:
            raise StartupFault(*faults)
        return cls(host, port, tls, mount, key, namespace, ca_file)


class TransitKey:
    """A `RemoteKey` of the Transit engine."""

    kind = TRANSIT_KIND

    def __init__(
        self, address: TransitAddress, token_file: Path, *, timeout: float = TIMEOUT
    ) -> None:
        """The token is read anew for each request: an agent may renew it at any time."""
        self._address = address
        self._token_file = token_file
        self._timeout = timeout

    @property
    def name(self) -> str:
        """What operators call the key."""
        return f"the Transit key '{self._address.key}'"

    def params(self) -> Mapping[str, int | str]:
        """Mount and name, for people to read."""
        return {"mount": self._address.mount, "key": self._address.key}

    async def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt, bound to the context; gives the engine's text, `vault:v1:...`."""
        data = await self._ask("encrypt", {"plaintext": _encoded(plaintext)}, context)
        ciphertext = data.get("ciphertext")
        if not isinstance(ciphertext, str) or not ciphertext.isascii():
            raise _unexpected()
        return ciphertext.encode()

    async def decrypt(self, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        """Decrypt what `encrypt` gave for the same context."""
        try:
            text = ciphertext.decode("ascii")
        except UnicodeDecodeError:
            raise IntegrityFailure("A wrapped data key is not what Transit gives") from None
        data = await self._ask("decrypt", {"ciphertext": text}, context)
        try:
            return base64.b64decode(data["plaintext"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise _unexpected() from None

    async def _ask(
        self, operation: str, asked: Mapping[str, str], context: Mapping[str, str]
    ) -> Mapping[str, Any]:
        bound = _encoded(json.dumps(context, sort_keys=True, separators=(",", ":")).encode())
        # Keys made with `derived` need the context; the others leave it out.
        body = json.dumps({**asked, "associated_data": bound, "context": bound})
        status, document = await asyncio.to_thread(self._exchange, operation, body)
        if status == 200 and isinstance(document.get("data"), dict):
            return dict(document["data"])
        raise self._refusal(status, document)

    def _exchange(self, operation: str, body: str) -> tuple[int, Mapping[str, Any]]:
        """One request on a connection of its own; redirects are answers like any other."""
        at = self._address
        headers = {
            "content-type": "application/json",
            "x-vault-request": "true",
            "x-vault-token": self._token(),
        }
        if at.namespace is not None:
            headers["x-vault-namespace"] = at.namespace
        try:
            connection = self._connection()
            try:
                connection.request("POST", f"/v1/{at.mount}/{operation}/{at.key}", body, headers)
                answer = connection.getresponse()
                content = answer.read(_MAX_ANSWER)
            finally:
                connection.close()
        except (OSError, HTTPException) as error:
            raise WrappingUnavailable(
                f"Vault at {at.host}:{at.port} cannot be asked ({type(error).__name__})"
            ) from error
        return answer.status, _document(content)

    def _connection(self) -> HTTPConnection:
        at = self._address
        if not at.tls:
            return HTTPConnection(at.host, at.port, timeout=self._timeout)
        authorities = None if at.ca_file is None else str(at.ca_file)
        context = ssl.create_default_context(cafile=authorities)
        return HTTPSConnection(at.host, at.port, timeout=self._timeout, context=context)

    def _token(self) -> str:
        try:
            token = self._token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WrappingUnavailable(
                f"VAULT_TOKEN_FILE cannot be read ({type(error).__name__})"
            ) from error
        if not _TOKEN.fullmatch(token):
            raise WrappingUnavailable("VAULT_TOKEN_FILE does not hold one token")
        return token

    def _refusal(
        self, status: int, document: Mapping[str, Any]
    ) -> IntegrityFailure | WrappingUnavailable:
        """What an answer other than success means; nothing the engine says is repeated."""
        said = " ".join(str(error) for error in document.get("errors") or ())
        if status == 400 and _NOT_OURS in said:
            return IntegrityFailure("A wrapped data key does not open")
        if status == 400 and any(words in said for words in _MALFORMED):
            return IntegrityFailure("A wrapped data key is not what Transit gives")
        return WrappingUnavailable(self._reason(status, said))

    def _reason(self, status: int, said: str) -> str:
        key, mount = self._address.key, self._address.mount
        if 300 <= status <= 399:
            return f"Vault redirects ({status}): VAULT_ADDR must lead to its active node"
        if status == 403:
            return (
                "Vault refuses the token in VAULT_TOKEN_FILE (403): it must not have expired, and"
                f" needs update on {mount}/encrypt/{key} and {mount}/decrypt/{key}"
            )
        if status == 404:
            return f"Vault has no Transit engine at '{mount}' (404)"
        if status == 503:
            return "Vault is sealed or not ready (503)"
        if "key not found" in said:
            return f"Vault has no Transit key '{key}'"
        if "associated_data" in said:
            return f"The Transit key '{key}' must be of a type with authentication: aes256-gcm96"
        if "too old" in said:
            return (
                f"The version of the Transit key '{key}' that wrapped the keyring is not allowed"
                " any more: lower min_decryption_version"
            )
        return f"Vault gives no usable answer ({status})"


def _encoded(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _document(content: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(content)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _unexpected() -> WrappingUnavailable:
    return WrappingUnavailable("Vault gives no usable answer (200)")
