"""Every scenario at every door with every provider, by the official clients."""

from collections.abc import Callable, Iterator

import pytest

from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.scenarios import SCENARIOS, Scenario
from tests.conformance.gateway.upstreams import UPSTREAMS, Upstream
from tests.conformance.gateway.verdicts import Dropped, NotAsked, Otherwise, Refused, verdict
from tests.conformance.gateway.wishes import NoWords

DOORS = ("openai_chat", "openai_responses", "anthropic", "google")
AZURE_STYLE = "azure_style"


def cells() -> Iterator[object]:
    for scenario in SCENARIOS:
        for door in (*DOORS, AZURE_STYLE) if scenario.azure else DOORS:
            for upstream in UPSTREAMS:
                name = f"{scenario.name}-{door}-{upstream.name}"
                yield pytest.param(scenario, door, upstream, id=name)


@pytest.mark.parametrize(("scenario", "door", "upstream"), list(cells()))
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
        case Refused():
            await is_refused(scenario, tried)
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


async def works(scenario: Scenario, cell: Cell) -> None:
    if scenario.fails is None:
        outcome = await scenario.drive(cell)
    else:
        expected = getattr(cell.door.failures, scenario.fails)
        with pytest.raises(expected) as caught:
            await scenario.drive(cell)
        outcome = caught.value
    scenario.check(outcome, cell)


async def is_refused(scenario: Scenario, cell: Cell) -> None:
    """The client raises what it has for a bad request, and the message names the field."""
    with pytest.raises(cell.door.failures.bad_request) as caught:
        await scenario.drive(cell)
    problem = cell.door.problem(caught.value)
    assert problem.status == 400
    field = cell.door.spelled(scenario.field or "")
    assert field in (problem.field or problem.message) or field in problem.message
