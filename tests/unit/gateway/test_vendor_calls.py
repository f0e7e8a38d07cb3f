"""Calls of models that a known vendor serves."""

from typing import Any

from model_service.gateway.plans import convert
from model_service.gateway.routes import find
from model_service.gateway.snapshot import SnapshotModel
from model_service.kernel.types import Provider
from model_service.providers.vendors import VENDORS
from tests.unit.gateway.keys import model

CHAT = b"/v1/chat/completions"
MESSAGES = b"/v1/messages"
MARK = {"type": "ephemeral"}


def served_by(preset: str | None) -> SnapshotModel:
    return model(provider=Provider.CUSTOM, vendor=None if preset is None else VENDORS[preset])


def sent(url: bytes, called: SnapshotModel, **body: Any) -> tuple[dict[str, Any], list[str]]:
    """The body of the call, and what it goes without."""
    route = find(url, [])
    assert route is not None
    whole = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]} | body
    conversion = convert(route, called, whole, stream=bool(body.get("stream")), now=1)
    return conversion.outgoing.body, list(conversion.dropped)


def test_a_call_that_passes_through_is_brought_into_the_vendors_form() -> None:
    body, _ = sent(CHAT, served_by("mistral"), max_completion_tokens=7, seed=1, stream=True)
    assert (body["max_tokens"], body["random_seed"], body["stream"]) == (7, 1, True)
    assert not {"max_completion_tokens", "seed", "stream_options"} & body.keys()


def test_a_translated_call_is_brought_into_the_vendors_form() -> None:
    body, _ = sent(MESSAGES, served_by("groq"), max_tokens=7)
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


def test_marks_for_a_cache_go_to_a_vendor_that_takes_them() -> None:
    system = [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    body, dropped = sent(MESSAGES, served_by("openrouter"), max_tokens=7, system=system)
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "Be brief.", "cache_control": MARK}
    ]
    assert dropped == []


def test_marks_for_a_cache_are_dropped_and_listed_with_any_other_vendor() -> None:
    system = [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    for preset in (None, "together"):
        _, dropped = sent(MESSAGES, served_by(preset), max_tokens=7, system=system)
        assert dropped == ["cache_control"]


def test_who_is_no_known_vendor_gets_what_was_sent() -> None:
    body, _ = sent(CHAT, served_by(None), seed=1, stream=True)
    assert body["seed"] == 1
    assert "stream_options" in body
