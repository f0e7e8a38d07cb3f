import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.kernel.errors import InvalidInput
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import check_value, endpoint_origin, key_prefix

PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=512)


@given(PRINTABLE)
def test_printable_ascii_of_8_to_512_characters_is_a_key(value: str) -> None:
    check_value(Provider.OPENAI, Secret(value))
    assert len(value) >= 8


@pytest.mark.parametrize(
    "value",
    [
        "",
        "short77",
        "x" * 513,
        "sk-with space-inside",
        "sk-carriage\rreturn",
        "sk-line\nfeed-inside",
        "sk-nul\x00inside",
        "sk-tab\tinside-it",
        "sk-delete\x7finside",
        "sk-umlaut-ä-inside",
        "sk-trailing-newline\n",
        " sk-leading-space",
    ],
)
def test_what_could_break_out_of_a_header_is_no_key(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_value(Provider.OPENAI, Secret(value))
    assert caught.value.errors[0].field == "apiKey"
    assert not value.strip() or value not in str(caught.value.errors)


@pytest.mark.parametrize("provider", [Provider.OLLAMA, Provider.CUSTOM])
def test_a_star_is_a_fine_key_where_nobody_checks(provider: Provider) -> None:
    check_value(provider, Secret("*"))
    assert key_prefix(Secret("*")) == "***"


@pytest.mark.parametrize("provider", [Provider.OLLAMA, Provider.CUSTOM])
@pytest.mark.parametrize("value", ["", "a b", "a\r\nx-evil: 1", "x" * 513])
def test_an_unchecked_key_still_cannot_break_out_of_a_header(
    provider: Provider, value: str
) -> None:
    with pytest.raises(InvalidInput):
        check_value(provider, Secret(value))


@pytest.mark.parametrize(
    ("value", "prefix"),
    [
        ("sk-proj-abcdefghijklmnop1234", "sk-proj...1234"),
        ("12345678901234567890", "1234567...7890"),
        ("1234567890123456789", "***"),
        ("*", "***"),
    ],
)
def test_the_prefix_shows_both_ends_of_long_keys_and_nothing_of_short_ones(
    value: str, prefix: str
) -> None:
    assert key_prefix(Secret(value)) == prefix


@pytest.mark.parametrize(
    ("endpoint", "origin"),
    [
        (None, ""),
        ("https://Res.openai.azure.com", "https://res.openai.azure.com"),
        ("https://host:8443/v1/path", "https://host:8443"),
    ],
)
def test_a_key_is_bound_to_its_endpoints_origin(endpoint: str | None, origin: str) -> None:
    assert endpoint_origin(endpoint) == origin
