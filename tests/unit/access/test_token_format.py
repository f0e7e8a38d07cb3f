"""How tokens are written, hashed and limited."""

import hashlib
import hmac
import inspect
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.access import directory
from model_service.access.domain import NewToken, TokenHasher, claimed_id, mint
from model_service.http import credentials
from model_service.kernel.errors import InvalidInput
from model_service.kernel.principal import Permission, Role, Scopes
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from tests.access_tokens import NOW


def test_a_token_is_its_id_and_256_bits_of_chance() -> None:
    token_id = uuid7()
    text = mint(token_id).reveal()
    assert re.fullmatch(r"msk_[0-9a-f]{32}_[0-9a-f]{64}", text)
    assert claimed_id(text.encode()) == token_id
    assert len({mint(token_id).reveal() for _ in range(100)}) == 100


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=200))
def test_whatever_is_not_written_as_a_token_claims_no_id(text: bytes) -> None:
    assert claimed_id(text) is None or re.fullmatch(rb"msk_[0-9a-f]{32}_[0-9a-f]{64}", text)


@pytest.mark.parametrize("change", [str.upper, lambda text: text + "0", lambda text: text[:-1]])
def test_a_token_has_one_spelling(change: Callable[[str], str]) -> None:
    assert claimed_id(change(mint(uuid7()).reveal()).encode()) is None


def test_the_hash_is_hmac_sha256_of_the_whole_token() -> None:
    key = bytes(range(32))
    expected = hmac.new(key, b"msk_1_2", hashlib.sha256).digest()
    assert TokenHasher(Secret(key)).digest(b"msk_1_2") == expected


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_hash_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        TokenHasher(Secret(bytes(length)))


def test_a_token_is_known_by_its_shape_in_logs() -> None:
    text = mint(uuid7()).reveal()
    assert text not in Redactor()(f"header {text} was shown")


@pytest.mark.parametrize("module", [directory, credentials])
def test_credentials_are_compared_in_constant_time(module: object) -> None:
    source = inspect.getsource(module)  # type: ignore[arg-type]
    assert "hmac.compare_digest(" in source
    assert not re.search(r"digest\S* [!=]= ", source)


@pytest.mark.parametrize(
    ("new", "fields"),
    [
        (NewToken(Role.USER), ["userId"]),
        (NewToken(Role.SERVICE, user_id="alice"), ["userId"]),
        (NewToken(Role.ADMINISTRATOR, user_id="alice"), ["userId"]),
        (NewToken(Role.SERVICE, expires_at=NOW), ["expiresAt"]),
        (NewToken(Role.SERVICE, scopes=Scopes.of(models=[])), ["scopes.models"]),
        (NewToken(Role.USER, scopes=Scopes.of(routes=[])), ["userId", "scopes.routes"]),
    ],
)
def test_what_does_not_fit_together_is_refused(new: NewToken, fields: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        new.check(NOW)
    assert [fault.field for fault in refused.value.errors] == fields


_names = st.none() | st.frozensets(st.sampled_from(["a", "b", "c"]), min_size=1)
_routes = st.none() | st.frozensets(st.sampled_from(list(Permission)), min_size=1)
_scopes = st.builds(Scopes, _names, _routes)


@settings(deadline=None)  # the machine may be busy
@given(_scopes, _scopes)
def test_scopes_cover_others_exactly_when_they_allow_all_that_those_allow(
    wide: Scopes, narrow: Scopes
) -> None:
    # "other" stands for all the models that none of the lists names.
    models = all(wide.allow_model(m) for m in ("a", "b", "c", "other") if narrow.allow_model(m))
    routes = all(wide.permit(p) for p in Permission if narrow.permit(p))
    if wide.routes == frozenset(Permission) and narrow.routes is None:
        routes = False  # what is not limited has the permissions of tomorrow too
    assert wide.cover(narrow) is (models and routes)
