"""A signature goes back to whoever made it, and to nobody else."""

from hypothesis import assume, given
from hypothesis import strategies as st

from model_service.providers.signatures import mark, own, shown, taken

ORIGINS = ("anthropic", "google", "openai_chat", "openai_responses", "openai", "ollama")

_origins = st.sampled_from(ORIGINS)
_payload = st.text(alphabet="abcXYZ019+/=-_:", max_size=20)


@given(_origins, _payload)
def test_an_origin_gets_its_own_signature_unchanged(origin: str, payload: str) -> None:
    assert own(mark(origin, payload), origin) == payload


@given(_origins, _origins, _payload)
def test_another_provider_does_not_get_it(origin: str, other: str, payload: str) -> None:
    assume(origin != other)
    assert own(mark(origin, payload), other) is None


@given(_origins, _origins, _payload)
def test_through_any_door_and_back_it_is_the_same(origin: str, door: str, payload: str) -> None:
    signature = mark(origin, payload)
    assert taken(shown(signature, door), door) == signature


@given(_origins, _payload)
def test_a_door_shows_its_own_bare(origin: str, payload: str) -> None:
    assert shown(mark(origin, payload), origin) == payload


@given(_origins, _origins, _payload)
def test_a_door_shows_others_marked(origin: str, door: str, payload: str) -> None:
    assume(origin != door)
    assert shown(mark(origin, payload), door) == mark(origin, payload)


@given(_origins, _payload)
def test_a_door_without_signatures_of_its_own_shows_all_marked(origin: str, payload: str) -> None:
    assert shown(mark(origin, payload), None) == mark(origin, payload)


def test_nobody_owns_no_signature() -> None:
    assert own(None, "anthropic") is None


def test_a_name_that_begins_like_another_is_another() -> None:
    assert own(mark("openai_chat", "x"), "openai") is None
