"""What callers send through each door, for docs/translation.md: every field of each API."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from probes import NOTHING, differences, reason, tree

from model_service.providers.calls import DOORS
from model_service.providers.faults import CallFailed
from model_service.providers.translation import Document

_HELLO = [{"role": "user", "content": "Hello"}]
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
_WITH_IMAGE = {
    "contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgoAAAAN"}}]}]
}


@dataclass(frozen=True, slots=True)
class Given:
    """A field of a caller's request: how it is shown, and the fields that it stands for.

    `beside` is what it needs to stand beside.
    """

    name: str
    fields: Document
    beside: Document = field(default_factory=dict)


def _of(**fields: Any) -> Sequence[Given]:  # noqa: ANN401 - any JSON value
    """Fields that are shown with the values they have."""
    return [Given(f"{name}: {_short(value)}", {name: value}) for name, value in fields.items()]


def _short(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(**fields: Any) -> Sequence[Given]:  # noqa: ANN401 - any JSON value
    """Fields whose values do not matter."""
    return [Given(name, {name: value}) for name, value in fields.items()]


_FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": _SCHEMA}}

OPENAI_CHAT: Sequence[Given] = (
    Given(
        "messages, role `developer` or `system`",
        {"messages": [{"role": "developer", "content": "Be brief"},
                      {"role": "user", "content": "Hello"}]},
    ),
    *_plain(max_completion_tokens=100, max_tokens=100, temperature=0.5, top_p=0.9),
    Given("top_k (vendors')", {"top_k": 40}),
    *_plain(stop="END"),
    *_of(n=1),
    *_of(n=2),
    *_plain(seed=7, presence_penalty=0.5, frequency_penalty=0.5, logit_bias={"50256": -100}),
    *_of(logprobs=False),
    *_of(logprobs=True),
    Given("top_logprobs", {"top_logprobs": 3}, {"logprobs": True}),
    *_plain(tools=[_FUNCTION]),
    Given("tools, of OpenAI's own", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
    *_of(tool_choice="required"),
    Given(
        "tool_choice, a function",
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
    ),
    Given(
        "tool_choice, of some",
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
            {"type": "function", "function": {"name": "weather"}}]}}},
    ),
    *_of(parallel_tool_calls=False),
    Given("response_format: json_object", {"response_format": {"type": "json_object"}}),
    Given(
        "response_format: json_schema",
        {"response_format": {"type": "json_schema",
                             "json_schema": {"name": "place", "schema": _SCHEMA}}},
    ),
    Given("response_format: text", {"response_format": {"type": "text"}}),
    *_plain(verbosity="low", reasoning_effort="high"),
    Given("reasoning.max_tokens (OpenRouter's)", {"reasoning": {"max_tokens": 1024}}),
    Given("reasoning.exclude (OpenRouter's)", {"reasoning": {"effort": "high", "exclude": True}},
          {"reasoning": {"effort": "high"}}),
    *_plain(user="ada", safety_identifier="ada", metadata={"team": "red"}),
    *_of(service_tier="auto"),
    *_of(service_tier="flex"),
    Given("stream_options.include_usage", {"stream_options": {"include_usage": True}}),
    Given("stream_options.include_obfuscation",
          {"stream_options": {"include_obfuscation": False}}),
    *_plain(prompt_cache_key="k", prompt_cache_options={"mode": "explicit"},
            prompt_cache_retention="24h"),
    *_of(store=False),
    *_of(store=True),
    Given("modalities: text", {"modalities": ["text"]}),
    Given("modalities: text, audio", {"modalities": ["text", "audio"]}),
    *_plain(audio={"voice": "alloy", "format": "wav"}, moderation={"model": "x"},
            prediction={"type": "content", "content": "x"}, web_search_options={},
            functions=[{"name": "weather"}], function_call="auto"),
    Given("anything else", {"made_up": 1}),
)  # fmt: skip

RESPONSES: Sequence[Given] = (
    *_plain(instructions="Be brief"),
    Given("input, items", {"input": [{"role": "user", "content": "Look"}]}),
    *_plain(max_output_tokens=100, temperature=0.5, top_p=0.9),
    Given("include: message.output_text.logprobs", {"include": ["message.output_text.logprobs"]}),
    Given("include: reasoning.encrypted_content", {"include": ["reasoning.encrypted_content"]}),
    Given(
        "top_logprobs", {"top_logprobs": 3}, {"include": ["message.output_text.logprobs"]}
    ),
    *_plain(tools=[{"type": "function", "name": "weather", "parameters": _SCHEMA}]),
    Given("tools, of OpenAI's own", {"tools": [{"type": "web_search"}]}),
    *_of(tool_choice="required"),
    Given("tool_choice, a function", {"tool_choice": {"type": "function", "name": "weather"}}),
    *_of(parallel_tool_calls=False),
    *_plain(max_tool_calls=3),
    Given("text.format: json_object", {"text": {"format": {"type": "json_object"}}}),
    Given(
        "text.format: json_schema",
        {"text": {"format": {"type": "json_schema", "name": "place", "schema": _SCHEMA}}},
    ),
    Given("text.verbosity", {"text": {"verbosity": "low"}}),
    Given("reasoning.effort", {"reasoning": {"effort": "high"}}),
    Given("reasoning.summary", {"reasoning": {"summary": "auto"}}),
    *_plain(user="ada", safety_identifier="ada", metadata={"team": "red"}),
    *_of(service_tier="flex"),
    Given("stream_options.include_obfuscation",
          {"stream_options": {"include_obfuscation": False}}),
    *_plain(prompt_cache_key="k", prompt_cache_options={"mode": "explicit"},
            prompt_cache_retention="24h"),
    *_of(store=False),
    *_of(store=True),
    *_of(background=False),
    *_of(background=True),
    *_of(truncation="disabled"),
    *_of(truncation="auto"),
    *_plain(previous_response_id="resp_1", conversation="conv_1", prompt={"id": "p"},
            context_management=[{"type": "compaction"}], background_options={"x": 1},
            moderation={"model": "x"}, image={"x": 1}, access_programs=["x"]),
    Given("anything else", {"made_up": 1}),
)  # fmt: skip


def _answer(**fields: Any) -> Document:  # noqa: ANN401 - any JSON value
    said = [{"type": "text", "text": "So it is", **fields}]
    return {"messages": [*_HELLO, {"role": "assistant", "content": said}]}


ANTHROPIC: Sequence[Given] = (
    *_plain(system="Be brief"),
    *_plain(max_tokens=100, temperature=0.5, top_p=0.9),
    *_of(top_k=0),
    *_of(top_k=40),
    *_plain(stop_sequences=["END"]),
    *_plain(tools=[{"name": "weather", "input_schema": _SCHEMA}]),
    Given("tools, of Anthropic's own",
          {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    Given("tool_choice: any", {"tool_choice": {"type": "any"}}),
    Given("tool_choice: tool", {"tool_choice": {"type": "tool", "name": "weather"}}),
    Given(
        "tool_choice.disable_parallel_tool_use",
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"tool_choice": {"type": "auto"}},
    ),
    Given("thinking: enabled", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    Given("thinking: adaptive", {"thinking": {"type": "adaptive"}}),
    Given("thinking: disabled", {"thinking": {"type": "disabled"}}),
    Given("thinking.display", {"thinking": {"type": "adaptive", "display": "omitted"}},
          {"thinking": {"type": "adaptive"}}),
    Given("output_config.effort", {"output_config": {"effort": "high"}}),
    Given(
        "output_config.effort, beside a budget",
        {"output_config": {"effort": "high"}},
        {"thinking": {"type": "enabled", "budget_tokens": 2048}},
    ),
    Given("output_config.format",
          {"output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}}}),
    *_plain(cache_control={"type": "ephemeral"}),
    Given("metadata.user_id", {"metadata": {"user_id": "ada"}}),
    *_of(service_tier="auto"),
    *_of(service_tier="standard_only"),
    *_of(speed="standard"),
    *_of(speed="fast"),
    Given("citations of an earlier answer", _answer(citations=[{"type": "char_location"}]),
          _answer()),
    *_plain(container="c", context_management={"edits": []}, diagnostics={"x": 1},
            fallbacks=["x"], inference_geo="eu",
            mcp_servers=[{"type": "url", "url": "https://example.com", "name": "x"}],
            output_format={"type": "json_schema"}, user_profile_id="u", workspace_id="w",
            betas=["x"], billing_policy={"x": 1}, compaction={"x": 1},
            fallback_credit_token="t", thread={"x": 1}),  # noqa: S106 - a field's name
    Given("anything else", {"made_up": 1}),
)  # fmt: skip


def _config(**fields: Any) -> Sequence[Given]:  # noqa: ANN401 - any JSON value
    return [
        Given(f"generationConfig.{name}", {"generationConfig": {name: value}})
        for name, value in fields.items()
    ]


GOOGLE: Sequence[Given] = (
    *_plain(systemInstruction={"parts": [{"text": "Be brief"}]}),
    *_config(maxOutputTokens=100, temperature=0.5, topP=0.9, topK=40, stopSequences=["END"],
             candidateCount=2, seed=7, presencePenalty=0.5, frequencyPenalty=0.5,
             responseLogprobs=True),
    Given("generationConfig.logprobs", {"generationConfig": {"responseLogprobs": True,
          "logprobs": 3}}, {"generationConfig": {"responseLogprobs": True}}),
    Given("generationConfig.responseMimeType: application/json",
          {"generationConfig": {"responseMimeType": "application/json"}}),
    Given("generationConfig.responseSchema",
          {"generationConfig": {"responseMimeType": "application/json",
                                "responseSchema": {"type": "STRING"}}}),
    Given("generationConfig.responseJsonSchema",
          {"generationConfig": {"responseMimeType": "application/json",
                                "responseJsonSchema": _SCHEMA}}),
    Given("generationConfig.mediaResolution",
          {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_HIGH"}}, _WITH_IMAGE),
    *[Given(f"generationConfig.thinkingConfig.{name}",
            {"generationConfig": {"thinkingConfig": {name: value}}})
      for name, value in {"thinkingLevel": "HIGH", "thinkingBudget": 1024,
                          "includeThoughts": True}.items()],
    *_config(responseModalities=["IMAGE"], speechConfig={"x": 1}, imageConfig={"x": 1},
             audioTranscriptionConfig={"x": 1}, enableEnhancedCivicAnswers=True,
             audioTimestamp=True, routingConfig={"x": 1}, modelSelectionConfig={"x": 1}),
    *_plain(tools=[{"functionDeclarations": [{"name": "weather",
                                              "parametersJsonSchema": _SCHEMA}]}]),
    Given("tools, of Google's own", {"tools": [{"googleSearch": {}}]}),
    Given("toolConfig.functionCallingConfig: ANY",
          {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
    Given("toolConfig.functionCallingConfig.allowedFunctionNames",
          {"toolConfig": {"functionCallingConfig": {"mode": "ANY",
                                                    "allowedFunctionNames": ["weather"]}}}),
    Given("toolConfig.retrievalConfig", {"toolConfig": {"retrievalConfig": {"x": 1}}}),
    Given("safetySettings: BLOCK_NONE", {"safetySettings": [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]}),
    Given("safetySettings, any filter", {"safetySettings": [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_LOW_AND_ABOVE"}]}),
    *_plain(labels={"team": "red"}, serviceTier="flex"),
    *_of(store=False),
    *_of(store=True),
    *_plain(cachedContent="cachedContents/1", continuationToken="t",
            modelArmorConfig={"x": 1}),
    Given("anything else", {"madeUp": 1}),
)  # fmt: skip

OPENAI_EMBEDDINGS: Sequence[Given] = (
    Given("input, several", {"input": ["Hello", "again"]}),
    Given("input, numbers of tokens", {"input": [1, 2, 3]}),
    *_plain(dimensions=256),
    *_of(encoding_format="float"),
    *_of(encoding_format="base64"),
    *_plain(user="ada"),
    Given("anything else", {"made_up": 1}),
)

GOOGLE_EMBEDDINGS: Sequence[Given] = (
    Given("content", {"content": {"parts": [{"text": "Hi"}]}}),
    *_plain(taskType="RETRIEVAL_QUERY", title="A book", outputDimensionality=256),
    Given("embedContentConfig", {"embedContentConfig": {"taskType": "RETRIEVAL_QUERY"}}),
    Given("anything else", {"madeUp": 1}),
)

Read = Callable[[Document], Any]


def chat_read(door: str) -> Read:
    """How a door reads requests for chats."""
    chat = DOORS[door].chat
    if chat is None:
        raise LookupError(f"no chats at {door}")
    return lambda body: chat.read(body, "m", stream=False)


def embed_read(door: str) -> Read:
    """How a door reads requests for embeddings."""
    embeds = DOORS[door].embeds
    if embeds is None:
        raise LookupError(f"no embeddings at {door}")
    return lambda body: embeds.read(body, "m")


def result(read: Read, base: Document, given: Given) -> str:
    """The cell for a field: what it is read into, or why it is refused."""
    before = tree(read(_copy({**base, **given.beside})))
    try:
        after = tree(read(_copy({**base, **given.beside, **given.fields})))
    except CallFailed as failed:
        return f"refused: {reason(failed)}"
    listed = [f"passed over, listed as `{name}`" for name in after.pop("dropped", [])]
    before.pop("dropped", None)
    read_into = dict.fromkeys(map(_field, differences(before, after)))
    return "; ".join([*read_into, *listed]) or NOTHING


def _field(place: str) -> str:
    """The field of the request; of these what is in them has no rows of its own."""
    name = place.strip("`").partition(".")[0]
    return f"`{name}`" if name in ("metadata", "output", "tool_choice") else place


def _copy(value: Any) -> Any:  # noqa: ANN401 - any JSON value; doors may change what they are given
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Door:
    """A door: its title, its routes, how it reads, the least it takes, and what it is asked."""

    title: str
    read: Read
    base: Document
    given: Sequence[Given]


#: Every door, by a name that tests use.
DOORS_ASKED: Mapping[str, Door] = {
    "openai_chat": Door(
        "`POST /v1/chat/completions`", chat_read("openai_chat"), {"messages": _HELLO}, OPENAI_CHAT
    ),
    "openai_responses": Door(
        "`POST /v1/responses`", chat_read("openai_responses"), {"input": "Hello"}, RESPONSES
    ),
    "anthropic": Door(
        "`POST /v1/messages`", chat_read("anthropic"), {"messages": _HELLO}, ANTHROPIC
    ),
    "google": Door(
        "`:generateContent`, `:streamGenerateContent`",
        chat_read("google"),
        {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
        GOOGLE,
    ),
    "openai_embeddings": Door(
        "`POST /v1/embeddings`", embed_read("openai_chat"), {"input": "Hello"}, OPENAI_EMBEDDINGS
    ),
    "google_embeddings": Door(
        "`:embedContent`",
        embed_read("google"),
        {"content": {"parts": [{"text": "Hello"}]}},
        GOOGLE_EMBEDDINGS,
    ),
}
