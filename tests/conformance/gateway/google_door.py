"""`generateContent` and its like, by the official client."""

import base64
from typing import Any, ClassVar

from google.genai import errors, types
from google.genai.client import AsyncClient
from typing_extensions import override

from tests.conformance.gateway.doors import Door, Failures, Problem
from tests.conformance.gateway.wishes import (
    Answered,
    Call,
    Calls,
    Document,
    Instruction,
    Media,
    NoWords,
    Results,
    Said,
    Tokens,
    Told,
    Turn,
    User,
    Wish,
)

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "n": "candidate_count",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logprobs": "response_logprobs",
    "service_tier": "service_tier",
}
_FINISHES = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "filter", "RECITATION": "filter"}
_BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)


class Google(Door):
    """`client.aio.models`."""

    name = dialect = "google"
    failures = Failures(
        bad_request=errors.ClientError,
        unauthenticated=errors.ClientError,
        not_found=errors.ClientError,
        limited=errors.ClientError,
        broken=errors.ServerError,
        in_stream=errors.APIError,
    )
    spelling: ClassVar = {
        "messages": "contents",
        "seed": "generationConfig.seed",
        "n": "generationConfig.candidateCount",
        "top_k": "generationConfig.topK",
        "top_p": "generationConfig.topP",
        "temperature": "generationConfig.temperature",
        "max_tokens": "generationConfig.maxOutputTokens",
        "stop": "generationConfig.stopSequences",
        "presence_penalty": "generationConfig.presencePenalty",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "logprobs": "generationConfig.responseLogprobs",
        "output": "generationConfig.responseSchema",
        "reasoning": "generationConfig.thinkingConfig",
        "reasoning.visible": "generationConfig.thinkingConfig.includeThoughts",
        "tool_choice": "toolConfig.functionCallingConfig",
        "inputs": "content",
        "dimensions": "outputDimensionality",
        "service_tier": "serviceTier",
        "system": "systemInstruction",
    }

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    @override
    def problem(self, error: Exception) -> Problem:
        assert isinstance(error, errors.APIError)
        body: Any = error.details
        code = field = None
        for detail in body["error"].get("details", ()):
            code = detail.get("reason", code)
            for violation in detail.get("fieldViolations", ()):
                field = violation["field"]
        return Problem(error.code, (code or "").lower() or None, field, error.message or "")

    @override
    async def ask(self, model: str, wish: Wish) -> Told:
        contents, config = _asked(wish)
        if not wish.stream:
            answer = await self.client.models.generate_content(
                model=model, contents=contents, config=config
            )
            return _told([answer])
        stream = await self.client.models.generate_content_stream(
            model=model, contents=contents, config=config
        )
        return _told([chunk async for chunk in stream])

    @override
    async def embed(self, model: str, texts: str | list[str], **more: Any) -> list[list[float]]:
        config = types.EmbedContentConfig(output_dimensionality=more.pop("dimensions", None))
        assert not more
        answer = await self.client.models.embed_content(
            model=model, contents=list(texts) if isinstance(texts, list) else texts, config=config
        )
        return [list(vector.values or ()) for vector in answer.embeddings or ()]

    @override
    async def count(self, model: str, wish: Wish) -> int:
        contents, _ = _asked(wish)
        answer = await self.client.models.count_tokens(model=model, contents=contents)
        return answer.total_tokens or 0

    @override
    async def models(self) -> list[str]:
        pages = await self.client.models.list(config={"page_size": 1000})
        return [(model.name or "").removeprefix("models/") async for model in pages]

    @override
    async def model(self, name: str) -> str:
        model = await self.client.models.get(model=name)
        return (model.name or "").removeprefix("models/")


