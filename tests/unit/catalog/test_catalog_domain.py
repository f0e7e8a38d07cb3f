"""What a model may be, and what a change of it means."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from model_service.catalog.domain import UNSET, Model, ModelChanges, NewModel
from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.types import Provider

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def new(**values: Any) -> NewModel:
    given: dict[str, Any] = {"name": "m", "provider": Provider.OPENAI, "model_id": "gpt-4o"}
    return NewModel(**given | values)


def test_registering_keeps_every_field_and_adds_identity_and_times() -> None:
    identity = uuid4()
    model = Model.register(new(description="d", fallbacks=("a",)), id=identity, now=NOON)
    assert (model.id, model.created_at, model.updated_at) == (identity, NOON, NOON)
    assert (model.name, model.description, model.fallbacks) == ("m", "d", ("a",))


def test_a_change_tells_null_from_not_given() -> None:
    changes = ModelChanges(description=None)
    assert changes.given() == {"description": None}
    assert changes.metadata is UNSET
    model = Model.register(new(description="d", metadata={"a": 1}), id=uuid4(), now=NOON)
    after = changes.applied_to(model)
    assert (after.description, after.metadata) == (None, {"a": 1})


def test_no_change_changes_nothing() -> None:
    model = Model.register(new(), id=uuid4(), now=NOON)
    assert ModelChanges().given() == {}
    assert ModelChanges().applied_to(model) == model


def test_a_model_does_not_fall_back_on_itself() -> None:
    new(fallbacks=("other",)).check()
    with pytest.raises(InvalidInput) as caught:
        new(fallbacks=("other", "m")).check()
    assert [fault.field for fault in caught.value.errors] == ["fallbacks"]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "https://api.example.com/v1",
        "http://127.0.0.1:8000/v1?version=2",
        "https://[2001:db8::1]:8443/",
        "HTTPS://EXAMPLE.COM",
    ],
)
def test_a_custom_model_may_be_served_at_any_http_url(url: str) -> None:
    new(provider=Provider.CUSTOM, provider_settings={"baseUrl": url}).check()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "//api.example.com",
        "ftp://api.example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///v1",
        "https://:443/",
        "https://user@api.example.com",
        "https://user:password@api.example.com",
        "https://@api.example.com",
        "https://api.example.com#fragment",
        "https://api.example.com/#",
        "https://api.example.com:0/",
        "https://api.example.com:99999/",
        "https://api.example.com:port/",
        "https://api example.com",
        "https://api.example.com/\r\nx-injected: 1",
        "https://api.example.com/\x7f",
        "https:\\\\api.example.com",
        "https://[::1",
        7,
        None,
        ["https://api.example.com"],
    ],
)
def test_a_custom_model_is_not_served_at_anything_else(url: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        new(provider=Provider.CUSTOM, provider_settings={"baseUrl": url}).check()
    assert [fault.field for fault in caught.value.errors] == ["providerSettings.baseUrl"]


def test_other_providers_settings_are_their_own_affair() -> None:
    new(provider=Provider.OPENAI, provider_settings={"baseUrl": 7}).check()
    new(provider=Provider.CUSTOM, provider_settings={"tier": "strict"}).check()
    new(provider=Provider.CUSTOM).check()


PRESETS = {"mistral": "https://api.mistral.ai/v1", "groq": "https://api.groq.com/openai/v1"}


def test_a_custom_model_may_name_its_vendor_instead() -> None:
    model = new(provider=Provider.CUSTOM, provider_settings={"preset": "groq"})
    model.check(PRESETS)
    assert model.preset == "groq"
    assert model.base_url is None
    assert model.served_at(PRESETS) == "https://api.groq.com/openai/v1"


@pytest.mark.parametrize("preset", ["openai", "GROQ", "", None, 7, ["groq"]])
def test_an_unknown_vendor_is_refused_and_the_known_are_listed(preset: object) -> None:
    model = new(provider=Provider.CUSTOM, provider_settings={"preset": preset})
    with pytest.raises(InvalidInput) as caught:
        model.check(PRESETS)
    (fault,) = caught.value.errors
    assert fault == FieldFault("providerSettings.preset", "must be one of groq, mistral")
    assert model.served_at(PRESETS) is None


def test_a_vendor_is_not_named_beside_a_base_url() -> None:
    settings = {"preset": "groq", "baseUrl": "https://api.groq.com/openai/v1"}
    with pytest.raises(InvalidInput) as caught:
        new(provider=Provider.CUSTOM, provider_settings=settings).check(PRESETS)
    assert [fault.field for fault in caught.value.errors] == ["providerSettings.preset"]


def test_a_model_with_a_base_url_is_served_there() -> None:
    settings = {"baseUrl": "https://llm.example.com/v1"}
    model = new(provider=Provider.CUSTOM, provider_settings=settings)
    assert model.served_at(PRESETS) == "https://llm.example.com/v1"
    assert new(provider=Provider.CUSTOM).served_at(PRESETS) is None


def test_only_custom_models_have_a_vendor() -> None:
    model = new(provider=Provider.OPENAI, provider_settings={"preset": "nobody"})
    model.check(PRESETS)
    assert model.preset is None
    assert model.served_at(PRESETS) is None


def test_a_policy_that_is_no_good_is_refused_by_field() -> None:
    new(provider_settings={"policy": {"retries": 0, "recovery": "continue"}}).check()
    with pytest.raises(InvalidInput) as refused:
        new(provider_settings={"policy": {"retries": 9, "patience": 1}}).check()
    assert [fault.field for fault in refused.value.errors] == [
        "providerSettings.policy.retries",
        "providerSettings.policy.patience",
    ]
