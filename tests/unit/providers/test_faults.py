"""Faults: each kind has a status, and what is made of them names its field."""

import pytest

from model_service.providers.faults import (
    STATUSES,
    CallFailed,
    FaultKind,
    cut,
    invalid,
    malformed,
    unsupported,
)


def test_every_kind_has_a_status() -> None:
    assert set(STATUSES) == set(FaultKind)


@pytest.mark.parametrize("kind", FaultKind)
def test_every_status_is_an_error(kind: FaultKind) -> None:
    assert 400 <= STATUSES[kind] <= 599


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (invalid("top_p", "must be a number"), FaultKind.INVALID_REQUEST),
        (unsupported("top_p", "must be a number"), FaultKind.UNSUPPORTED),
    ],
)
def test_a_callers_fault_names_its_field(error: CallFailed, kind: FaultKind) -> None:
    assert error.fault.kind is kind
    assert error.fault.param == "top_p"
    assert str(error) == error.fault.message == "top_p: must be a number"


def test_a_broken_answer_is_the_providers_fault() -> None:
    assert malformed("no choices").fault.kind is cut().fault.kind is FaultKind.UPSTREAM


def test_a_cut_answer_is_told_from_a_malformed_one() -> None:
    assert malformed("no choices").fault.code != cut().fault.code
