"""Which IP addresses are no place for an outgoing connection, and why.

The list is this project's own rather than `ipaddress`'s `is_global`, whose answer changes
with the Python version. Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries
(RFC 6890, RFC 8190), the IPv4 multicast registry (RFC 5771) and the IPv6 address space
registry (RFC 4291: global unicast is assigned from 2000::/3 alone).
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

REFUSED_IPV4: Final = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # "this network", RFC 791 section 3.2
        "10.0.0.0/8",  # private use, RFC 1918
        "100.64.0.0/10",  # shared address space of carrier-grade NAT, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122 section 3.2.1.3
        "169.254.0.0/16",  # link local, RFC 3927
        "172.16.0.0/12",  # private use, RFC 1918
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890 section 2.1
        "192.0.2.0/24",  # documentation (TEST-NET-1), RFC 5737
        "192.31.196.0/24",  # AS112-v4, RFC 7535
        "192.52.193.0/24",  # AMT, RFC 7450
        "192.88.99.0/24",  # deprecated 6to4 relay anycast, RFC 7526
        "192.168.0.0/16",  # private use, RFC 1918
        "192.175.48.0/24",  # direct delegation AS112, RFC 7534
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation (TEST-NET-2), RFC 5737
        "203.0.113.0/24",  # documentation (TEST-NET-3), RFC 5737
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved, RFC 1112 section 4; holds the limited broadcast, RFC 919
    )
)

REFUSED_IPV6: Final = tuple(
    IPv6Network(block)
    for block in (
        # Everything outside 2000::/3. In ::/3 lie the unspecified and loopback addresses,
        # the v4-compatible ::/96 and v4-mapped ::ffff:0:0/96 (RFC 4291 section 2.5.5), SIIT's
        # ::ffff:0:0:0/96 (RFC 7915), NAT64's 64:ff9b::/96 (RFC 6052) and 64:ff9b:1::/48
        # (RFC 8215), and the discard and dummy prefixes 100::/64 and 100:0:0:1::/64
        # (RFC 6666, RFC 9780).
        "::/3",
        "4000::/2",  # holds the SRv6 SIDs 5f00::/16, RFC 9602
        # Unique local fc00::/7 (RFC 4193), link local fe80::/10 (RFC 4291), site local
        # fec0::/10 (RFC 3879) and multicast ff00::/8 (RFC 4291).
        "8000::/1",
        # Within 2000::/3: IETF protocol assignments (RFC 2928) with Teredo 2001::/32
        # (RFC 4380), benchmarking 2001:2::/48 (RFC 5180) and ORCHIDv2 2001:20::/28 (RFC 7343).
        "2001::/23",
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, RFC 3056
        "2620:4f:8000::/48",  # direct delegation AS112, RFC 7534
        "3ffe::/16",  # the former 6bone, RFC 3701
        "3fff::/20",  # documentation, RFC 9637
    )
)

# Where clouds answer credentials to whoever asks from inside. No setting opens these.
METADATA: Final = frozenset(
    (
        IPv4Address("169.254.169.254"),  # AWS, Azure, Google Cloud, Oracle, DigitalOcean
        IPv4Address("169.254.170.2"),  # AWS ECS task credentials
        IPv4Address("169.254.170.23"),  # AWS EKS Pod Identity
        IPv4Address("100.100.100.200"),  # Alibaba Cloud
        IPv4Address("168.63.129.16"),  # Azure WireServer: a public address, answered by the host
        IPv4Address("192.0.0.192"),  # Oracle Cloud, classic
        IPv6Address("fd00:ec2::254"),  # AWS
        IPv6Address("fd00:ec2::23"),  # AWS EKS Pod Identity
        IPv6Address("fd20:ce::254"),  # Google Cloud
    )
)

_LOOPBACK_IPV4: Final = IPv4Network("127.0.0.0/8")
_LOOPBACK_IPV6: Final = IPv6Address("::1")

# Prefixes whose last 32 bits are an IPv4 address that some router or kernel may connect to.
_IPV4_IN_LAST_32_BITS: Final = tuple(
    IPv6Network(block)
    for block in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
_TEREDO: Final = IPv6Network("2001::/32")


def is_global(address: Address) -> bool:
    """Whether the address is ordinary public unicast: in none of the refused blocks."""
    if isinstance(address, IPv4Address):
        return not any(address in block for block in REFUSED_IPV4)
    return not any(address in block for block in REFUSED_IPV6)


def is_loopback(address: Address) -> bool:
    """Whether the address is this machine's own: 127.0.0.0/8 or ::1, in no other spelling."""
    if isinstance(address, IPv4Address):
        return address in _LOOPBACK_IPV4
    return address == _LOOPBACK_IPV6


def is_metadata(address: Address) -> bool:
    """Whether a cloud's metadata service answers there, also through an embedded IPv4 address."""
    return address in METADATA or any(inner in METADATA for inner in _embedded_ipv4(address))


def _embedded_ipv4(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that a transition mechanism may take out of an IPv6 address."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if any(address in block for block in _IPV4_IN_LAST_32_BITS):
        yield IPv4Address(number & 0xFFFF_FFFF)
    elif address in _SIX_TO_FOUR:  # the 32 bits after the prefix, RFC 3056 section 2
        yield IPv4Address(number >> 80 & 0xFFFF_FFFF)
    elif address in _TEREDO:  # server, then the client's with its bits flipped, RFC 4380 section 4
        yield IPv4Address(number >> 64 & 0xFFFF_FFFF)
        yield IPv4Address(~number & 0xFFFF_FFFF)
