"""Tools: calls, their results, and who may call."""

from typing import Final

from model_service.sandbox.script import ALOUD
from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.scenario import (
    IMAGE,
    PNG,
    TOOLS,
    Drive,
    Scenario,
    asks,
    calls,
    calls_oslo,
    holds_text,
    says,
)
from tests.conformance.gateway.wishes import (
    Answered,
    Call,
    Calls,
    Result,
    Results,
    Told,
    Tool,
    User,
    Wish,
)

NOW = Tool("now")


OSLO = Call("call_1", "get_weather", {"city": "Oslo"})


UTC = Call("call_2", "get_time", {"zone": "UTC"})


CALLED = Wish(
    [User("How is it in Oslo?"), Calls([OSLO]), Results([Result(OSLO, "sunny")])], tools=TOOLS
)


FAILED = Wish(
    [User("How is it?"), Calls([OSLO]), Results([Result(OSLO, "no such city", is_error=True)])],
    tools=TOOLS,
)


WEATHER_OF_OSLO = Wish([User('get_weather {"city": "Oslo"}')], tools=TOOLS)


TWO = 'both: get_weather {"city": "Oslo"} and get_time {"zone": "UTC"}'


def _calls_oslo_in_pieces(told: Told, cell: Cell) -> None:
    calls_oslo(told, cell)
    assert told.argument_deltas >= 1


def _both(*, stream: bool, streams: bool = True) -> Drive:
    async def drive(cell: Cell) -> tuple[Told, Told]:
        wish = Wish([User(TWO)], tools=TOOLS, stream=stream)
        first = await cell.ask("talks", wish, streams=streams)
        results = [Result(call, f"{call.name} is done") for call in first.calls]
        wish = wish.then(Answered(first), Results(results))
        return first, await cell.ask("talks", wish, streams=streams)

    return drive


def _calls_both(answers: tuple[Told, Told], cell: Cell) -> None:
    first, second = answers
    calls("get_weather", "get_time")(first, cell)
    assert [call.arguments for call in first.calls] == [OSLO.arguments, UTC.arguments]
    assert "Results: get_weather is done, get_time is done" in second.text
    assert second.finish == "stop"


def _tells_of_failure(told: Told, _: Cell) -> None:
    assert "no such city" in told.text
    # Where there is no mark for it, the text has to say it.
    assert "Failed: 1" in told.text or "error" in told.text.lower()


def _says_and_calls(told: Told, cell: Cell) -> None:
    assert told.text == ALOUD
    calls_oslo(told, cell)


def _has_no_arguments(told: Told, cell: Cell) -> None:
    calls("now")(told, cell)
    assert told.calls[0].arguments == {}


def _calls_any(told: Told, _: Cell) -> None:
    assert told.finish == "tools"
    assert told.calls


def _calls_nothing(told: Told, _: Cell) -> None:
    assert told.finish == "stop"
    assert not told.calls
    assert told.text


def _sees_result(told: Told, cell: Cell) -> None:
    assert "Results: seen" in told.text
    assert holds_text(cell.last.json(), PNG)


SCENARIOS: Final = (
    Scenario("tool-call", "Tool call", asks(WEATHER_OF_OSLO), calls_oslo, azure=True),
    Scenario(
        "tool-call-streamed",
        "Tool call, streamed",
        asks(WEATHER_OF_OSLO.streamed()),
        _calls_oslo_in_pieces,
        azure=True,
    ),
    Scenario(
        "newest-tool-call",
        "Tool call of the newest model",
        asks(WEATHER_OF_OSLO, "newest"),
        calls_oslo,
        "reasoning",
    ),
    Scenario(
        "newest-tool-call-streamed",
        "Tool call of the newest model, streamed",
        asks(WEATHER_OF_OSLO.streamed(), "newest"),
        calls_oslo,
        "reasoning",
    ),
    Scenario(
        "said-and-called",
        "Text and a call",
        asks(Wish([User('aloud, get_weather {"city": "Oslo"}')], tools=TOOLS)),
        _says_and_calls,
    ),
    Scenario(
        "said-and-called-streamed",
        "Text and a call, streamed",
        asks(Wish([User('aloud, get_weather {"city": "Oslo"}')], tools=TOOLS, stream=True)),
        _says_and_calls,
    ),
    Scenario("parallel-calls", "Parallel calls, their results", _both(stream=False), _calls_both),
    Scenario(
        "parallel-calls-streamed",
        "Parallel calls, their results, streamed",
        _both(stream=True),
        _calls_both,
    ),
    Scenario(
        "parallel-calls-unstreamed",
        "Parallel calls, streamed, of a model that does not stream",
        _both(stream=True, streams=False),
        _calls_both,
    ),
    Scenario("tool-error", "A tool that failed", asks(FAILED), _tells_of_failure, "messages"),
    Scenario(
        "image-result",
        "Image as a tool's result",
        asks(
            Wish(
                [User("look"), Calls([OSLO]), Results([Result(OSLO, "seen", image=IMAGE)])],
                tools=TOOLS,
            ),
            "sees",
        ),
        _sees_result,
        "messages",
    ),
    Scenario(
        "no-arguments",
        "Call without arguments",
        asks(Wish([User("now")], tools=[NOW])),
        _has_no_arguments,
    ),
    Scenario(
        "no-arguments-streamed",
        "Call without arguments, streamed",
        asks(Wish([User("now")], tools=[NOW], stream=True)),
        _has_no_arguments,
    ),
    Scenario(
        "calls-without-tools",
        "History with calls, no tools on offer",
        asks(Wish(CALLED.turns)),
        says("Results: sunny"),
        "tools",
    ),
    Scenario(
        "tool-required",
        "Some tool required",
        asks(Wish([User("hello")], tools=TOOLS, choice="required")),
        _calls_any,
        "tool_choice",
    ),
    Scenario(
        "tool-named",
        "One tool required",
        asks(Wish([User("hello")], tools=TOOLS, choice="get_time")),
        calls("get_time"),
        "tool_choice",
    ),
    Scenario(
        "tool-none",
        "Tools forbidden",
        asks(Wish(WEATHER_OF_OSLO.turns, tools=TOOLS, choice="none")),
        _calls_nothing,
        "tool_choice",
    ),
    Scenario(
        "one-call",
        "Parallel calls forbidden",
        asks(Wish([User(TWO)], tools=TOOLS, parallel=False)),
        calls("get_weather"),
        "parallel_tool_calls",
    ),
)