def _asked(wish: Wish) -> tuple[list[Any], types.GenerateContentConfig]:
    contents = [content for turn in wish.turns for content in _contents(turn)]
    config: Document = {"automatic_function_calling": _BY_HAND}
    if wish.system:
        config["system_instruction"] = list(wish.system)
    if wish.tools:
        declarations = [
            types.FunctionDeclaration(
                name=tool.name,
                description=f"What {tool.name} is",
                parameters_json_schema=tool.schema,
            )
            for tool in wish.tools
        ]
        config["tools"] = [types.Tool(function_declarations=declarations)]
    if wish.choice is not None:
        word = {"auto": "AUTO", "required": "ANY", "none": "NONE"}.get(wish.choice)
        calling: Document = {"mode": word or "ANY"}
        if word is None:
            calling["allowed_function_names"] = [wish.choice]
        config["tool_config"] = {"function_calling_config": calling}
    if wish.parallel is not None:
        raise NoWords("the Gemini API cannot forbid parallel calls")
    if wish.schema is not None:
        config["response_mime_type"] = "application/json"
        config["response_json_schema"] = wish.schema
    elif wish.json:
        config["response_mime_type"] = "application/json"
    if wish.thinking is not None:
        level = "LOW" if wish.thinking else "MINIMAL"
        config["thinking_config"] = {"thinking_level": level}
        if wish.shown:
            config["thinking_config"]["include_thoughts"] = True
        if not wish.thinking:
            config["thinking_config"] = {"thinking_budget": 0}
    if wish.stop:
        config["stop_sequences"] = list(wish.stop)
    if wish.cache:
        raise NoWords("the Gemini API has no marks for the cache")
    if wish.max_tokens is not None:
        config["max_output_tokens"] = wish.max_tokens
    for name, value in wish.sampling.items():
        if name not in _SAMPLING:
            raise NoWords(f"the Gemini API has no {name}")
        config[_SAMPLING[name]] = value
    if wish.more:
        config["http_options"] = {"extra_body": dict(wish.more)}
    return contents, types.GenerateContentConfig(**config)


def _contents(turn: Turn) -> list[Any]:
    match turn:
        case User():
            parts = [*map(_media, turn.media), types.Part(text=turn.text)]
            return [types.Content(role="user", parts=parts)]
        case Instruction():
            raise NoWords("the Gemini API has but one place for instructions")
        case Said():
            return [types.Content(role="model", parts=[types.Part(text=turn.text)])]
        case Calls():
            calls = [
                types.FunctionCall(id=call.id, name=call.name, args=dict(call.arguments))
                for call in turn.calls
            ]
            parts = [types.Part(function_call=call) for call in calls]
            # As Google has it for calls that Gemini did not make.
            parts[0].thought_signature = b"skip_thought_signature_validator"
            return [types.Content(role="model", parts=parts)]
        case Results():
            results = [
                types.FunctionResponse(
                    id=result.call.id,
                    name=result.call.name,
                    response={"error" if result.is_error else "result": result.text},
                    parts=None if result.image is None else [_attached(result.image)],
                )
                for result in turn.results
            ]
            parts = [types.Part(function_response=result) for result in results]
            return [types.Content(role="user", parts=parts)]
        case Answered():
            return turn.told.native


def _attached(image: Media) -> types.FunctionResponsePart:
    data = base64.b64decode(image.data or "")
    return types.FunctionResponsePart.from_bytes(data=data, mime_type=image.media_type)


def _media(media: Media) -> types.Part:
    if media.url is not None:
        return types.Part.from_uri(file_uri=media.url, mime_type=media.media_type)
    data = base64.b64decode(media.data or "")
    return types.Part.from_bytes(data=data, mime_type=media.media_type)


def _told(chunks: list[types.GenerateContentResponse]) -> Told:
    told = Told(model=chunks[-1].model_version)
    parts: list[types.Part] = []
    candidates: dict[int, str] = {}
    finishes = []
    for chunk in chunks:
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason is not None:
            told.finish, told.refused = "filter", True
        for candidate in chunk.candidates or ():
            index = candidate.index or 0
            candidates.setdefault(index, "")
            told.logprobs |= candidate.logprobs_result is not None
            if candidate.finish_reason is not None and index == 0:
                finishes.append(candidate.finish_reason.value)
            for part in (candidate.content.parts if candidate.content else None) or ():
                if part.text and not part.thought:
                    candidates[index] += part.text
                if index == 0:
                    parts.append(part)
    for part in parts:
        if part.function_call is not None:
            call = part.function_call
            told.calls.append(Call(call.id or "", call.name or "", call.args or {}))
            told.argument_deltas += 1
        elif part.thought:
            told.thoughts += part.text or ""
        elif part.text:
            told.text += part.text
            told.deltas += 1
    told.candidates = [candidates[index] for index in sorted(candidates)]
    told.native = [types.Content(role="model", parts=parts)]
    if not told.finish:
        assert len(finishes) == 1
        told.finish = _FINISHES[finishes[0]]
        told.refused = told.finish == "filter"
        if told.calls and told.finish == "stop":
            told.finish = "tools"
    usage = chunks[-1].usage_metadata
    if usage is not None:
        thoughts = usage.thoughts_token_count or 0
        told.usage = Tokens(
            usage.prompt_token_count or 0,
            (usage.candidates_token_count or 0) + thoughts,
            cached=usage.cached_content_token_count or 0,
            reasoning=thoughts,
        )
        assert usage.total_token_count == told.usage.prompt + told.usage.output
    return told
