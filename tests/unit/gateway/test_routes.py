"""From a path to a door: fixed paths, names in paths, and whose client it is."""

import pytest

from model_service.gateway.routes import Operation, Route, family_of, find

ANTHROPIC = [(b"anthropic-version", b"2023-06-01")]
GOOGLE = [(b"x-goog-api-client", b"google-genai-sdk")]


@pytest.mark.parametrize(
    ("url", "door", "operation"),
    [
        (b"/v1/chat/completions", "openai_chat", Operation.CHAT),
        (b"/v1/chat/completions?beta=1", "openai_chat", Operation.CHAT),
        (b"/v1/responses", "openai_responses", Operation.CHAT),
        (b"/v1/embeddings", "openai_chat", Operation.EMBED),
        (b"/v1/messages", "anthropic", Operation.CHAT),
        (b"/v1/messages?beta=true", "anthropic", Operation.CHAT),
        (b"/v1/messages/count_tokens", "anthropic", Operation.COUNT),
        (b"/openai/v1/chat/completions", "openai_chat", Operation.CHAT),
        (b"/openai/v1/responses", "openai_responses", Operation.CHAT),
    ],
)
def test_a_fixed_path_leads_to_its_door(url: bytes, door: str, operation: Operation) -> None:
    route = find(url, [])
    assert route is not None
    assert (route.door, route.operation, route.model) == (door, operation, None)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (b"/openai/deployments/gpt/chat/completions?api-version=2024-10-21", "gpt"),
        (b"/openai/deployments/my%20model/chat/completions", "my model"),
        (b"/v1beta/models/gemini:generateContent", "gemini"),
        (b"/v1/models/gemini:generateContent", "gemini"),
        (b"/v1beta/models/a/b:c:generateContent", "a/b:c"),
    ],
)
def test_a_path_may_name_the_model(path: bytes, model: str) -> None:
    route = find(path, [])
    assert route is not None
    assert (route.operation, route.model) == (Operation.CHAT, model)


@pytest.mark.parametrize(
    ("query", "bare"), [(b"?alt=sse", False), (b"", True), (b"?alt=json", True)]
)
def test_googles_stream_is_one_of_events_only_when_asked(query: bytes, bare: bool) -> None:
    route = find(b"/v1beta/models/gemini:streamGenerateContent" + query, [])
    assert route is not None
    assert (route.stream, route.bare) == (True, bare)


@pytest.mark.parametrize(
    ("action", "door", "operation"),
    [
        ("countTokens", "google", Operation.COUNT),
        ("embedContent", "google", Operation.EMBED),
        ("batchEmbedContents", "google_batch", Operation.EMBED),
    ],
)
def test_googles_actions(action: str, door: str, operation: Operation) -> None:
    route = find(f"/v1beta/models/m:{action}".encode(), [])
    assert route is not None
    assert (route.door, route.operation, route.model) == (door, operation, "m")


@pytest.mark.parametrize(
    ("url", "headers", "family"),
    [
        (b"/v1/models", [], "openai"),
        (b"/v1/models", ANTHROPIC, "anthropic"),
        (b"/v1/models", GOOGLE, "google"),
        (b"/v1beta/models", [], "google"),
        (b"/openai/v1/models", [], "openai"),
    ],
)
def test_the_models_are_listed_in_the_callers_own_words(
    url: bytes, headers: list[tuple[bytes, bytes]], family: str
) -> None:
    route = find(url, headers)
    assert route is not None
    assert (route.operation, route.method, route.family) == (Operation.LIST, "GET", family)


def test_a_model_is_retrieved_by_a_name_with_slashes_and_colons() -> None:
    route = find(b"/v1/models/meta/llama%3A8b", [])
    assert route is not None
    assert (route.operation, route.model) == (Operation.RETRIEVE, "meta/llama:8b")


@pytest.mark.parametrize(
    "url",
    [
        b"/v1/",
        b"/v1/completions",
        b"/v1/chat/completions/",
        b"/v1/CHAT/completions",
        b"/v1beta/tunedModels/x:generateContent",
        b"/openai/deployments//chat/completions",
        b"/openai/deployments/x/images",
        b"/v1/models\xff",
        b"/v1/models/%ff",
        b"//v1/models",
    ],
)
def test_what_is_no_route_is_none(url: bytes) -> None:
    assert find(url, []) is None


def test_a_dot_segment_stays_part_of_the_name() -> None:
    route = find(b"/v1beta/models/..%2f..%2fadmin:generateContent", [])
    assert route is not None
    assert route.model == "../../admin"


@pytest.mark.parametrize(
    ("url", "headers", "family"),
    [
        (b"/v1/nothing", [], "openai"),
        (b"/v1/nothing", ANTHROPIC, "anthropic"),
        (b"/v1/messages/batches", [], "anthropic"),
        (b"/v1beta/nothing", [], "google"),
    ],
)
def test_errors_without_a_route_are_in_the_callers_words(
    url: bytes, headers: list[tuple[bytes, bytes]], family: str
) -> None:
    assert family_of(url, headers) == family


def test_routes_are_values() -> None:
    assert find(b"/v1/messages", []) == Route("anthropic", "anthropic", Operation.CHAT)
