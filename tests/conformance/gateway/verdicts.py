"""What is not supported, each with its reason: docs/conformance.md says what the suite proves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from model_service.sandbox.script import REFUSAL
from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.scenario import Scenario
from tests.conformance.gateway.scenarios import SCENARIOS
from tests.conformance.gateway.upstreams import UPSTREAMS, Upstream
from tests.conformance.gateway.wishes import Told

ALL: Final = "*"


@dataclass(frozen=True, slots=True)
class Refused:
    """It is refused with a 400 that names the field.

    Where the provider itself refuses what passed unchanged, `says` is in its own words for it.
    """

    reason: str
    says: str | None = None


@dataclass(frozen=True, slots=True)
class NotAsked:
    """The door's dialect has no words for it, so nobody can ask."""

    reason: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """It is answered without, and `x-model-service-dropped` names `field`."""

    reason: str
    field: str


@dataclass(frozen=True, slots=True)
class Otherwise:
    """It is answered, but not as elsewhere; `check` says how."""

    reason: str
    check: Callable[[Any, Cell], None]


Verdict = Refused | NotAsked | Dropped | Otherwise


@dataclass(frozen=True, slots=True)
class Rule:
    """A verdict on the cells that its three lists have in common."""

    verdict: Verdict
    scenarios: str
    doors: str = ALL
    upstreams: str = ALL

    def covers(self, scenario: str, door: str, upstream: str) -> bool:
        """Whether a cell is among them."""
        return (
            scenario in self.scenarios.split()
            and (self.doors == ALL or door in self.doors.split())
            and (self.upstreams == ALL or upstream in self.upstreams.split())
        )


def _is_text(told: Told, cell: Cell) -> None:
    assert told.text == REFUSAL
    assert told.finish == "stop"


def _is_whole(told: Told, cell: Cell) -> None:
    assert told.finish == "stop"
    assert told.text.startswith("You said")


def _tells_of_no_cache(told: Told, cell: Cell) -> None:
    assert told.usage is not None
    assert not told.usage.cached


_UNMARKED: Final = Dropped(
    "from other dialects, marks go on to Anthropic, and to OpenRouter", "cache_control"
)
_CHAT: Final = "openai_chat azure_style"
_BOTH: Final = "openai_chat openai_responses"
_THOUGHTS: Final = "thoughts thoughts-streamed"
_STOPS: Final = "stop stop-streamed"
_PENALTIES: Final = "presence-penalty frequency-penalty"
_EMBEDDINGS: Final = "embedding embeddings embedding-size embedding-base64"
_OF_OPENAI: Final = "openai azure"

