"""Which fallbacks may answer, and why others may not."""

from typing import Any

import pytest

from model_service.gateway.needs import Needs, needs_of
from model_service.gateway.routes import find
from model_service.gateway.routing import Skip, candidates
from model_service.gateway.snapshot import Snapshot, SnapshotModel
from tests.unit.gateway.keys import model

CHAT = b"/v1/chat/completions"
RESPONSES = b"/v1/responses"
MESSAGES = b"/v1/messages"
GOOGLE = b"/v1beta/models/m:generateContent"
EMBEDDINGS = b"/v1/embeddings"


def needs(url: bytes, *, stream: bool = False, **body: Any) -> Needs:
    route = find(url, [])
    assert route is not None
    return needs_of(route, body, stream=stream)


def routed(*others: SnapshotModel, asked: Needs | None = None, **more: Any) -> list[str]:
    """The names of those that may answer, and what is said of the rest."""
    first = model("first", fallbacks=tuple(one.name for one in others), context_window=1000)
    found = candidates(
        first, Snapshot.of([first, *others]), asked or Needs(), more.pop("allowed", all_), **more
    )
    return [f"{one.name}: {one.reason}" if isinstance(one, Skip) else one.name for one in found]


def all_(_: str) -> bool:
    return True


def test_fallbacks_come_in_their_order() -> None:
    assert routed(model("c"), model("a"), model("b")) == ["c", "a", "b"]


def test_a_fallbacks_own_fallbacks_do_not_count() -> None:
    last = model("last")
    first, middle = model("first", fallbacks=("middle",)), model("middle", fallbacks=("last",))
    found = candidates(first, Snapshot.of([first, middle, last]), Needs(), all_)
    assert found == [middle]


def test_one_that_is_named_twice_is_tried_once() -> None:
    other = model("other", is_default=True)
    first = model("first", fallbacks=("other", "default", "other"))
    assert candidates(first, Snapshot.of([first, other]), Needs(), all_) == [other]


def test_the_default_is_no_fallback_of_itself() -> None:
    first = model("first", fallbacks=("default",), is_default=True)
    assert candidates(first, Snapshot.of([first]), Needs(), all_) == []


def test_one_that_is_not_registered_is_skipped() -> None:
    first = model("first", fallbacks=("gone",))
    assert candidates(first, Snapshot.of([first]), Needs(), all_) == [
        Skip("gone", "no such model is registered")
    ]


def test_one_that_is_not_active_is_skipped() -> None:
    assert routed(model("off", is_active=False), model("on")) == ["off: is not active", "on"]


def test_one_that_the_token_does_not_allow_is_skipped() -> None:
    assert routed(model("secret"), model("on"), allowed=lambda name: name == "on") == [
        "secret: the token's scopes do not allow it",
        "on",
    ]


def test_one_whose_circuit_is_open_is_skipped() -> None:
    assert routed(model("down"), model("up"), is_open=lambda one: one.name == "down") == [
        "down: its circuit is open: its provider has been failing",
        "up",
    ]


@pytest.mark.parametrize(
    ("need", "capability", "reason"),
    [
        ("tools", "tools", "does not call tools"),
        ("vision", "vision", "does not see images"),
        ("structured_output", "structuredOutput", "does not keep to a JSON schema"),
        ("reasoning", "reasoning", "does not reason"),
        ("embeddings", "embeddings", "does not embed"),
        ("stream", "streaming", "does not stream"),
    ],
)
def test_one_that_is_known_not_to_be_able_is_skipped(
    need: str, capability: str, reason: str
) -> None:
    asked = Needs(**{need: True})
    assert routed(
        model("cannot", capabilities={capability: False}),
        model("unknown", capabilities={capability: None}),
        model("silent"),
        model("can", capabilities={capability: True}),
        asked=asked,
    ) == [f"cannot: {reason}", "unknown", "silent", "can"]
    assert routed(model("cannot", capabilities={capability: False})) == ["cannot"]


def test_one_that_is_registered_without_streams_is_skipped_for_a_stream() -> None:
    one = model("whole", supports_streaming=False)
    assert routed(one, asked=Needs(stream=True)) == ["whole: does not stream"]
    assert routed(one) == ["whole"]


def test_one_whose_window_is_too_small_is_skipped() -> None:
    asked = Needs(input_tokens=800, output_tokens=300)
    assert routed(
        model("small", context_window=1099),
        model("fits", context_window=1100),
        model("unknown"),
        asked=asked,
    ) == [
        "small: its context window of 1,099 tokens is too small for about 1,100",
        "fits",
        "unknown",
    ]


