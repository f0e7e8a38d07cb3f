"""Reading listings: what each dialect takes from a page, and what is no listing at all."""

from datetime import UTC, datetime
from typing import Any

import pytest

from model_service.kernel.provider import OfferedModel
from model_service.kernel.types import Provider
from model_service.providers.base import Dialect
from model_service.providers.listing import MOST_MODELS, MalformedListing, cursor
from model_service.providers.registry import SPECS

ANTHROPIC = SPECS[Provider.ANTHROPIC].dialect
AZURE = SPECS[Provider.AZURE].dialect
GOOGLE = SPECS[Provider.GOOGLE].dialect
OLLAMA = SPECS[Provider.OLLAMA].dialect
OPENAI = SPECS[Provider.OPENAI].dialect

# Where a listing has its array of models, and a model its id.
SHAPES = [
    (OPENAI, "data", "id"),
    (AZURE, "data", "id"),
    (ANTHROPIC, "data", "id"),
    (GOOGLE, "models", "name"),
    (OLLAMA, "models", "model"),
]


def test_openai_says_the_id_and_when_it_was_made() -> None:
    page = OPENAI.page({"object": "list", "data": [{"id": "gpt-5", "created": 1754425777}]})
    made = datetime(2025, 8, 5, 20, 29, 37, tzinfo=UTC)
    assert page.models == (OfferedModel(id="gpt-5", name="gpt-5", created=made),)
    assert page.next_cursor is None


@pytest.mark.parametrize(
    ("vendor", "expected"),
    [
        (  # Groq
            {"id": "m", "context_window": 131072, "max_completion_tokens": 32768},
            OfferedModel(id="m", name="m", context_window=131072, max_tokens=32768),
        ),
        (  # OpenRouter
            {
                "id": "a/m",
                "name": "A: M",
                "description": "Made up.",
                "context_length": 200000,
                "top_provider": {"context_length": 200000, "max_completion_tokens": 64000},
            },
            OfferedModel(
                id="a/m",
                name="A: M",
                description="Made up.",
                context_window=200000,
                max_tokens=64000,
            ),
        ),
        (  # vLLM
            {"id": "org/m", "max_model_len": 8192, "owned_by": "vllm"},
            OfferedModel(id="org/m", name="org/m", context_window=8192),
        ),
        (  # Mistral
            {"id": "m-latest", "name": "m-2508", "max_context_length": 32768},
            OfferedModel(id="m-latest", name="m-2508", context_window=32768),
        ),
    ],
)
def test_compatible_vendors_say_more(vendor: dict[str, Any], expected: OfferedModel) -> None:
    assert OPENAI.page({"data": [vendor]}).models == (expected,)


def test_a_bare_array_is_a_listing_too() -> None:
    page = OPENAI.page([{"id": "org/m", "display_name": "M", "context_length": 4096}])
    assert page.models == (OfferedModel(id="org/m", name="M", context_window=4096),)


def test_azure_lists_its_base_models() -> None:
    page = AZURE.page({"data": [{"id": "gpt-5-2025-08-07", "created": 1754524800}]})
    assert [model.id for model in page.models] == ["gpt-5-2025-08-07"]


def test_anthropic_says_limits_and_where_the_next_page_begins() -> None:
    entry = {
        "id": "claude-opus-5",
        "display_name": "Claude Opus 5",
        "created_at": "2026-07-24T02:00:00+02:00",
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
    }
    page = ANTHROPIC.page({"data": [entry], "has_more": True, "last_id": "claude-opus-5"})
    assert page.models == (
        OfferedModel(
            id="claude-opus-5",
            name="Claude Opus 5",
            max_tokens=128_000,
            context_window=1_000_000,
            created=datetime(2026, 7, 24, tzinfo=UTC),
        ),
    )
    assert page.next_cursor == "claude-opus-5"
    assert ANTHROPIC.page({"data": [], "has_more": False, "last_id": None}).next_cursor is None


def test_google_lists_what_generates_content_or_embeds() -> None:
    methods = {
        "chat": ["generateContent", "countTokens"],
        "stream": ["generateContent", "streamGenerateContent"],
        "embed": ["embedContent"],
        "image": ["predict"],
        "live": ["bidiGenerateContent"],
        "odd": [1, None],
    }
    entries: list[dict[str, Any]] = [
        {"name": f"models/{name}", "supportedGenerationMethods": named}
        for name, named in methods.items()
    ]
    page = GOOGLE.page({"models": [*entries, {"name": "models/silent"}], "nextPageToken": "t=="})
    assert [(model.id, model.supports_streaming) for model in page.models] == [
        ("chat", None),
        ("stream", True),
        ("embed", None),
    ]
    assert page.next_cursor == "t=="


