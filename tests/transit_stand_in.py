"""A stand-in of Vault's Transit engine that speaks its wire format and refuses what it refuses.

Statuses and words follow the engine's source (`builtin/logical/transit` and `keysutil`, which
OpenBao shares): what a client may rely on, and what it stumbles over. Keys are made by
`create_key`; a token that may only `update` cannot make one by encrypting under a new name.
"""

import base64
import binascii
import json
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from typing_extensions import override

TOKEN = "hvs.made-up-token-0123456789"
_PREFIX = "vault:v"

Answer = tuple[int, Mapping[str, Any]]


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(*errors)
        self.status = status
        self.errors = errors


@dataclass
class TransitKeyState:
    """One named key and its versions, oldest first."""

    derived: bool = False
    type: str = "aes256-gcm96"
    min_decryption_version: int = 1
    versions: list[bytes] = field(default_factory=lambda: [os.urandom(32)])

    def cipher(self, version: int, context: bytes) -> AESGCM:
        key = self.versions[version - 1]
        if not self.derived:
            return AESGCM(key)
        if not context:
            raise Refused(
                400,
                "missing 'context' for key derivation; the key was created using a derived key,"
                " which means additional, per-request information must be included in order to"
                " perform operations with the key",
            )
        return AESGCM(HKDF(SHA256(), 32, None, context).derive(key))


class Transit:
    """The engine, what it was asked, and how it is to misbehave."""

    def __init__(self) -> None:
        self.keys: dict[str, TransitKeyState] = {}
        self.tokens: dict[str, frozenset[str]] = {TOKEN: frozenset({"update"})}
        self.mount = "transit"
        self.namespace: str | None = None
        self.sealed = False
        #: As before release 1.12: associated data is taken and left out.
        self.ignores_associated_data = False
        #: Answered in place of everything else.
        self.instead: tuple[int, bytes, Mapping[str, str]] | None = None
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.address = ""

    def create_key(self, name: str, **state: Any) -> TransitKeyState:
        """As `vault write -f transit/keys/<name>`."""
        self.keys[name] = TransitKeyState(**state)
        return self.keys[name]

    @property
    def operations(self) -> list[str]:
        """What was asked, in order."""
        return [path.split("/")[-2] for path, _ in self.requests]

    def answer(self, path: str, headers: Mapping[str, str], content: bytes) -> Answer:
        """The answer to a request."""
        try:
            return 200, {"request_id": "made-up", "data": self._handle(path, headers, content)}
        except Refused as refused:
            return refused.status, {"errors": list(refused.errors)}

    def _handle(self, path: str, headers: Mapping[str, str], content: bytes) -> Mapping[str, Any]:
        if self.sealed:
            raise Refused(503, "Vault is sealed")
        try:
            asked = json.loads(content)
        except ValueError:
            raise Refused(400, "error parsing JSON") from None
        self.requests.append((path, asked))
        capabilities = self.tokens.get(headers.get("x-vault-token", ""))
        if capabilities is None:
            raise Refused(403, "permission denied")
        parts = path.removeprefix("/v1/").rsplit("/", 2)
        at_home = headers.get("x-vault-namespace") == self.namespace
        if len(parts) != 3 or parts[0] != self.mount or not at_home:
            route = path.removeprefix("/v1/")
            raise Refused(404, f'no handler for route "{route}". route entry not found.')
        _, operation, name = parts
        if operation == "encrypt":
            return self._encrypt(name, asked, capabilities)
        if operation == "decrypt":
            return self._decrypt(name, asked, capabilities)
        raise Refused(404, "unsupported path")

    def _encrypt(
        self, name: str, asked: Mapping[str, Any], capabilities: frozenset[str]
    ) -> Mapping[str, Any]:
        if "plaintext" not in asked:
            raise Refused(400, "missing plaintext to encrypt")
        plaintext = _decoded(asked["plaintext"])
        context = _decoded(asked.get("context", ""))
        key = self.keys.get(name)
        # The engine looks first whether the key exists: creating is another capability.
        if ("create" if key is None else "update") not in capabilities:
            raise Refused(403, "1 error occurred:\n\t* permission denied\n\n")
        if key is None:
            key = self.create_key(name, derived=bool(context))
        associated = self._associated(key, asked)
        nonce, version = os.urandom(12), len(key.versions)
        sealed = key.cipher(version, context).encrypt(nonce, plaintext, associated)
        encoded = base64.b64encode(nonce + sealed).decode()
        return {"ciphertext": f"{_PREFIX}{version}:{encoded}", "key_version": version}

    def _decrypt(
        self, name: str, asked: Mapping[str, Any], capabilities: frozenset[str]
    ) -> Mapping[str, Any]:
        if "update" not in capabilities:
            raise Refused(403, "1 error occurred:\n\t* permission denied\n\n")
        ciphertext = asked.get("ciphertext", "")
        if not ciphertext:
            raise Refused(400, "missing ciphertext to decrypt")
        context = _decoded(asked.get("context", ""))
        key = self.keys.get(name)
        if key is None:
            raise Refused(400, "encryption key not found")
        associated = self._associated(key, asked)
        version, data = _parsed(ciphertext, key)
        if len(data) < 12:
            raise Refused(400, "invalid ciphertext length")
        try:
            opened = key.cipher(version, context).decrypt(data[:12], data[12:], associated)
        except InvalidTag:
            raise Refused(400, "cipher: message authentication failed") from None
        return {"plaintext": base64.b64encode(opened).decode()}

    def _associated(self, key: TransitKeyState, asked: Mapping[str, Any]) -> bytes | None:
        given = asked.get("associated_data", "")
        if not given or self.ignores_associated_data:
            return None
        if key.type != "aes256-gcm96":
            raise Refused(
                400, f"'[0].associated_data' provided for non-AEAD cipher suite {key.type}"
            )
        return _decoded(given)


def _parsed(ciphertext: str, key: TransitKeyState) -> tuple[int, bytes]:
    if not ciphertext.startswith(_PREFIX):
        raise Refused(400, "invalid ciphertext: no prefix")
    version_text, colon, encoded = ciphertext.removeprefix(_PREFIX).partition(":")
    if not colon:
        raise Refused(400, "invalid ciphertext: wrong number of fields")
    if not version_text.isdecimal():
        raise Refused(400, "invalid ciphertext: version number could not be decoded")
    version = int(version_text) or 1
    if version > len(key.versions):
        raise Refused(400, "invalid ciphertext: version is too new")
    if version < key.min_decryption_version:
        raise Refused(400, "ciphertext or signature version is disallowed by policy (too old)")
    try:
        return version, base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise Refused(400, "invalid ciphertext: could not decode base64") from None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Refused(400, "illegal base64 data at input byte 0") from None


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Transit]:
    """The stand-in on a port of its own."""
    transit = Transit()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if transit.instead is not None:
                status, body, extra = transit.instead
            else:
                status, document = transit.answer(self.path, headers, content)
                body, extra = json.dumps(document).encode(), {}
            self.send_response(status)
            for name, value in {**extra, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        @override
        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that leave, or do not trust the certificate, are what tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        transit.address = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield transit
        finally:
            server.shutdown()
            thread.join()
