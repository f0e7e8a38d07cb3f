"""Every scenario at every door with every provider, by the official clients."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conformance import conformance_page

from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.scenario import Scenario
from tests.conformance.gateway.upstreams import Upstream
from tests.conformance.gateway.verdicts import (
    RULES,
    Dropped,
    NotAsked,
    Otherwise,
    Refused,
    cells,
    rule,
    verdict,
)
from tests.conformance.gateway.wishes import NoWords

PAGE = Path(__file__).parents[3] / "docs" / "conformance.md"
CELLS = [
    pytest.param(scenario, door, upstream, id=f"{scenario.name}-{door}-{upstream.name}")
    for scenario, door, upstream in cells()
]


@pytest.mark.parametrize(("scenario", "door", "upstream"), CELLS)
async def test_a_cell_is_what_the_document_says(
    cell: Callable[[str, Upstream], Cell], scenario: Scenario, door: str, upstream: Upstream
) -> None:
    tried = cell(door, upstream)
    match verdict(scenario.name, door, upstream.name):
        case None:
            await works(scenario, tried)
        case NotAsked():
            with pytest.raises(NoWords):
                await scenario.drive(tried)
        case Refused(says=says):
            await is_refused(scenario, tried, says)
        case Dropped(field=field):
            outcome = await scenario.drive(tried)
            assert tried.door.spelled(field) in tried.dropped
            with pytest.raises(AssertionError):
                scenario.check(outcome, tried)
        case Otherwise(check=check):
            outcome = await scenario.drive(tried)
            check(outcome, tried)
            with pytest.raises(AssertionError):
                scenario.check(outcome, tried)


def test_every_rule_is_about_some_cell() -> None:
    used = {id(rule(scenario.name, door, upstream.name)) for scenario, door, upstream in cells()}
    assert [one for one in RULES if id(one) not in used] == []


def test_the_document_is_what_was_declared() -> None:
    assert PAGE.read_text() == conformance_page(), "run `make docs`"


async def works(scenario: Scenario, cell: Cell) -> None:
    if scenario.fails is None:
        outcome = await scenario.drive(cell)
    else:
        expected = getattr(cell.door.failures, scenario.fails)
        with pytest.raises(expected) as caught:
            await scenario.drive(cell)
        outcome = caught.value
    scenario.check(outcome, cell)


async def is_refused(scenario: Scenario, cell: Cell, says: str | None) -> None:
    """The client raises what it has for a bad request, which names the field, or says why not."""
    with pytest.raises(cell.door.failures.bad_request) as caught:
        await scenario.drive(cell)
    problem = cell.door.problem(caught.value)
    assert problem.status == 400
    if says is not None:
        assert cell.stand_in.requests, "it passes as far as the provider"
        assert says in problem.message
        return
    assert not cell.stand_in.requests, "it is refused before anybody is asked"
    assert problem.code == "unsupported"
    if scenario.field is not None:
        assert cell.door.spelled(scenario.field) == problem.field
