"""A certificate authority made for one test run."""

import datetime
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_YEAR = datetime.timedelta(days=365)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Authority:
    """Signs server certificates, and gives clients a context that trusts them alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._issue(
            "made-up authority", self._key.public_key(), x509.BasicConstraints(True, None), ()
        )

    def client_context(self) -> ssl.SSLContext:
        """For a transport that trusts this authority and no other."""
        return ssl.create_default_context(cadata=self.pem())

    def pem(self) -> str:
        """Its own certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def server_context(self, *hosts: str, expired: bool = False) -> ssl.SSLContext:
        """For a server with a certificate of these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._issue(
            hosts[0],
            key.public_key(),
            x509.BasicConstraints(False, None),
            [x509.SubjectAlternativeName([_alternative_name(host) for host in hosts])],
            expired=expired,
        )
        path = self._directory / f"{certificate.serial_number}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _issue(
        self,
        common_name: str,
        public_key: ec.EllipticCurvePublicKey,
        constraints: x509.BasicConstraints,
        extensions: Sequence[x509.ExtensionType],
        *,
        expired: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        end = now - _YEAR / 12 if expired else now + _YEAR
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(_name("made-up authority"))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _YEAR)
            .not_valid_after(end)
            .add_extension(constraints, critical=True)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())
