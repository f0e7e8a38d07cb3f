"""A period is cut into whole days and hours, and what is left over, without a gap or an overlap."""

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.usage.periods import Grain, Piece, pieces

_START = datetime(2028, 2, 27, tzinfo=UTC)
_MOMENTS = st.none() | st.integers(0, 4 * 86_400_000).map(
    lambda milliseconds: _START + timedelta(milliseconds=milliseconds)
)
_GRAINS = st.sampled_from([(Grain.DAILY, Grain.HOURLY), (Grain.DAILY,), (Grain.HOURLY,), ()])


@given(since=_MOMENTS, until=_MOMENTS, grains=_GRAINS)
def test_the_pieces_are_the_period_in_order(
    since: datetime | None, until: datetime | None, grains: tuple[Grain, ...]
) -> None:
    found = pieces(since, until, grains)
    if since is not None and until is not None and since >= until:
        assert found == []
        return
    assert (found[0].since, found[-1].until) == (since, until)
    for one, following in itertools.pairwise(found):
        assert one.until == following.since is not None
    for piece in found:
        assert piece.grain is Grain.EVENT or piece.grain in grains
        for bound in (piece.since, piece.until):
            assert piece.grain is Grain.EVENT or bound is None or piece.grain.floor(bound) == bound


@given(since=_MOMENTS, until=_MOMENTS)
def test_single_events_are_of_less_than_an_hour_at_each_end(
    since: datetime | None, until: datetime | None
) -> None:
    for piece in pieces(since, until, (Grain.DAILY, Grain.HOURLY)):
        if piece.grain is Grain.EVENT:
            assert piece.since is not None
            assert piece.until is not None
            assert piece.until - piece.since < timedelta(hours=2)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (
            datetime(2028, 2, 28, 22, 30, tzinfo=UTC), datetime(2028, 3, 1, 1, 0, 1, tzinfo=UTC),
            [Grain.EVENT, Grain.HOURLY, Grain.DAILY, Grain.HOURLY, Grain.EVENT],
        ),
        (
            datetime(2028, 2, 29, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC),
            [Grain.DAILY],
        ),
        (
            datetime(2028, 2, 29, 5, 45, tzinfo=timezone(timedelta(hours=5, minutes=45))),
            datetime(2028, 3, 1, tzinfo=UTC),
            [Grain.DAILY],
        ),
    ],
    ids=["over a leap day", "the leap day", "from a zone of three quarters of an hour"],
)  # fmt: skip
def test_a_period_takes_as_few_pieces_as_can_be(
    since: datetime, until: datetime, expected: list[Grain]
) -> None:
    assert [piece.grain for piece in pieces(since, until, (Grain.DAILY, Grain.HOURLY))] == expected


def test_a_period_within_an_hour_is_of_events_alone() -> None:
    since, until = _START + timedelta(minutes=1), _START + timedelta(minutes=59)
    assert pieces(since, until, (Grain.DAILY, Grain.HOURLY)) == [Piece(Grain.EVENT, since, until)]
