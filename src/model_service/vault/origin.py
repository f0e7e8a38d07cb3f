"""Addresses of the services that keep wrapping keys: never in clear beyond this machine."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def parse_origin(address: str, *, example: str) -> tuple[str, int, bool]:
    """Host, port and whether by TLS. Raises ValueError with the rest of a sentence."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"must be a URL such as {example}")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must be an origin, without user name, path or query")
    tls = parts.scheme == "https"
    if not tls and not _is_loopback(host):
        raise ValueError("must be https, as it carries the keyring's keys; http is for loopback")
    return host, port or (443 if tls else 80), tls


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
