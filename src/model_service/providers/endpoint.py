"""The address of an upstream, parsed once from text and never re-read from it.

Two parsers that disagree about one URL are the classic way round an egress guard (RFC 3986
section 7.6 warns of rare host forms), so everything that some parser reads differently is
refused here: the transport later connects by the parsed fields alone.
"""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from model_service.kernel.errors import EgressRefused
from model_service.providers.addresses import Address

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_MAX_URL: Final = 2048
_MAX_HOST: Final = 253  # RFC 1035 section 2.3.4, as text without the final dot
_MAX_LABEL: Final = 63  # RFC 1035 section 2.3.4
# The underscore is no host name character (RFC 952), but container networks name hosts with it.
_LABEL_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
# `pchar` of RFC 3986 section 3.3 without percent escapes, and the slash between segments.
_PATH_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an upstream listens, in normal form; made by `parse_endpoint` alone.

    `host` is lower case, an IPv6 address without brackets. `path_prefix` is empty or starts
    with a slash and ends without one. `origin` omits the scheme's default port, and
    `authority` is the origin without its scheme, as the `Host` header carries it. `address`
    is set when the host is an IP address. `trusted` marks an origin the operator set in the
    environment: its host may be private, though never a metadata service.
    """

    scheme: str
    host: str
    port: int
    path_prefix: str
    origin: str
    authority: str
    address: Address | None
    trusted: bool


def parse_endpoint(url: str, *, trusted: bool = False) -> Endpoint:
    """Read `http(s)://host[:port][/prefix]`, refusing whatever parsers could disagree on.

    `trusted` must be true only for what the operator wrote into the environment. Raises
    EgressRefused with a reason that never repeats the text, which may hold a password.
    """
    _check_characters(url)
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS:
        raise EgressRefused("An upstream URL starts with https:// or http://")
    netloc, slash, path = rest.partition("/")
    if "@" in netloc:
        raise EgressRefused("An upstream URL holds no user name or password")
    if "%" in netloc:
        raise EgressRefused("The host of an upstream URL holds no percent sign")
    host, port = _split_port(netloc)
    address = _literal_address(host)
    bare_host = host.lower() if address is None else str(address)
    if address is None:
        _check_name(bare_host)
    shown_host = f"[{bare_host}]" if isinstance(address, IPv6Address) else bare_host
    port_number = _DEFAULT_PORTS[scheme] if port is None else port
    default = port_number == _DEFAULT_PORTS[scheme]
    authority = shown_host if default else f"{shown_host}:{port_number}"
    return Endpoint(
        scheme=scheme,
        host=bare_host,
        port=port_number,
        path_prefix=_prefix(slash + path),
        origin=f"{scheme}://{authority}",
        authority=authority,
        address=address,
        trusted=trusted,
    )


def parse_host(text: str) -> str:
    """A host as `Endpoint.host` would hold it, from `name`, `1.2.3.4` or `[::1]`.

    Raises EgressRefused.
    """
    address = _literal_address(text)
    if address is not None:
        return str(address)
    name = text.lower()
    _check_name(name)
    return name


def parse_port(text: str) -> int:
    """A port number from its plain decimal form. Raises EgressRefused."""
    # No leading zeros: some parsers read them as octal.
    if not (text.isascii() and text.isdigit()) or text[0] == "0" or len(text) > 5:
        raise EgressRefused("The port of an upstream is a number from 1 to 65535")
    port = int(text)
    if port > 65535:
        raise EgressRefused("The port of an upstream is a number from 1 to 65535")
    return port


def _check_characters(url: str) -> None:
    if not url or len(url) > _MAX_URL:
        raise EgressRefused(f"An upstream URL has 1 to {_MAX_URL} characters")
    if not url.isascii():
        # Look-alike letters and full-width dots become other hosts in some IDNA mappings.
        raise EgressRefused("An upstream URL is ASCII; write an international name as xn--")
    if not url.isprintable() or " " in url:
        raise EgressRefused("An upstream URL holds no spaces or control characters")
    for character, name in (("\\", "backslash"), ("#", "fragment"), ("?", "query")):
        if character in url:
            raise EgressRefused(f"An upstream URL holds no {name}")


def _split_port(netloc: str) -> tuple[str, int | None]:
    """Host (an IPv6 address still in its brackets) and port, if one is written."""
    if netloc.startswith("["):
        closing = netloc.find("]") + 1
        host, rest = netloc[:closing], netloc[closing:]
        if not closing or (rest and not rest.startswith(":")):
            raise EgressRefused("The IPv6 address of an upstream URL is malformed")
        return host, parse_port(rest[1:]) if rest else None
    host, colon, port = netloc.partition(":")
    return host, parse_port(port) if colon else None


def _literal_address(host: str) -> Address | None:
    """The IP address written as host, or None when it is a name."""
    if host.startswith("["):
        try:
            return IPv6Address(host[1:-1] if host.endswith("]") else "")
        except AddressValueError:
            raise EgressRefused("The IPv6 address of an upstream URL is malformed") from None
    if not _ends_in_number(host):
        return None
    try:
        return IPv4Address(host)
    except AddressValueError:
        # 127.1, 0177.0.0.1, 0x7f.1 and 2130706433 are 127.0.0.1 to inet_aton.
        raise EgressRefused("The IPv4 address of an upstream has four decimal numbers") from None


def _ends_in_number(host: str) -> bool:
    """Whether parsers take the host for an IPv4 address (WHATWG URL, "ends in a number")."""
    last = host.removesuffix(".").rpartition(".")[2].lower()
    return last.isdigit() or (last.startswith("0x") and _HEX_DIGITS.issuperset(last[2:]))


def _check_name(host: str) -> None:
    """Refuse a host that is not a plain DNS name, relative trailing dot included."""
    if not host:
        raise EgressRefused("An upstream URL names a host")
    if len(host) > _MAX_HOST:
        raise EgressRefused(f"The host of an upstream has at most {_MAX_HOST} characters")
    for label in host.split("."):
        well_formed = (
            0 < len(label) <= _MAX_LABEL
            and _LABEL_CHARACTERS.issuperset(label)
            and label[0] != "-"
            and label[-1] != "-"
        )
        if not well_formed:
            raise EgressRefused("The host of an upstream is not a DNS name")


def _prefix(path: str) -> str:
    if not _PATH_CHARACTERS.issuperset(path):
        raise EgressRefused("The path of an upstream URL holds a character it may not")
    segments = path.rstrip("/").split("/")[1:]
    if any(segment in ("", ".", "..") for segment in segments):
        raise EgressRefused("The path of an upstream URL holds empty or dot segments")
    return "".join("/" + segment for segment in segments)
