"""What goes wrong, and what the client raises."""

from typing import Final

from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.scenario import COUNTING, PLAIN, Scenario, fails, faulty
from tests.conformance.gateway.wishes import Told


def _is_unknown(error: Exception, cell: Cell) -> None:
    problem = cell.door.problem(error)
    assert (problem.status, problem.code) == (404, "model_not_found")
    assert "'no-such-model'" in problem.message
    assert not cell.stand_in.requests


async def _asks_for_nobody(cell: Cell) -> Told:
    return await cell.door.ask("no-such-model", PLAIN)


SCENARIOS: Final = (
    Scenario(
        "unknown-model",
        "A model that is not registered",
        _asks_for_nobody,
        _is_unknown,
        fails="not_found",
        azure=True,
    ),
    Scenario(
        "limited", "Provider's rate limit", faulty("429"), fails("429"), fails="limited", azure=True
    ),
    Scenario(
        "broken", "Provider's failure", faulty("500"), fails("500"), fails="broken", azure=True
    ),
    Scenario(
        "context", "Context too long", faulty("context"), fails("context"), fails="bad_request"
    ),
    Scenario(
        "key",
        "Key refused by the provider",
        faulty("401"),
        fails("401"),
        fails="unauthenticated",
    ),
    Scenario(
        "error-in-stream",
        "Error in mid-stream",
        faulty("error-event", COUNTING.streamed()),
        fails("error-event"),
        fails="in_stream",
    ),
    Scenario(
        "stream-cut",
        "Stream cut off",
        faulty("cut", COUNTING.streamed()),
        fails("cut"),
        fails="in_stream",
    ),
)
