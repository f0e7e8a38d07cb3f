"""What OpenAI's model names tell."""

import pytest

from model_service.providers.openai_models import calls_tools_by_responses, thinks_unasked


@pytest.mark.parametrize(
    "name", ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "gpt-5.5", "gpt-6.1-sol"]
)
def test_models_that_think_unasked(name: str) -> None:
    assert thinks_unasked(name)


@pytest.mark.parametrize(
    "name",
    ["gpt-4.1", "gpt-4o", "gpt-4o-mini", "gpt-5.1", "gpt-5.4-mini", "gpt-5-chat-latest", "omni",
     "my-deployment", "", "gpt-", "gpt-x.y", "gpt-²"],
)  # fmt: skip
def test_models_that_do_not_as_far_as_their_names_tell(name: str) -> None:
    assert not thinks_unasked(name)


@pytest.mark.parametrize("name", ["gpt-5.4-mini", "gpt-5.5", "gpt-6-luna", "gpt-10"])
def test_newer_models_call_functions_by_responses_alone(name: str) -> None:
    assert calls_tools_by_responses(name)


@pytest.mark.parametrize("name", ["gpt-5", "gpt-5.3", "gpt-4.1", "o3", "llama", "gpt-6-chat"])
def test_others_call_them_by_chat_completions_too(name: str) -> None:
    assert not calls_tools_by_responses(name)
