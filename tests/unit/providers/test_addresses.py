from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.addresses import (
    METADATA,
    REFUSED_IPV4,
    REFUSED_IPV6,
    Address,
    is_global,
    is_loopback,
    is_metadata,
)


@pytest.mark.parametrize("block", [*REFUSED_IPV4, *REFUSED_IPV6], ids=str)
def test_first_and_last_address_of_a_refused_block_are_not_global(block: IPv4Network) -> None:
    assert not is_global(block[0])
    assert not is_global(block[-1])


@given(st.ip_addresses())
def test_nothing_python_calls_private_or_multicast_is_global(address: Address) -> None:
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        assert not is_global(address)


@given(st.ip_addresses(v=6))
def test_ipv6_outside_global_unicast_is_not_global(address: IPv6Address) -> None:
    if int(address) >> 125 != 1:
        assert not is_global(address)


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::1"]
)
def test_ordinary_public_address_is_global(text: str) -> None:
    assert is_global(ip_address(text))


@pytest.mark.parametrize("address", sorted(METADATA, key=str), ids=str)
def test_metadata_address_is_known(address: Address) -> None:
    assert is_metadata(address)


@pytest.mark.parametrize(
    "text",
    [
        "::169.254.169.254",
        "::ffff:169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::",
        "2001:0:101:101:0:0:5601:5601",
    ],
)
def test_metadata_address_is_known_inside_an_ipv6_address(text: str) -> None:
    assert is_metadata(IPv6Address(text))


@given(st.ip_addresses(v=4))
def test_ipv4_is_metadata_only_when_listed(address: IPv4Address) -> None:
    assert is_metadata(address) == (address in METADATA)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("128.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 (an address to judge, not to listen on)
        ("::", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_loopback_has_one_spelling_for_each_family(text: str, expected: bool) -> None:
    assert is_loopback(ip_address(text)) is expected
