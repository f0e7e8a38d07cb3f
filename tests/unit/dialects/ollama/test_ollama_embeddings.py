"""Embedding texts with Ollama."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama import EmbedResponse

from model_service.providers.dialects.ollama.embeddings import OllamaEmbeddings
from model_service.providers.embedding import EmbeddingAnswer, EmbeddingRequest
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.translation import Notes, Outgoing

from .wire import target

ANSWER: dict[str, Any] = {
    "model": "nomic-embed-text",
    "embeddings": [[0.010071, -0.0017594, 0.05007221], [-0.0098027, 0, 0.0264]],
    "total_duration": 14_143_917,
    "load_duration": 1_019_500,
    "prompt_eval_count": 8,
}


def written(request: EmbeddingRequest, notes: Notes | None = None, **settings: Any) -> Outgoing:
    return OllamaEmbeddings().request(request, target(**settings), notes or Notes({}))


def read(document: dict[str, Any]) -> EmbeddingAnswer:
    return OllamaEmbeddings().answer(document)


def test_texts_go_to_ollamas_own_route_in_their_order() -> None:
    outgoing = written(EmbeddingRequest("local", ["one", "two"]))
    assert outgoing.path == "/api/embed"
    assert outgoing.body["model"] == "gemma4:latest"
    assert outgoing.body["input"] == ["one", "two"]


def test_the_number_of_dimensions_is_passed_on() -> None:
    assert written(EmbeddingRequest("local", ["one"], dimensions=256)).body["dimensions"] == 256
    assert "dimensions" not in written(EmbeddingRequest("local", ["one"])).body


def test_a_text_that_does_not_fit_is_not_cut_without_a_word() -> None:
    assert written(EmbeddingRequest("local", ["one"])).body["truncate"] is False


def test_the_models_settings_apply() -> None:
    body = written(EmbeddingRequest("local", ["one"]), keepAlive="5m", numCtx=2048).body
    assert (body["keep_alive"], body["options"]) == ("5m", {"num_ctx": 2048})


@pytest.mark.parametrize("lenient", [True, False])
def test_lists_of_tokens_are_refused_even_when_lenient(lenient: bool) -> None:
    notes = Notes({"inputs": "input"}, lenient=lenient)
    with pytest.raises(CallFailed) as caught:
        written(EmbeddingRequest("local", ["one", [1, 2]]), notes)
    assert caught.value.fault.kind is FaultKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("task_type", EmbeddingRequest("local", ["one"], task_type="RETRIEVAL_QUERY")),
        ("title", EmbeddingRequest("local", ["one"], title="A title")),
    ],
)
def test_what_ollama_has_nothing_like_is_refused_by_name(
    field: str, request_: EmbeddingRequest
) -> None:
    with pytest.raises(CallFailed) as caught:
        written(request_)
    assert (caught.value.fault.kind, caught.value.fault.param) == (FaultKind.UNSUPPORTED, field)


def test_the_user_is_dropped_and_listed() -> None:
    notes = Notes({})
    written(EmbeddingRequest("local", ["one"], user="u-1"), notes)
    assert notes.dropped == ["user"]


def test_vectors_and_tokens_are_read() -> None:
    assert read(ANSWER) == EmbeddingAnswer(ANSWER["embeddings"], 8)


@pytest.mark.parametrize("count", [None, -1, "8", True])
def test_tokens_that_are_no_number_are_not_known(count: object) -> None:
    assert read({**ANSWER, "prompt_eval_count": count}).tokens is None


@pytest.mark.parametrize(
    "embeddings", [None, {}, "x", [1], [[1], "x"], [["1"]], [[None]], [[True]], [[[1.0]]]]
)
def test_what_are_no_vectors_is_an_upstream_error(embeddings: object) -> None:
    with pytest.raises(CallFailed) as caught:
        read({**ANSWER, "embeddings": embeddings})
    assert caught.value.fault.kind is FaultKind.UPSTREAM


def test_an_error_in_a_200_is_an_error() -> None:
    with pytest.raises(CallFailed) as caught:
        read({"error": "the input length exceeds the context length"})
    assert caught.value.fault.kind is FaultKind.CONTEXT_LENGTH


@given(
    st.dictionaries(
        st.sampled_from(("embeddings", "prompt_eval_count", "error")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            st.lists,
            max_leaves=5,
        ),
    )
)
def test_any_shape_is_an_answer_or_an_error(document: dict[str, Any]) -> None:
    fault = None
    try:
        answer = read(document)
    except CallFailed as error:
        fault = error.fault
    if fault is None:
        assert answer.vectors == document["embeddings"]


def test_the_official_client_reads_what_these_tests_read() -> None:
    assert len(EmbedResponse.model_validate(ANSWER).embeddings) == 2
