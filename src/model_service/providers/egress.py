"""The egress guard: which upstreams a connection may be opened to.

A name is resolved here, every address it has is checked, and the caller connects to one of
the checked addresses. As that happens for each new connection, a name that answers with a
public address first and a private one later (DNS rebinding) gains nothing.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final, Protocol

from model_service.kernel.errors import (
    ConnectFailed,
    EgressRefused,
    StartupFault,
    UpstreamTimeout,
)
from model_service.providers.addresses import (
    Address,
    Network,
    is_global,
    is_loopback,
    is_metadata,
)
from model_service.providers.endpoint import Endpoint, parse_endpoint, parse_host, parse_port

# getaddrinfo's own patience is tens of seconds (resolv.conf: 5 s a try, several tries).
RESOLVE_SECONDS: Final = 5.0

_REFUSED = "The upstream's address is not one this service may connect to"


class Resolver(Protocol):
    """Turns a host name into IP addresses."""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """All addresses of the host as text. Raises OSError when there are none."""
        ...


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Ask the operating system (hosts file, DNS), in a thread of the running loop's."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


@dataclass(frozen=True, slots=True)
class HostRule:
    """The operator lets connections through to this host and port, wherever it resolves to."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What the operator opened beyond public addresses.

    `allowed` comes from UPSTREAM_ALLOWED_HOSTS; `loopback_allowed` is true in development.
    """

    allowed: tuple[HostRule | Network, ...] = ()
    loopback_allowed: bool = False

    @classmethod
    def parse(cls, allowed_hosts: str, *, loopback_allowed: bool) -> "EgressPolicy":
        """Read a list of `host:port` and CIDR entries, separated by commas or spaces.

        Raises StartupFault with one sentence for each malformed entry.
        """
        rules: list[HostRule | Network] = []
        faults: list[str] = []
        for entry in allowed_hosts.replace(",", " ").split():
            try:
                rules.append(_parse_rule(entry))
            except (EgressRefused, ValueError) as error:
                faults.append(f"UPSTREAM_ALLOWED_HOSTS has a malformed entry {entry!r}: {error}")
        if faults:
            raise StartupFault(*faults)
        return cls(tuple(rules), loopback_allowed)

    def vet(self, endpoint: Endpoint) -> None:
        """Refuse what can be refused before a name is resolved: plain http, a bad IP address.

        Raises EgressRefused. For the moment an endpoint is saved; `resolve` does it again.
        """
        if endpoint.scheme == "http" and not self._plain_http_allowed(endpoint):
            raise EgressRefused("A plain http upstream needs an entry in UPSTREAM_ALLOWED_HOSTS")
        if endpoint.address is not None:
            self.check_address(endpoint, endpoint.address)

    def check_address(self, endpoint: Endpoint, address: Address) -> None:
        """Refuse an address the endpoint may not be reached at. Raises EgressRefused."""
        scoped = isinstance(address, IPv6Address) and address.scope_id is not None
        if scoped or is_metadata(address):
            raise EgressRefused(_REFUSED)
        if endpoint.trusted or self._listed_by_name(endpoint) or self._listed_by_network(address):
            return
        if self.loopback_allowed and is_loopback(address):
            return
        # Past this point plain http is admitted for loopback alone: a "localhost" that
        # resolves to a public address must not carry a key in clear.
        if endpoint.scheme == "http" or not is_global(address):
            raise EgressRefused(_REFUSED)

    def _plain_http_allowed(self, endpoint: Endpoint) -> bool:
        if endpoint.trusted or self._listed_by_name(endpoint):
            return True
        if endpoint.address is not None:
            local = self.loopback_allowed and is_loopback(endpoint.address)
            return local or self._listed_by_network(endpoint.address)
        local_name = endpoint.host == "localhost" or endpoint.host.endswith(".localhost")
        return self.loopback_allowed and local_name  # RFC 6761 section 6.3

    def _listed_by_name(self, endpoint: Endpoint) -> bool:
        return HostRule(endpoint.host, endpoint.port) in self.allowed

    def _listed_by_network(self, address: Address) -> bool:
        return any(
            not isinstance(rule, HostRule) and address.version == rule.version and address in rule
            for rule in self.allowed
        )


def vetted_endpoint(url: str, policy: EgressPolicy, *, trusted: bool = False) -> Endpoint:
    """Parse an upstream URL and vet it: what saving a user-set endpoint has to do.

    Raises EgressRefused.
    """
    endpoint = parse_endpoint(url, trusted=trusted)
    policy.vet(endpoint)
    return endpoint


async def resolve(
    endpoint: Endpoint, policy: EgressPolicy, resolver: Resolver = system_resolver
) -> tuple[Address, ...]:
    """The addresses to connect to, each of them checked, families alternating.

    One bad address refuses the whole endpoint: a name that mixes public and private
    addresses is misconfigured or an attack. Raises EgressRefused, ConnectFailed when the
    name has no address, UpstreamTimeout("connect").
    """
    policy.vet(endpoint)
    if endpoint.address is not None:
        return (endpoint.address,)
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            texts = await resolver(endpoint.host, endpoint.port)
    except TimeoutError:
        raise UpstreamTimeout("connect") from None
    except (OSError, UnicodeError):
        raise ConnectFailed("The upstream's host name could not be resolved") from None
    addresses = _parse_answer(texts)
    for address in addresses:
        policy.check_address(endpoint, address)
    return _alternating(addresses)


def _parse_answer(texts: Iterable[str]) -> tuple[Address, ...]:
    try:
        addresses = tuple(dict.fromkeys(ip_address(text) for text in texts))
    except ValueError:
        raise EgressRefused(_REFUSED) from None
    if not addresses:
        raise ConnectFailed("The upstream's host name could not be resolved")
    return addresses


def _alternating(addresses: Sequence[Address]) -> tuple[Address, ...]:
    """IPv6 and IPv4 in turns, the resolver's first choice first (RFC 8305 section 4)."""
    first_version = addresses[0].version
    preferred = [address for address in addresses if address.version == first_version]
    others = [address for address in addresses if address.version != first_version]
    turns: list[Address] = []
    for index in range(max(len(preferred), len(others))):
        turns += preferred[index : index + 1] + others[index : index + 1]
    return tuple(turns)


def _parse_rule(entry: str) -> HostRule | Network:
    """One entry of UPSTREAM_ALLOWED_HOSTS. Raises EgressRefused or ValueError saying why."""
    if "/" in entry or _is_address(entry):
        network = ip_network(entry)
        if network.prefixlen == 0:
            raise ValueError("a network of every address would switch the guard off")
        return network
    host, colon, port = entry.rpartition(":")
    if not colon:
        raise ValueError("a host needs its port, as in host:port")
    return HostRule(parse_host(host), parse_port(port))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
