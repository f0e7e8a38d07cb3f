"""The Messages API, by the official client."""

from typing import Any, ClassVar

import anthropic
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
    Result,
    Results,
    Said,
    Tokens,
    Told,
    Turn,
    User,
    Wish,
)

_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tools",
    "refusal": "filter",
}
#: The client knows them no more, as its newest models do not; the API still does.
_SAMPLING = {"temperature", "top_p", "top_k"}
#: What it has to have, and the stand-ins' answers fit into.
MOST = 4096


class Anthropic(Door):
    """`client.messages`."""

    name = dialect = "anthropic"
    failures = Failures(
        bad_request=anthropic.BadRequestError,
        unauthenticated=anthropic.AuthenticationError,
        not_found=anthropic.NotFoundError,
        limited=anthropic.RateLimitError,
        broken=anthropic.InternalServerError,
        in_stream=anthropic.APIError,
    )
    spelling: ClassVar = {
        "stop": "stop_sequences",
        "reasoning": "thinking",
        "output": "output_config.format",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "user": "metadata.user_id",
        "reasoning.visible": "thinking.display",
    }

    def __init__(self, client: anthropic.AsyncAnthropic) -> None:
        self.client = client

    @override
    def problem(self, error: Exception) -> Problem:
        assert isinstance(error, anthropic.APIError)
        body: Any = error.body
        inner = body["error"]
        field, colon, _ = inner["message"].partition(": ")
        code = inner.get("details", {}).get("error_code") or inner["type"]
        status = error.status_code if isinstance(error, anthropic.APIStatusError) else None
        return Problem(status, code, field if colon else None, inner["message"])

    @override
    async def ask(self, model: str, wish: Wish) -> Told:
        body = _body(wish)
        if not wish.stream:
            return _told(await self.client.messages.create(model=model, **body))
        deltas = argument_deltas = 0
        async with self.client.messages.stream(model=model, **body) as stream:
            async for event in stream:
                if event.type == "content_block_delta":
                    deltas += event.delta.type == "text_delta"
                    argument_deltas += event.delta.type == "input_json_delta"
            told = _told(await stream.get_final_message())
        told.deltas, told.argument_deltas = deltas, argument_deltas
        return told

    @override
    async def count(self, model: str, wish: Wish) -> int:
        body = _body(wish)
        del body["max_tokens"]
        return (await self.client.messages.count_tokens(model=model, **body)).input_tokens

    @override
    async def models(self) -> list[str]:
        return [model.id async for model in self.client.models.list()]

    @override
    async def model(self, name: str) -> str:
        return (await self.client.models.retrieve(name)).id


def _body(wish: Wish) -> Document:
    body: Document = {"max_tokens": wish.max_tokens or MOST, "messages": []}
    if wish.system:
        body["system"] = [{"type": "text", "text": text} for text in wish.system]
        if wish.cache:
            body["system"][-1]["cache_control"] = {"type": "ephemeral"}
    for turn in wish.turns:
        body["messages"] += _messages(turn)
    if wish.tools:
        nothing = {"type": "object", "properties": {}}
        body["tools"] = [
            {
                "name": tool.name,
                "description": f"What {tool.name} is",
                "input_schema": tool.schema or nothing,
            }
            for tool in wish.tools
        ]
    if wish.choice is not None:
        word = {"auto": "auto", "required": "any", "none": "none"}.get(wish.choice)
        named = {"type": "tool", "name": wish.choice}
        body["tool_choice"] = {"type": word} if word else named
    if wish.parallel is False:
        choice = body.setdefault("tool_choice", {"type": "auto"})
        choice["disable_parallel_tool_use"] = True
    if wish.schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": wish.schema}}
    elif wish.json:
        raise NoWords("the Messages API has no JSON without a schema")
    if wish.thinking is not None:
        body["thinking"] = {"type": "adaptive" if wish.thinking else "disabled"}
        if wish.shown:
            body["thinking"]["display"] = "summarized"
        if wish.thinking:
            body.setdefault("output_config", {})["effort"] = "low"
    if wish.stop:
        body["stop_sequences"] = list(wish.stop)
    extra = dict(wish.more)
    for name, value in wish.sampling.items():
        if name == "user":
            body["metadata"] = {"user_id": value}
        elif name in _SAMPLING:
            extra[name] = value
        else:
            raise NoWords(f"the Messages API has no {name}")
    if extra:
        body["extra_body"] = extra
    return body


def _messages(turn: Turn) -> list[Document]:
    match turn:
        case User():
            text = {"type": "text", "text": turn.text}
            return [{"role": "user", "content": [*map(_media, turn.media), text]}]
        case Said():
            return [{"role": "assistant", "content": turn.text}]
        case Instruction():
            return [{"role": "system", "content": turn.text}]
        case Calls():
            calls = [
                {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
                for call in turn.calls
            ]
            return [{"role": "assistant", "content": calls}]
        case Results():
            results = [
                {
                    "type": "tool_result",
                    "tool_use_id": result.call.id,
                    "content": _result(result),
                    **({"is_error": True} if result.is_error else {}),
                }
                for result in turn.results
            ]
            return [{"role": "user", "content": results}]
        case Answered():
            return turn.told.native


def _result(result: Result) -> Any:
    if result.image is None:
        return result.text
    return [{"type": "text", "text": result.text}, _media(result.image)]


def _media(media: Media) -> Document:
    kind = "image" if media.kind == "image" else "document"
    if media.url is not None:
        return {"type": kind, "source": {"type": "url", "url": media.url}}
    source = {"type": "base64", "media_type": media.media_type, "data": media.data}
    return {"type": kind, "source": source}


def _told(answer: Any) -> Told:
    told = Told(model=answer.model, stop_sequence=answer.stop_sequence)
    content = []
    for block in answer.content:
        native = block.model_dump(exclude_none=True)
        native.pop("parsed_output", None)
        content.append(native)
        if block.type == "text":
            told.text += block.text
        elif block.type == "thinking":
            told.thoughts += block.thinking
        elif block.type == "tool_use":
            told.calls.append(Call(block.id, block.name, block.input))
    told.native = [{"role": "assistant", "content": content}]
    told.candidates = [told.text]
    told.finish = _FINISHES[answer.stop_reason]
    told.refused = answer.stop_reason == "refusal"
    usage = answer.usage
    cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    told.usage = Tokens(
        usage.input_tokens + cached + written,
        usage.output_tokens,
        cached=cached,
        written=written,
        reasoning=details.thinking_tokens if details else None,
    )
    return told