def test_a_request_that_was_too_long_needs_a_larger_window() -> None:
    assert routed(
        model("same", context_window=1000),
        model("larger", context_window=1001),
        model("unknown"),
        larger=True,
    ) == ["same: its context window of 1,000 tokens is not larger", "larger", "unknown"]


@pytest.mark.parametrize(
    ("url", "body", "needed"),
    [
        (CHAT, {"tools": [{"type": "function"}]}, {"tools"}),
        (CHAT, {"functions": [{"name": "f"}]}, {"tools"}),
        (CHAT, {"tools": []}, set()),
        (CHAT, {"response_format": {"type": "json_schema"}}, {"structuredOutput"}),
        (CHAT, {"response_format": {"type": "json_object"}}, set()),
        (CHAT, {"reasoning_effort": "high"}, {"reasoning"}),
        (CHAT, {"reasoning_effort": "none"}, set()),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            {"vision"},
        ),
        (RESPONSES, {"text": {"format": {"type": "json_schema"}}}, {"structuredOutput"}),
        (RESPONSES, {"reasoning": {"effort": "low"}}, {"reasoning"}),
        (
            RESPONSES,
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            {"vision"},
        ),
        (MESSAGES, {"thinking": {"type": "enabled"}}, {"reasoning"}),
        (MESSAGES, {"thinking": {"type": "disabled"}}, set()),
        (MESSAGES, {"output_config": {"format": {"type": "json_schema"}}}, {"structuredOutput"}),
        (
            MESSAGES,
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            {"vision"},
        ),
        (
            GOOGLE,
            {"generationConfig": {"responseSchema": {"type": "OBJECT"}}},
            {"structuredOutput"},
        ),
        (GOOGLE, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, set()),
        (GOOGLE, {"generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}}, {"reasoning"}),
        (
            GOOGLE,
            {"contents": [{"parts": [{"inline_data": {"mime_type": "image/png"}}]}]},
            {"vision"},
        ),
        (
            GOOGLE,
            {"contents": [{"parts": [{"inlineData": {"mimeType": "audio/wav"}}]}]},
            set(),
        ),
        (EMBEDDINGS, {"input": "text"}, {"embeddings"}),
        # What is malformed asks for nothing.
        (CHAT, {"messages": 7, "tools": None, "response_format": "json", "max_tokens": "9"}, set()),
        (GOOGLE, {"generationConfig": [], "contents": {"parts": None}}, set()),
    ],
)
def test_a_request_needs_what_it_asks_for(
    url: bytes, body: dict[str, Any], needed: set[str]
) -> None:
    assert {name for name, _ in needs(url, **body).capabilities()} == needed


@pytest.mark.parametrize(
    ("url", "body", "tokens"),
    [
        (CHAT, {"max_completion_tokens": 7, "max_tokens": 9}, 7),
        (CHAT, {"max_tokens": 9}, 9),
        (RESPONSES, {"max_output_tokens": 8}, 8),
        (MESSAGES, {"max_tokens": 6}, 6),
        (GOOGLE, {"generationConfig": {"maxOutputTokens": 5}}, 5),
        (CHAT, {"max_tokens": True}, 0),
        (CHAT, {}, 0),
    ],
)
def test_what_may_be_written_is_read_from_the_doors_own_field(
    url: bytes, body: dict[str, Any], tokens: int
) -> None:
    assert needs(url, **body).output_tokens == tokens


def test_text_is_estimated_wherever_it_stands() -> None:
    assert needs(CHAT, messages=[{"role": "", "content": "x" * 400}]).input_tokens == 100
    assert needs(MESSAGES, system=[{"text": "x" * 400}], messages=[]).input_tokens == 100
    assert needs(GOOGLE, contents=[{"parts": [{"text": "語" * 400}]}]).input_tokens == 300
    assert needs(RESPONSES, instructions="x" * 40, input="x" * 40).input_tokens == 20


def test_an_image_counts_as_one_whatever_its_bytes() -> None:
    url = "data:image/png;base64," + "A" * 100_000
    part = {"type": "image_url", "image_url": {"url": url}}
    found = needs(CHAT, messages=[{"role": "user", "content": [part, part]}])
    assert 1600 <= found.input_tokens < 1620
