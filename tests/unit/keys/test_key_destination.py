"""Where keys may be sent: an endpoint of their own, or a preset's."""

from typing import Any

import pytest

from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.destination import endpoint_of, with_endpoint
from model_service.keys.domain import check_value, is_checked
from model_service.keys.verification import Verifier

MISTRAL = "https://api.mistral.ai/v1"


class Gate:
    """One preset, and endpoints that are anything but `https://no.example`."""

    def __init__(self) -> None:
        self.asked: list[Provider] = []

    def checked_endpoint(self, provider: Provider, endpoint: str) -> str:
        if provider is Provider.OPENAI or endpoint == "https://no.example":
            raise InvalidInput(errors=[FieldFault("metadata.endpoint", "must not be given")])
        return endpoint.removesuffix("/")

    def preset_endpoint(self, preset: str) -> str:
        if preset != "mistral":
            raise InvalidInput(errors=[FieldFault("metadata.preset", "must be one of mistral")])
        return MISTRAL

    async def validate(self, provider: Provider, key: Secret[str], endpoint: str | None) -> Verdict:
        self.asked.append(provider)
        return Verdict.INVALID


def placed(metadata: dict[str, Any] | None, provider: Provider = Provider.CUSTOM) -> object:
    return with_endpoint(Gate(), provider, metadata)


def refused(metadata: dict[str, Any], provider: Provider = Provider.CUSTOM) -> FieldFault:
    with pytest.raises(InvalidInput) as caught:
        placed(metadata, provider)
    (fault,) = caught.value.errors
    return fault


def test_a_preset_fills_the_endpoint_in_and_stays() -> None:
    assert placed({"preset": "mistral", "team": "a"}) == {
        "preset": "mistral",
        "team": "a",
        "endpoint": MISTRAL,
    }


def test_what_was_stored_may_be_sent_back_as_it_is() -> None:
    stored = placed({"preset": "mistral"})
    assert isinstance(stored, dict)
    assert placed(stored) == stored
    assert placed({**stored, "endpoint": MISTRAL + "/"}) == stored


def test_a_preset_beside_another_endpoint_is_refused() -> None:
    fault = refused({"preset": "mistral", "endpoint": "https://api.example.com/v1"})
    assert fault.field == "metadata.endpoint"
    assert "mistral" in fault.message


def test_an_unknown_preset_is_refused_and_the_known_are_listed() -> None:
    assert refused({"preset": "nobody"}) == FieldFault("metadata.preset", "must be one of mistral")


@pytest.mark.parametrize("preset", [7, True, {}, ["mistral"]])
def test_a_preset_is_a_string(preset: object) -> None:
    assert refused({"preset": preset}) == FieldFault("metadata.preset", "must be a string")


@pytest.mark.parametrize("endpoint", [7, {}, []])
def test_an_endpoint_is_a_string(endpoint: object) -> None:
    assert refused({"endpoint": endpoint}) == FieldFault("metadata.endpoint", "must be a string")


@pytest.mark.parametrize("metadata", [None, {}, {"endpoint": None}, {"preset": None}, {"a": 1}])
def test_without_either_nothing_is_filled_in(metadata: dict[str, Any] | None) -> None:
    assert placed(metadata) == metadata


def test_only_custom_keys_have_presets() -> None:
    metadata = {"preset": "nobody"}
    assert placed(metadata, Provider.OPENAI) == metadata
    assert placed(metadata, Provider.OLLAMA) == metadata


def test_an_endpoint_is_stored_in_canonical_form() -> None:
    stored = placed({"endpoint": "https://llm.example.com/"}, Provider.OLLAMA)
    assert stored == {"endpoint": "https://llm.example.com"}


def test_an_endpoint_that_keys_may_not_go_to_is_refused() -> None:
    assert refused({"endpoint": "https://no.example"}).field == "metadata.endpoint"


def test_the_endpoint_is_that_of_the_metadata() -> None:
    assert endpoint_of(None) is None
    assert endpoint_of({}) is None
    assert endpoint_of({"endpoint": MISTRAL}) == MISTRAL


@pytest.mark.parametrize(
    ("provider", "metadata", "checked"),
    [
        (Provider.OPENAI, None, True),
        (Provider.AZURE, {}, True),
        (Provider.CUSTOM, None, False),
        (Provider.CUSTOM, {"endpoint": MISTRAL}, False),
        (Provider.CUSTOM, {"preset": None}, False),
        (Provider.CUSTOM, {"preset": "mistral"}, True),
        (Provider.OLLAMA, {"preset": "mistral"}, False),
    ],
)
def test_custom_keys_are_checked_if_a_preset_says_with_whom(
    provider: Provider, metadata: dict[str, Any] | None, checked: bool
) -> None:
    assert is_checked(provider, metadata) is checked


def test_a_star_is_no_key_where_somebody_checks() -> None:
    check_value(Provider.CUSTOM, Secret("*"))
    with pytest.raises(InvalidInput):
        check_value(Provider.CUSTOM, Secret("*"), {"preset": "mistral"})


@pytest.mark.parametrize(
    ("checked", "verdict", "asked"),
    [(True, Verdict.INVALID, [Provider.CUSTOM]), (False, Verdict.VALID, [])],
)
async def test_a_value_that_is_not_checked_is_sent_to_nobody(
    checked: bool, verdict: Verdict, asked: list[Provider]
) -> None:
    gate = Gate()
    verdicts: list[Verdict] = []
    verifier = Verifier(gate, lambda _, heard: verdicts.append(heard))
    value = Secret("made-up-key-01234567")
    assert await verifier.ask(Provider.CUSTOM, value, MISTRAL, is_checked=checked) is verdict
    assert (gate.asked, verdicts) == (asked, [verdict])