RULES: Final = (
    # What a door has no words for.
    Rule(
        NotAsked("OpenAI's APIs have no mark for it: the result's text has to say it"),
        "tool-error",
        _BOTH,
    ),
    Rule(
        NotAsked("the Gemini API has but one place for instructions"), "late-instruction", "google"
    ),
    Rule(NotAsked("the Gemini API cannot forbid parallel calls"), "one-call", "google"),
    Rule(NotAsked("the Messages API gives JSON by a schema alone"), "json", "anthropic"),
    Rule(
        NotAsked("the Responses API has no such field"),
        f"{_STOPS} top-k seed {_PENALTIES} logit-bias n",
        "openai_responses",
    ),
    Rule(
        NotAsked("the Messages API has no such field"),
        f"seed {_PENALTIES} logit-bias logprobs n metadata service-tier",
        "anthropic",
    ),
    Rule(
        NotAsked("the Gemini API has no such field"),
        "cache-marks logit-bias user metadata",
        "google",
    ),
    Rule(
        NotAsked("asked for at /v1/embeddings, whose rows are those of chat completions"),
        _EMBEDDINGS,
        "openai_responses",
    ),
    Rule(NotAsked("the Messages API has no embeddings"), _EMBEDDINGS, "anthropic"),
    Rule(NotAsked("the Gemini API gives numbers alone"), "embedding-base64", "google"),
    Rule(NotAsked("there is no such route at this door"), "count", _BOTH),
    # What a provider has nothing like.
    Rule(
        Refused(
            "passes unchanged, and Anthropic wants the tools defined; through other doors they are",
            says="must define tools",
        ),
        "calls-without-tools",
        "anthropic",
        "anthropic",
    ),
    Rule(
        Refused(
            "passes unchanged, and OpenAI's chat completions let models from gpt-5.4 on call no"
            " functions while they think; other doors call these by the Responses API",
            says="Function tools with reasoning_effort are not supported",
        ),
        "newest-tool-call newest-tool-call-streamed signatures signatures-streamed",
        _CHAT,
        _OF_OPENAI,
    ),
    Rule(
        Refused("Ollama's models cannot be made to call a tool"),
        "tool-required tool-named",
        ALL,
        "ollama",
    ),
    Rule(Refused("Gemini decides how many calls it makes at once"), "one-call", ALL, "google"),
    Rule(Refused("Ollama's models may always make several calls"), "one-call", ALL, "ollama"),
    Rule(Refused("Ollama takes images as data, and fetches none"), "image-url", ALL, "ollama"),
    Rule(Refused("Ollama takes no files"), "file file-url", ALL, "ollama"),
    Rule(
        Refused("OpenAI's chat completions take files as data alone", says="file_data"),
        "file-url",
        _CHAT,
        _OF_OPENAI,
    ),
    Rule(
        Refused("OpenAI's chat completions take files as data alone"),
        "file-url",
        "anthropic google",
        _OF_OPENAI,
    ),
    Rule(
        Refused(
            "passes unchanged, and results of tools are text alone in OpenAI's chat completions",
            says="image_url",
        ),
        "image-result",
        _CHAT,
        "openai azure custom",
    ),
    Rule(Refused("Anthropic gives JSON by a schema alone"), "json", ALL, "anthropic"),
    Rule(
        Refused(
            "passes unchanged, and OpenAI's chat completions know no `reasoning`", says="reasoning"
        ),
        _THOUGHTS,
        _CHAT,
        _OF_OPENAI,
    ),
    Rule(
        Dropped(
            "OpenAI's chat completions never show thoughts; models that are called by the"
            " Responses API do",
            "reasoning.visible",
        ),
        _THOUGHTS,
        "anthropic google",
        _OF_OPENAI,
    ),
    Rule(Refused("the Responses API has no stop sequences"), _STOPS, ALL, "openai_by_responses"),
    Rule(Otherwise("Ollama tells of no cache", _tells_of_no_cache), "cache", ALL, "ollama"),
    Rule(
        Dropped(
            "from other dialects, marks go on to Anthropic, and to OpenRouter", "cache_control"
        ),
        "cache-marks",
        "openai_chat",
        "openai_by_responses google ollama",
    ),
    Rule(
        Dropped(
            "from other dialects, marks go on to Anthropic, and to OpenRouter", "cache_control"
        ),
        "cache-marks",
        "openai_responses",
        "google ollama custom",
    ),
    Rule(
        Dropped(
            "from other dialects, marks go on to Anthropic, and to OpenRouter", "cache_control"
        ),
        "cache-marks",
        "anthropic",
        "openai openai_by_responses google azure ollama custom",
    ),
    Rule(
        Otherwise("with Ollama a refusal is a text like any other", _is_text),
        "refusal refusal-streamed",
        ALL,
        "ollama",
    ),
    Rule(
        Otherwise("Anthropic's models refuse, and have nothing cut off", _is_whole),
        "cut-by-filter cut-by-filter-streamed",
        ALL,
        "anthropic",
    ),
    Rule(
        Otherwise("Ollama has no filters", _is_whole),
        "cut-by-filter cut-by-filter-streamed",
        ALL,
        "ollama",
    ),
    Rule(
        Otherwise("Ollama has no filters: its models refuse in a text like any other", _is_text),
        "filter",
        ALL,
        "ollama",
    ),
    # The fields that change an answer, or annotate a request.
    Rule(
        Refused("passes unchanged, and OpenAI's models take none", says="top_k"),
        "top-k",
        _CHAT,
        _OF_OPENAI,
    ),
    Rule(Refused("OpenAI's models take none"), "top-k", ALL, "openai openai_by_responses azure"),
    Rule(
        Refused("the Responses API has no such field"),
        f"seed {_PENALTIES} logit-bias n",
        ALL,
        "openai_by_responses",
    ),
    Rule(
        Refused("Anthropic's models have nothing like it"),
        f"seed {_PENALTIES} logit-bias logprobs n",
        ALL,
        "anthropic",
    ),
    Rule(
        Refused("Gemini's models of today have it switched off", says="Penalty"),
        _PENALTIES,
        ALL,
        "google",
    ),
    Rule(
        Refused("Gemini's models of today have it switched off", says="Logprobs"),
        "logprobs",
        ALL,
        "google",
    ),
    Rule(Refused("Gemini has nothing like it"), "logit-bias", ALL, "google"),
    Rule(Refused("Ollama has nothing like it"), "logit-bias n", ALL, "ollama"),
    Rule(
        Dropped("the provider has no place for it, and the answer is the same", "user"),
        "user",
        "openai_chat openai_responses anthropic",
        "google ollama",
    ),
    Rule(
        Dropped("some vendors refuse it, and the answer is the same", "user"),
        "user",
        "openai_responses anthropic",
        "custom",
    ),
    Rule(
        Refused(
            "passes unchanged, and OpenAI takes it for stored answers alone", says="'metadata'"
        ),
        "metadata",
        _CHAT,
        "openai azure custom",
    ),
    Rule(
        Dropped("the provider has no place for it, and the answer is the same", "metadata"),
        "metadata",
        ALL,
        "anthropic google ollama custom",
    ),
    Rule(Refused("Anthropic has no such tier"), "service-tier", ALL, "anthropic"),
    Rule(Refused("Ollama serves all calls alike"), "service-tier", ALL, "ollama"),
    Rule(
        Refused("vendors have no such tier"),
        "service-tier",
        "openai_responses google",
        "custom",
    ),
    # What is not a call of a model.
    Rule(Refused("Anthropic has no embeddings"), _EMBEDDINGS, ALL, "anthropic"),
    Rule(
        Refused("the provider counts no tokens without a call"), "count", ALL, "azure ollama custom"
    ),
)


DOORS: Final = ("openai_chat", "openai_responses", "anthropic", "google", "azure_style")


def cells() -> Iterator[tuple[Scenario, str, Upstream]]:
    """All that is tried, or known not to work."""
    for scenario in SCENARIOS:
        for door in scenario.doors:
            for upstream in UPSTREAMS:
                yield scenario, door, upstream


def rule(scenario: str, door: str, upstream: str) -> Rule | None:
    """What is declared about a cell; the first rule counts."""
    return next((one for one in RULES if one.covers(scenario, door, upstream)), None)


def verdict(scenario: str, door: str, upstream: str) -> Verdict | None:
    """What is declared about a cell; None when it is supported."""
    found = rule(scenario, door, upstream)
    return None if found is None else found.verdict
