"""What goes wrong, and what the client raises."""

from collections.abc import Mapping
from typing import Final

from model_service.kernel.types import Provider
from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.scenario import COUNTING, PLAIN, Check, Scenario, faulty
from tests.conformance.gateway.wishes import Told

#: What the providers say when they fail; each has its own words, which reach the caller.
_WORDS: Final[Mapping[str, Mapping[Provider, str]]] = {
    "429": {
        Provider.OPENAI: "Rate limit reached",
        Provider.ANTHROPIC: "exceed your organization's rate limit",
        Provider.GOOGLE: "Resource has been exhausted",
        Provider.AZURE: "exceeded the call rate limit",
        Provider.OLLAMA: "too many requests",
    },
    "500": {
        Provider.OPENAI: "The server had an error",
        Provider.ANTHROPIC: "Internal server error",
        Provider.GOOGLE: "An internal error has occurred",
        Provider.AZURE: "Backend returned unexpected response",
        Provider.OLLAMA: "llama runner process has terminated",
    },
    "context": {
        Provider.OPENAI: "context",
        Provider.ANTHROPIC: "prompt is too long",
        Provider.GOOGLE: "exceeds the maximum number of tokens",
        Provider.AZURE: "context",
        Provider.OLLAMA: "context",
    },
    "401": dict.fromkeys(Provider, "The provider refused the stored key: "),
    "error-event": {
        Provider.OPENAI: "The server had an error",
        Provider.ANTHROPIC: "Overloaded",
        Provider.GOOGLE: "The model is overloaded",
        Provider.AZURE: "The server had an error",
        Provider.OLLAMA: "llama runner process has terminated",
    },
    "cut": dict.fromkeys(Provider, "closed the connection before its answer was complete"),
}


_STATUSES: Final = {"429": 429, "500": 500, "context": 400, "401": 401}


def _fails(fault: str) -> Check:
    """The caller gets the provider's own message, with the status where there still is one."""

    def check(error: Exception, cell: Cell) -> None:
        problem = cell.door.problem(error)
        words = _WORDS[fault]
        assert words.get(cell.upstream.provider, words[Provider.OPENAI]) in problem.message
        if fault in _STATUSES:
            assert problem.status == _STATUSES[fault]
        if fault == "429":
            assert int(cell.headers["retry-after"]) >= 1
        if fault == "context" and cell.door.dialect.startswith("openai"):
            assert problem.code == "context_length_exceeded"

    return check


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
        "limited",
        "Provider's rate limit",
        faulty("429"),
        _fails("429"),
        fails="limited",
        azure=True,
    ),
    Scenario(
        "broken", "Provider's failure", faulty("500"), _fails("500"), fails="broken", azure=True
    ),
    Scenario(
        "context", "Context too long", faulty("context"), _fails("context"), fails="bad_request"
    ),
    Scenario(
        "key",
        "Key refused by the provider",
        faulty("401"),
        _fails("401"),
        fails="unauthenticated",
    ),
    Scenario(
        "error-in-stream",
        "Error in mid-stream",
        faulty("error-event", COUNTING.streamed()),
        _fails("error-event"),
        fails="in_stream",
    ),
    Scenario(
        "stream-cut",
        "Stream cut off",
        faulty("cut", COUNTING.streamed()),
        _fails("cut"),
        fails="in_stream",
    ),
)
