"""The tables of translation are whole, and nothing is passed over in silence but what says nothing.

What stands in them comes from the code, see docs/probes.py; here is what they have to have.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import message_create_params
from openai.types import embedding_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from probes import Probe, Write, chat_write, observe
from probes_chat import GROUPS
from probes_doors import DOORS_ASKED, Given, result
from translation import UPSTREAMS, translation_page

from model_service.kernel.types import Provider
from model_service.providers.chat import ChatRequest

PAGE = Path(__file__).parents[2] / "docs" / "translation.md"
PROBES = [probe for probes in GROUPS.values() for probe in probes]

# Rows for which nothing goes out: each with the columns in which it is so without a word.
SAYS_NOTHING = {
    "service_tier: default": {"GOOGLE", "OLLAMA", "CUSTOM"},
    "verbosity: medium": {"ANTHROPIC", "GOOGLE", "OLLAMA"},
    "tool_choice: auto": {"ANTHROPIC", "OLLAMA"},
    "parallel_tool_calls: true": {"OPENAI, AZURE", "ANTHROPIC", "GOOGLE", "OLLAMA", "CUSTOM"},
    # These hold answers to their schema in any case, and nobody reads its name.
    "output: strict": {"ANTHROPIC", "GOOGLE", "OLLAMA"},
    "output: its name": {"GOOGLE", "OLLAMA"},
    # They think as much as they find right, and show it or do not.
    "reasoning: adaptive": {
        "GOOGLE",
        "OPENAI, AZURE",
        "the same by the Responses API",
        "OLLAMA",
        "CUSTOM",
    },
    "reasoning: shown": {"ANTHROPIC", "OLLAMA", "CUSTOM"},
    "reasoning: not shown": {"OPENAI, AZURE", "the same by the Responses API"},
}

# Read by the pipeline, or by no chat.
ELSEWHERE = {"model", "stream"}
CLIENTS: dict[str, Any] = {
    "openai_chat": completion_create_params.CompletionCreateParamsBase,
    "openai_responses": response_create_params.ResponseCreateParamsBase,
    "anthropic": message_create_params.MessageCreateParamsBase,
    "openai_embeddings": embedding_create_params.EmbeddingCreateParams,
}


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == translation_page(), "run `make docs`"


def test_every_field_of_a_request_has_a_row() -> None:
    asked = {
        field.name
        for probe in PROBES
        for field in fields(ChatRequest)
        if field.init and getattr(probe.changed, field.name) != getattr(probe.base, field.name)
    }
    # What is called, whether the caller sees the usage, and what a door passed over.
    not_sent = {"model", "include_usage", "dropped"}
    assert asked == {field.name for field in fields(ChatRequest) if field.init} - not_sent


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_no_provider_passes_over_a_field_in_silence(probe: Probe) -> None:
    silent = {head for head, (write, _) in UPSTREAMS.items() if observe(write, probe).is_nothing}
    assert silent == SAYS_NOTHING.get(probe.name, set())


@pytest.mark.parametrize("door", CLIENTS)
def test_every_parameter_of_the_official_client_has_a_row(door: str) -> None:
    asked = DOORS_ASKED[door]
    named = {name for given in asked.given for name in given.fields} | set(asked.base)
    assert set(CLIENTS[door].__annotations__) - ELSEWHERE <= named


@pytest.mark.parametrize("door", DOORS_ASKED)
def test_what_nobody_knows_is_refused_at_every_door(door: str) -> None:
    asked = DOORS_ASKED[door]
    assert result(asked.read, asked.base, Given("", {"x-made-up": 1})).startswith("refused")


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
@pytest.mark.parametrize("responses", [False, True])
def test_azure_is_asked_as_openai_is(probe: Probe, responses: bool) -> None:
    def cell(write: Write) -> str:
        # Only OpenAI's own streams are padded, and asked not to be.
        return (
            observe(write, probe)
            .cell(probe.name)
            .replace("; `stream_options.include_obfuscation`", "")
        )

    openai = chat_write(Provider.OPENAI, "gpt-4.1", responses=responses)
    azure = chat_write(Provider.AZURE, "gpt-4.1", responses=responses)
    assert cell(azure) == cell(openai)
