"""How Ollama's errors are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.dialects.ollama.faults import OllamaFaults
from model_service.providers.faults import FaultKind

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("error", "message")), inner)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "model is required", FaultKind.INVALID_REQUEST),
        (400, "top_logprobs must be between 0 and 20", FaultKind.INVALID_REQUEST),
        (400, '"gemma3" does not support thinking', FaultKind.UNSUPPORTED),
        (
            400,
            "registry.ollama.ai/library/gemma3:latest does not support tools",
            FaultKind.UNSUPPORTED,
        ),
        (400, "the input length exceeds the context length", FaultKind.CONTEXT_LENGTH),
        (400, "the prompt is longer than the context length", FaultKind.CONTEXT_LENGTH),
        (400, '{"error":{"type":"exceed_context_size_error"}}', FaultKind.CONTEXT_LENGTH),
        (400, "request (9000 tokens) exceeds the available context size", FaultKind.CONTEXT_LENGTH),
        (401, "unauthorized", FaultKind.KEY_REFUSED),
        (403, "ollama cloud is disabled: remote inference", FaultKind.PERMISSION),
        (404, "model 'gemma9' not found", FaultKind.NOT_FOUND),
        (405, "method not allowed", FaultKind.INVALID_REQUEST),
        (413, "request body too large", FaultKind.TOO_LARGE),
        (429, "too many concurrent requests", FaultKind.RATE_LIMITED),
        (429, "you've reached your weekly usage limit", FaultKind.QUOTA_EXHAUSTED),
        (499, "request canceled", FaultKind.UPSTREAM),
        (500, "model requires more system memory than is available", FaultKind.UPSTREAM),
        (500, "image input is not supported", FaultKind.UNSUPPORTED),
        (500, "llama-server chat error: context size exceeded", FaultKind.CONTEXT_LENGTH),
        (502, "dial tcp: connection refused", FaultKind.UPSTREAM),
        (503, "server busy, please try again", FaultKind.OVERLOADED),
        (504, "timed out", FaultKind.TIMEOUT),
        (200, "an error was encountered while running the model", FaultKind.UPSTREAM),
        (200, "the prompt exceeds the context size", FaultKind.CONTEXT_LENGTH),
    ],
)
def test_an_error_is_of_its_kind(status: int, message: str, kind: FaultKind) -> None:
    fault = OllamaFaults().fault(status, {"error": message})
    assert (fault.kind, fault.message) == (kind, message)


def test_the_providers_status_is_kept() -> None:
    assert OllamaFaults().fault(404, {"error": "x"}).status == 404


def test_a_500_for_a_wrong_request_is_not_told_as_a_failure_to_be_tried_again() -> None:
    assert OllamaFaults().fault(500, {"error": "image input is not supported"}).status is None
    assert OllamaFaults().fault(500, {"error": "runner terminated"}).status == 500


def test_an_error_within_a_stream_has_no_status() -> None:
    assert OllamaFaults().fault(200, {"error": "x"}).status is None


def test_a_nested_message_is_read_as_well() -> None:
    assert OllamaFaults().fault(500, {"error": {"message": "broken"}}).message == "broken"


@pytest.mark.parametrize("document", [None, {}, [], "text", {"error": 5}, {"error": " "}])
def test_without_a_message_the_status_is_told(document: object) -> None:
    fault = OllamaFaults().fault(404, document)
    assert fault.kind is FaultKind.NOT_FOUND
    assert "404" in fault.message


def test_a_very_long_message_is_cut() -> None:
    assert len(OllamaFaults().fault(500, {"error": "x" * 100_000}).message) == 4000


@given(st.integers(100, 999), _json)
def test_any_document_is_some_fault(status: int, document: object) -> None:
    fault = OllamaFaults().fault(status, document)
    assert fault.message