def test_google_says_names_descriptions_and_limits() -> None:
    entry = {
        "name": "models/gemini-x",
        "displayName": "Gemini X",
        "description": " Fast. ",
        "inputTokenLimit": 1048576,
        "outputTokenLimit": 65536,
        "supportedGenerationMethods": ["generateContent"],
    }
    assert GOOGLE.page({"models": [entry]}).models == (
        OfferedModel(
            id="gemini-x",
            name="Gemini X",
            description="Fast.",
            max_tokens=65536,
            context_window=1048576,
        ),
    )


def test_a_page_of_google_may_be_empty_before_the_last() -> None:
    page = GOOGLE.page({"nextPageToken": "more"})
    assert (page.models, page.next_cursor) == ((), "more")


def test_ollama_names_pulled_models() -> None:
    page = OLLAMA.page({"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest"}]})
    assert page.models == (OfferedModel(id="llama3.2:latest", name="llama3.2:latest"),)
    assert OLLAMA.page({"models": [{"name": "old:latest"}]}).models[0].id == "old:latest"
    assert OLLAMA.page({"models": []}).models == ()


def test_cursors_are_escaped() -> None:
    odd = "a&b=c/d?e#f g%"
    escaped = "a%26b%3Dc%2Fd%3Fe%23f%20g%25"
    assert GOOGLE.listing(odd).path == f"/v1beta/models?pageSize=1000&pageToken={escaped}"
    assert ANTHROPIC.listing(odd).path == f"/v1/models?limit=1000&after_id={escaped}"


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "m", "name": 7, "description": [], "created": "soon", "context_window": "8k"},
        {"id": "m", "name": "", "description": " ", "created": 0, "context_window": 0},
        {"id": "m", "name": None, "created": True, "context_window": True},
        {"id": "m", "created": -1, "context_window": -1, "max_completion_tokens": 1.5},
        {"id": "m", "created": 10**12, "context_window": 2**53, "top_provider": [1]},
    ],
)
def test_fields_of_the_wrong_kind_are_not_said(entry: dict[str, Any]) -> None:
    assert OPENAI.page({"data": [entry]}).models == (OfferedModel(id="m", name="m"),)


@pytest.mark.parametrize(
    "created_at",
    [None, 7, "", "soon", "1970-01-01T00:00:00Z", "2026-07-24T00:00:00", "0001-01-01T00:00:00+14"],
)
def test_times_that_are_none_are_not_said(created_at: object) -> None:
    page = ANTHROPIC.page({"data": [{"id": "m", "created_at": created_at}]})
    assert page.models[0].created is None


def test_long_texts_are_cut_to_what_the_api_shows() -> None:
    page = OPENAI.page({"data": [{"id": "m", "name": "n" * 9999, "description": "d" * 99999}]})
    (model,) = page.models
    assert len(model.name) == 255
    assert len(model.description or "") == 10_000


@pytest.mark.parametrize("document", [None, "text", 7, {}, {"error": "no"}, [1], [[]]])
@pytest.mark.parametrize("dialect", [ANTHROPIC, AZURE, GOOGLE, OLLAMA, OPENAI])
def test_another_document_is_no_listing(dialect: Dialect, document: object) -> None:
    with pytest.raises(MalformedListing):
        dialect.page(document)


@pytest.mark.parametrize(
    "array", [None, {}, "text", 7, [1], [None], [[]], [{"id": "m"}, 1], [{}] * (MOST_MODELS + 1)]
)
@pytest.mark.parametrize(("dialect", "field", "_"), SHAPES)
def test_what_is_no_array_of_models_is_refused_whole(
    dialect: Dialect, field: str, _: str, array: object
) -> None:
    with pytest.raises(MalformedListing):
        dialect.page({field: array})


@pytest.mark.parametrize("identifier", [None, 7, [], "", "m\n", "m\x00", "m" * 256])
@pytest.mark.parametrize(("dialect", "field", "id_field"), SHAPES)
def test_a_model_without_a_usable_id_spoils_the_listing(
    dialect: Dialect, field: str, id_field: str, identifier: object
) -> None:
    served = {"supportedGenerationMethods": ["generateContent"]}
    with pytest.raises(MalformedListing):
        dialect.page({field: [{id_field: "good", **served}, {id_field: identifier, **served}]})


@pytest.mark.parametrize("value", [None, "", 7, [], "c" * 2049])
def test_what_is_no_cursor_is_refused(value: object) -> None:
    with pytest.raises(MalformedListing):
        cursor(value)
    with pytest.raises(MalformedListing):
        ANTHROPIC.page({"data": [{"id": "m"}], "has_more": True, "last_id": value})
