"""What an endpoint holds; the forms it refuses are in tests/vectors/ssrf_corpus.py."""

import string
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.kernel.errors import EgressRefused
from model_service.providers.endpoint import Endpoint, parse_endpoint, parse_host, parse_port


def test_endpoint_holds_the_parts_in_normal_form() -> None:
    assert parse_endpoint("HTTPS://API.Example.com:8443/v1/") == Endpoint(
        scheme="https",
        host="api.example.com",
        port=8443,
        path_prefix="/v1",
        origin="https://api.example.com:8443",
        authority="api.example.com:8443",
        address=None,
        trusted=False,
    )


def test_default_port_is_left_out_of_origin_and_authority() -> None:
    endpoint = parse_endpoint("http://ollama:80", trusted=True)
    assert (endpoint.port, endpoint.origin, endpoint.authority) == (80, "http://ollama", "ollama")
    assert endpoint.trusted


def test_ipv4_host_is_an_address() -> None:
    assert parse_endpoint("https://1.1.1.1").address == IPv4Address("1.1.1.1")


def test_ipv6_host_is_bracketed_in_the_origin_alone() -> None:
    endpoint = parse_endpoint("https://[2606:4700:0::1111]:8443")
    assert endpoint.host == "2606:4700::1111"
    assert endpoint.address == IPv6Address("2606:4700::1111")
    assert endpoint.origin == "https://[2606:4700::1111]:8443"


@pytest.mark.parametrize(
    "url",
    [
        "https://user:made-up-password@api.example.com",
        "https://api.example.com/v1?key=made-up-password",
        "https://made-up-password:x",
        "https://api.example.com/made-up-password\n",
    ],
)
def test_refusal_does_not_repeat_the_url(url: str) -> None:
    with pytest.raises(EgressRefused) as refusal:
        parse_endpoint(url)
    assert "made-up-password" not in refusal.value.message


@pytest.mark.parametrize(
    ("text", "host"),
    [("Ollama", "ollama"), ("10.0.0.5", "10.0.0.5"), ("[FD00::1]", "fd00::1")],
)
def test_host_alone_has_the_form_it_has_in_an_endpoint(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize("text", ["", "0", "65536", "080", "+1", "-1", "1 ", "\uff11"])
def test_port_that_is_no_plain_number_is_refused(text: str) -> None:
    with pytest.raises(EgressRefused):
        parse_port(text)


@given(st.text(max_size=60))
def test_any_text_is_refused_or_parsed_and_never_breaks_the_parser(text: str) -> None:
    for url in (text, f"https://{text}", f"https://api.example.com{text}"):
        try:
            endpoint = parse_endpoint(url)
        except EgressRefused:
            continue
        assert parse_endpoint(endpoint.origin + endpoint.path_prefix) == endpoint


@given(st.text(alphabet=string.printable, max_size=40))
def test_parsed_parts_hold_nothing_that_ends_a_line_or_a_part(text: str) -> None:
    try:
        endpoint = parse_endpoint(f"https://{text}")
    except EgressRefused:
        return
    assert not set(endpoint.authority) & set("/?#@\\% \t\r\n\0")
    assert not set(endpoint.path_prefix) & set("?#\\% \t\r\n\0")
