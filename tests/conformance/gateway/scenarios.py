"""What is tried at every door with every provider; what comes of it depends on neither."""

import base64
import json
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.doors import Problem
from tests.conformance.gateway.wishes import (
    Answered,
    Call,
    Calls,
    Media,
    Result,
    Results,
    Said,
    Told,
    Tool,
    User,
    Wish,
)

Drive = Callable[[Cell], Awaitable[Any]]
Check = Callable[[Any, Cell], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`drive` does it and gives what `check` then looks at.

    `field` is what a refusal names, by its name in the intermediate form. `fails` is which of
    the client's exceptions it is about, where it is about one. `azure`: Azure's paths are
    tried, too.
    """

    name: str
    title: str
    drive: Drive
    check: Check
    field: str | None = None
    fails: str | None = None
    azure: bool = False


def _schema(*names: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }


WEATHER = Tool("get_weather", _schema("city"))
TIME = Tool("get_time", _schema("zone"))
NOW = Tool("now")
TOOLS = (WEATHER, TIME)
OSLO = Call("call_1", "get_weather", {"city": "Oslo"})
UTC = Call("call_2", "get_time", {"zone": "UTC"})
CALLED = Wish(
    [User("How is it in Oslo?"), Calls([OSLO]), Results([Result(OSLO, "sunny")])], tools=TOOLS
)
FAILED = Wish(
    [User("How is it?"), Calls([OSLO]), Results([Result(OSLO, "no such city", is_error=True)])],
    tools=TOOLS,
)
PLAIN = Wish([User("hello there")])
WEATHER_OF_OSLO = Wish([User('get_weather {"city": "Oslo"}')], tools=TOOLS)
TWO = 'both: get_weather {"city": "Oslo"} and get_time {"zone": "UTC"}'
SHAPE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["city", "count"],
    "additionalProperties": False,
}
THINKING = Wish([User("hello there")], thinking=True, shown=True)
COUNTING = Wish([User("count to 50")])

_PNG: Final = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06"
).decode()
_PDF: Final = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
IMAGE = Media("image", "image/png", data=_PNG)
IMAGE_URL = Media("image", "image/png", url="https://example.com/a.png")
FILE = Media("file", "application/pdf", data=_PDF)
FILE_URL = Media("file", "application/pdf", url="https://example.com/a.pdf")


def asks(wish: Wish, kind: str = "talks") -> Drive:
    """Ask that one thing."""

    async def drive(cell: Cell) -> Told:
        return await cell.ask(kind, wish)

    return drive


def faulty(fault: str, wish: Wish = PLAIN) -> Drive:
    """Ask a model that misbehaves."""

    async def drive(cell: Cell) -> Told:
        return await cell.ask_fault(fault, wish)

    return drive


def says(*texts: str) -> Check:
    """All these are in the text of a whole answer."""

    def check(told: Told, _: Cell) -> None:
        assert told.finish == "stop"
        assert not told.calls
        for text in texts:
            assert text in told.text

    return check


def _is_streamed(told: Told, _: Cell) -> None:
    assert told.text == "You said: hello there"
    assert told.finish == "stop"
    assert told.deltas > 1


def _is_whole(told: Told, _: Cell) -> None:
    assert (told.text, told.finish) == ("You said: hello there", "stop")


def calls(*names: str) -> Check:
    """Just these tools are called, each by an id of its own."""

    def check(told: Told, _: Cell) -> None:
        assert [call.name for call in told.calls] == list(names)
        assert len({call.id for call in told.calls}) == len(names)
        assert all(call.id for call in told.calls)
        assert told.finish == "tools"

    return check


def _calls_oslo(told: Told, cell: Cell) -> None:
    calls("get_weather")(told, cell)
    assert told.calls[0].arguments == {"city": "Oslo"}


def _calls_oslo_in_pieces(told: Told, cell: Cell) -> None:
    _calls_oslo(told, cell)
    assert told.argument_deltas >= 1


def _both(*, stream: bool) -> Drive:
    async def drive(cell: Cell) -> tuple[Told, Told]:
        wish = Wish([User(TWO)], tools=TOOLS, stream=stream)
        first = await cell.ask("talks", wish)
        results = [Result(call, f"{call.name} is done") for call in first.calls]
        second = await cell.ask("talks", wish.then(Answered(first), Results(results)))
        return first, second

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


def _fits(told: Told, _: Cell) -> None:
    assert json.loads(told.text) == {"city": "city 1", "count": 1}
    assert told.finish == "stop"


def _is_json(told: Told, _: Cell) -> None:
    assert isinstance(json.loads(told.text), dict)


def _thought(told: Told, cell: Cell) -> None:
    # Ollama counts thoughts as any other output.
    assert cell.billed.reasoning > 0 or told.thoughts
    assert told.text.startswith("You said")


def _thought_nothing(told: Told, cell: Cell) -> None:
    assert cell.billed.reasoning == 0
    assert not told.thoughts
    assert told.text.startswith("You said")


def _shows_thoughts(told: Told, cell: Cell) -> None:
    _thought(told, cell)
    assert told.thoughts.strip() == "The user wants this: hello there"


def _thinks_and_calls(*, stream: bool) -> Drive:
    """Two turns: what was thought goes back with the tool's result."""

    async def drive(cell: Cell) -> tuple[Told, Told]:
        wish = Wish(
            [User('think, then get_weather {"city": "Oslo"}')],
            tools=TOOLS,
            thinking=True,
            stream=stream,
        )
        first = await cell.ask("signs", wish)
        results = [Result(call, "sunny") for call in first.calls]
        second = await cell.ask("signs", wish.then(Answered(first), Results(results)))
        return first, second

    return drive


def _goes_on(answers: tuple[Told, Told], cell: Cell) -> None:
    first, second = answers
    _calls_oslo(first, cell)
    assert "Results: sunny" in second.text
    assert second.finish == "stop"


async def _from_another(cell: Cell) -> tuple[Told, Told]:
    """A conversation that began with another provider's model, thoughts, calls and all."""
    wish = Wish(
        [User('think, then get_weather {"city": "Oslo"}')], tools=TOOLS, thinking=True
    )
    name = await cell.registered.name(cell.other, cell.other.signs)
    first = await cell.door.ask(name, wish)
    results = [Result(call, "sunny") for call in first.calls]
    wish = Wish([*wish.turns, Answered(first), Results(results)], tools=TOOLS)
    return first, await cell.ask("talks", wish)


def _stops(told: Told, _: Cell) -> None:
    assert told.text.split() == ["1", "2", "3", "4"]
    assert told.finish == "stop"
    assert told.stop_sequence in (None, "5")


def _is_cut(told: Told, _: Cell) -> None:
    assert told.finish == "length"
    assert told.text.split() == [str(number + 1) for number in range(len(told.text.split()))]
    assert 0 < len(told.text.split()) < 50


def _refuses(told: Told, _: Cell) -> None:
    assert told.refused


async def _asks_the_filter(cell: Cell) -> Told | Problem:
    """Some providers say so in an error, others in the answer."""
    try:
        return await cell.ask_fault("filter", PLAIN)
    except cell.door.failures.bad_request as error:
        return cell.door.problem(error)


def _was_filtered(outcome: Told | Problem, _: Cell) -> None:
    if isinstance(outcome, Told):
        assert outcome.refused
        return
    assert outcome.status == 400
    assert "filter" in outcome.message or "Invalid prompt" in outcome.message


def _was_cached(told: Told, cell: Cell) -> None:
    assert cell.billed.cached_input > 0
    assert told.usage is not None
    assert told.usage.cached == cell.billed.cached_input


def _marks_counted(told: Told, cell: Cell) -> None:
    marks = ("cache_control", "prompt_cache_breakpoint")
    assert any(_has_field(cell.last.json(), mark) for mark in marks), "no mark got there"
    _was_cached(told, cell)


async def _asks_twice(cell: Cell) -> Told:
    wish = Wish([User("cached " + "word " * 1500)])
    await cell.ask("talks", wish)
    return await cell.ask("talks", wish)


async def _asks_twice_marked(cell: Cell) -> Told:
    wish = Wish([User("hello")], system=["A long order. " * 400], cache=True)
    await cell.ask("talks", wish)
    return await cell.ask("talks", wish)


def sampled(field: str, value: Any, said: Any = None) -> Scenario:
    """A field that has to reach the provider with its value."""

    def check(told: Told, cell: Cell) -> None:
        assert told.text
        assert _holds(cell.last.json(), value if said is None else said), "it did not get there"

    wish = Wish([User("hello there")], sampling={field: value})
    name = field.replace("_", "-")
    return Scenario(name, f"`{field}`", asks(wish, "samples"), check, field)


def _holds(document: Any, value: Any) -> bool:
    if document == value:
        return True
    if isinstance(document, dict):
        return any(_holds(inner, value) for inner in document.values())
    return isinstance(document, list) and any(_holds(inner, value) for inner in document)


def _has_field(document: Any, name: str) -> bool:
    if isinstance(document, dict):
        return name in document or any(_has_field(inner, name) for inner in document.values())
    return isinstance(document, list) and any(_has_field(inner, name) for inner in document)


def _gives_two(told: Told, _: Cell) -> None:
    assert told.candidates == ["You said: hello there"] * 2


def _tells_logprobs(told: Told, _: Cell) -> None:
    assert told.logprobs


def nothing(_: Any, __: Cell) -> None:
    """An exception says it all."""


def _arrived_where_it_can(error: Any, cell: Cell) -> None:
    """The provider sees it, and refuses it itself, where its own dialect is spoken."""
    assert bool(cell.stand_in.requests) is cell.passes
    if cell.passes:
        assert _holds(cell.last.json(), {"x": 1})


async def _asks_for_nobody(cell: Cell) -> Told:
    return await cell.door.ask("no-such-model", PLAIN)


def _embeds(texts: str | list[str], **more: Any) -> Drive:
    async def drive(cell: Cell) -> list[list[float]]:
        return await cell.door.embed(await cell.embedder(), texts, **more)

    return drive


def _gives_vectors(count: int, size: int | None = None) -> Check:
    def check(vectors: Sequence[Sequence[float]], _: Cell) -> None:
        assert len(vectors) == count
        assert len({tuple(vector) for vector in vectors}) == count
        sizes = {len(vector) for vector in vectors}
        assert len(sizes) == 1
        assert size is None or sizes == {size}
        assert min(sizes) > 0

    return check


async def _embeds_both_ways(cell: Cell) -> tuple[str, list[list[float]]]:
    model = await cell.embedder()
    return await cell.door.embed_packed(model, "hello"), await cell.door.embed(model, "hello")


def _is_the_same(answers: tuple[str, list[list[float]]], _: Cell) -> None:
    packed, vectors = answers
    data = base64.b64decode(packed)
    unpacked = struct.unpack(f"<{len(data) // 4}f", data)
    assert all(abs(a - b) < 1e-6 for a, b in zip(unpacked, vectors[0], strict=True))


async def _counts(cell: Cell) -> int:
    name = await cell.registered.name(cell.upstream, cell.upstream.talks)
    return await cell.door.count(name, Wish([User("one two three")]))


def _counted(tokens: int, _: Cell) -> None:
    assert tokens >= 3


async def _lists(cell: Cell) -> tuple[str, list[str]]:
    name = await cell.registered.name(cell.upstream, cell.upstream.talks)
    return name, await cell.door.models()


def _is_listed(answer: tuple[str, list[str]], _: Cell) -> None:
    name, names = answer
    assert name in names
    assert len(names) == len(set(names))


async def _retrieves(cell: Cell) -> tuple[str, str]:
    name = await cell.registered.name(cell.upstream, cell.upstream.talks)
    return name, await cell.door.model(name)


def _is_found(answer: tuple[str, str], _: Cell) -> None:
    name, found = answer
    assert found == name


SCENARIOS: Final = (
    Scenario("text", "Text", asks(PLAIN), _is_whole, azure=True),
    Scenario("text-streamed", "Text, streamed", asks(PLAIN.streamed()), _is_streamed, azure=True),
    Scenario(
        "system",
        "System prompt",
        asks(Wish([User("hello")], system=["Be brief."])),
        says("My orders: Be brief."),
        "system",
    ),
    Scenario(
        "systems",
        "Several system prompts",
        asks(Wish([User("hello")], system=["Be brief.", "Be kind."])),
        says("Be brief.", "Be kind."),
        "system",
    ),
    Scenario(
        "turns",
        "Several turns",
        asks(Wish([User("hello"), Said("hi"), User("what now?")])),
        says("You said: what now?", "Turns: 3"),
    ),
    Scenario("tool-call", "Tool call", asks(WEATHER_OF_OSLO), _calls_oslo, azure=True),
    Scenario(
        "tool-call-streamed",
        "Tool call, streamed",
        asks(WEATHER_OF_OSLO.streamed()),
        _calls_oslo_in_pieces,
        azure=True,
    ),
    Scenario(
        "parallel-calls", "Parallel calls, their results", _both(stream=False), _calls_both
    ),
    Scenario(
        "parallel-calls-streamed",
        "Parallel calls, their results, streamed",
        _both(stream=True),
        _calls_both,
    ),
    Scenario("tool-error", "A tool that failed", asks(FAILED), _tells_of_failure, "messages"),
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
    Scenario(
        "image",
        "Image by its data",
        asks(Wish([User("look", [IMAGE])]), "sees"),
        says("Images: 1"),
        "messages",
    ),
    Scenario(
        "image-url",
        "Image by its URL",
        asks(Wish([User("look", [IMAGE_URL])]), "sees"),
        says("Images: 1"),
        "messages",
    ),
    Scenario(
        "file",
        "PDF by its data",
        asks(Wish([User("read", [FILE])]), "sees"),
        says("Files: 1"),
        "messages",
    ),
    Scenario(
        "file-url",
        "PDF by its URL",
        asks(Wish([User("read", [FILE_URL])]), "sees"),
        says("Files: 1"),
        "messages",
    ),
    Scenario(
        "schema",
        "Answer by a JSON schema",
        asks(Wish([User("hello")], schema=SHAPE)),
        _fits,
        "output",
        azure=True,
    ),
    Scenario(
        "schema-streamed",
        "Answer by a JSON schema, streamed",
        asks(Wish([User("hello")], schema=SHAPE, stream=True)),
        _fits,
        "output",
    ),
    Scenario(
        "json",
        "Answer in JSON",
        asks(Wish([User("give me JSON")], json=True)),
        _is_json,
        "output",
    ),
    Scenario(
        "thinking",
        "Thinking",
        asks(Wish([User("hello")], thinking=True), "thinks"),
        _thought,
        "reasoning",
    ),
    Scenario(
        "no-thinking",
        "Thinking switched off",
        asks(Wish([User("hello")], thinking=False), "thinks"),
        _thought_nothing,
        "reasoning",
    ),
    Scenario("thoughts", "Thoughts shown", asks(THINKING, "thinks"), _shows_thoughts, "reasoning"),
    Scenario(
        "thoughts-streamed",
        "Thoughts shown, streamed",
        asks(THINKING.streamed(), "thinks"),
        _shows_thoughts,
        "reasoning",
    ),
    Scenario(
        "signatures",
        "Thoughts and signatures sent back",
        _thinks_and_calls(stream=False),
        _goes_on,
        "reasoning",
    ),
    Scenario(
        "signatures-streamed",
        "Thoughts and signatures sent back, streamed",
        _thinks_and_calls(stream=True),
        _goes_on,
        "reasoning",
    ),
    Scenario("handover", "History from another provider", _from_another, _goes_on),
    Scenario(
        "stop",
        "Stop sequence",
        asks(Wish(COUNTING.turns, stop=["5"]), "samples"),
        _stops,
        "stop",
    ),
    Scenario(
        "stop-streamed",
        "Stop sequence, streamed",
        asks(Wish(COUNTING.turns, stop=["5"], stream=True), "samples"),
        _stops,
        "stop",
    ),
    Scenario(
        "length",
        "Limit of tokens",
        asks(Wish(COUNTING.turns, max_tokens=20)),
        _is_cut,
        "max_tokens",
    ),
    Scenario(
        "length-streamed",
        "Limit of tokens, streamed",
        asks(Wish(COUNTING.turns, max_tokens=20, stream=True)),
        _is_cut,
        "max_tokens",
    ),
    Scenario("refusal", "Refusal", asks(Wish([User("refuse")])), _refuses),
    Scenario(
        "refusal-streamed", "Refusal, streamed", asks(Wish([User("refuse")], stream=True)), _refuses
    ),
    Scenario("filter", "Prompt refused by a filter", _asks_the_filter, _was_filtered),
    Scenario("cache", "Cached tokens told", _asks_twice, _was_cached),
    Scenario("cache-marks", "Marks for the cache", _asks_twice_marked, _marks_counted, "cache_control"),
    sampled("temperature", 0.35),
    sampled("top_p", 0.85),
    sampled("top_k", 17),
    sampled("seed", 4711),
    sampled("presence_penalty", 0.45),
    sampled("frequency_penalty", 0.55),
    sampled("logit_bias", {"1734": 5}),
    Scenario(
        "logprobs",
        "`logprobs`",
        asks(Wish([User("hello")], sampling={"logprobs": True}), "samples"),
        _tells_logprobs,
        "logprobs",
    ),
    Scenario(
        "n",
        "`n`",
        asks(Wish([User("hello there")], sampling={"n": 2}), "samples"),
        _gives_two,
        "n",
    ),
    sampled("user", "somebody-7"),
    sampled("metadata", {"run": "seven"}),
    sampled("service_tier", "flex"),
    Scenario(
        "unknown-field",
        "A field that nobody knows",
        asks(Wish([User("hello")], more={"a_field_of_tomorrow": {"x": 1}})),
        _arrived_where_it_can,
        "a_field_of_tomorrow",
        fails="bad_request",
    ),
    Scenario(
        "unknown-model",
        "A model that is not registered",
        _asks_for_nobody,
        nothing,
        fails="not_found",
        azure=True,
    ),
    Scenario(
        "limited", "Provider's rate limit", faulty("429"), nothing, fails="limited", azure=True
    ),
    Scenario("broken", "Provider's failure", faulty("500"), nothing, fails="broken", azure=True),
    Scenario("context", "Context too long", faulty("context"), nothing, fails="bad_request"),
    Scenario("key", "Key refused by the provider", faulty("401"), nothing, fails="unauthenticated"),
    Scenario(
        "error-in-stream",
        "Error in mid-stream",
        faulty("error-event", COUNTING.streamed()),
        nothing,
        fails="in_stream",
    ),
    Scenario(
        "stream-cut",
        "Stream cut off",
        faulty("cut", COUNTING.streamed()),
        nothing,
        fails="in_stream",
    ),
    Scenario("embedding", "Embedding", _embeds("hello"), _gives_vectors(1), azure=True),
    Scenario("embeddings", "Several embeddings", _embeds(["a", "b", "c"]), _gives_vectors(3)),
    Scenario(
        "embedding-size",
        "Embedding of a given size",
        _embeds("hello", dimensions=256),
        _gives_vectors(1, 256),
    ),
    Scenario("embedding-base64", "Embedding in base64", _embeds_both_ways, _is_the_same),
    Scenario("count", "Count tokens", _counts, _counted),
    Scenario("models", "List models", _lists, _is_listed, azure=True),
    Scenario("model", "Retrieve a model", _retrieves, _is_found),
)
