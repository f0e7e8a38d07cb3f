"""The Responses API, by the official client."""

import json
from typing import Any, ClassVar

from typing_extensions import override

from tests.conformance.gateway.openai_chat import OpenAI
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

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "metadata": "metadata",
    "user": "safety_identifier",
    "service_tier": "service_tier",
}


class OpenAIResponses(OpenAI):
    """`client.responses`. Nothing is stored, so encrypted thoughts are asked for."""

    name = dialect = "openai_responses"
    spelling: ClassVar = {
        "messages": "input",
        "output": "text.format",
        "max_tokens": "max_output_tokens",
        "logprobs": "include",
        "user": "safety_identifier",
        "system": "instructions",
        "reasoning": "reasoning.effort",
        "cache_control": "prompt_cache_breakpoint",
    }

    @override
    async def ask(self, model: str, wish: Wish) -> Told:
        body = _body(wish)
        if not wish.stream:
            return _told(await self.client.responses.create(model=model, **body))
        deltas = argument_deltas = 0
        final = None
        numbers = []
        async with self.client.responses.stream(model=model, **body) as stream:
            async for event in stream:
                numbers.append(event.sequence_number)
                deltas += event.type == "response.output_text.delta"
                argument_deltas += event.type == "response.function_call_arguments.delta"
                if event.type in ("response.completed", "response.incomplete"):
                    final = event.response
        assert numbers == sorted(set(numbers))
        assert final is not None
        told = _told(final)
        told.deltas, told.argument_deltas = deltas, argument_deltas
        return told


def _body(wish: Wish) -> Document:
    body: Document = {"input": [], "store": False}
    if wish.cache:
        mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
        parts = [{"type": "input_text", "text": text, **mark} for text in wish.system]
        body["input"].append({"role": "developer", "content": parts})
    elif wish.system:
        body["instructions"] = "\n\n".join(wish.system)
    for turn in wish.turns:
        body["input"] += _items(turn)
    if wish.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": f"What {tool.name} is",
                "parameters": tool.schema,
                "strict": False,
            }
            for tool in wish.tools
        ]
    if wish.choice in ("auto", "required", "none"):
        body["tool_choice"] = wish.choice
    elif wish.choice is not None:
        body["tool_choice"] = {"type": "function", "name": wish.choice}
    if wish.parallel is not None:
        body["parallel_tool_calls"] = wish.parallel
    if wish.schema is not None:
        form = {"type": "json_schema", "name": "answer", "schema": wish.schema, "strict": True}
        body["text"] = {"format": form}
    elif wish.json:
        body["text"] = {"format": {"type": "json_object"}}
    if wish.thinking is not None:
        body["reasoning"] = {"effort": "low" if wish.thinking else "none"}
        if wish.shown:
            body["reasoning"]["summary"] = "auto"
        if wish.thinking:
            body["include"] = ["reasoning.encrypted_content"]
    if wish.stop:
        raise NoWords("the Responses API has no stop sequences")
    if wish.max_tokens is not None:
        body["max_output_tokens"] = wish.max_tokens
    for name, value in wish.sampling.items():
        if name == "logprobs":
            body["include"] = ["message.output_text.logprobs"]
        elif name in _SAMPLING:
            body[_SAMPLING[name]] = value
        else:
            raise NoWords(f"the Responses API has no {name}")
    if wish.more:
        body["extra_body"] = dict(wish.more)
    return body


def _items(turn: Turn) -> list[Any]:
    match turn:
        case User():
            content: Any = turn.text
            if turn.media:
                text = {"type": "input_text", "text": turn.text}
                content = [*map(_media, turn.media), text]
            return [{"role": "user", "content": content}]
        case Said():
            return [{"role": "assistant", "content": turn.text}]
        case Instruction():
            return [{"role": "developer", "content": turn.text}]
        case Calls():
            return [
                {
                    "type": "function_call",
                    "call_id": call.id,
                    "name": call.name,
                    "arguments": json.dumps(call.arguments),
                }
                for call in turn.calls
            ]
        case Results():
            if any(result.is_error for result in turn.results):
                raise NoWords("the Responses API has no mark for a tool that failed")
            return [
                {
                    "type": "function_call_output",
                    "call_id": result.call.id,
                    "output": _result(result),
                }
                for result in turn.results
            ]
        case Answered():
            return turn.told.native


def _result(result: Result) -> Any:
    if result.image is None:
        return result.text
    return [{"type": "input_text", "text": result.text}, _media(result.image)]


def _media(media: Media) -> Document:
    if media.kind == "image":
        url = media.url or f"data:{media.media_type};base64,{media.data}"
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    if media.url is not None:
        return {"type": "input_file", "file_url": media.url}
    data = f"data:{media.media_type};base64,{media.data}"
    return {"type": "input_file", "filename": "a.pdf", "file_data": data}


def _told(answer: Any) -> Told:
    told = Told(text=answer.output_text, model=answer.model)
    for item in answer.output:
        native = item.model_dump(exclude_none=True)
        native.pop("status", None)
        native.pop("parsed_arguments", None)
        if item.type == "message":
            for part, content in zip(item.content, native["content"], strict=True):
                told.refused |= part.type == "refusal"
                told.logprobs |= bool(getattr(part, "logprobs", None))
                content.pop("parsed", None)
        elif item.type == "reasoning":
            told.thoughts += "".join(part.text for part in item.summary)
        elif item.type == "function_call":
            arguments = json.loads(item.arguments)
            told.calls.append(Call(item.call_id, item.name, arguments))
        told.native.append(native)
    told.candidates = [told.text]
    told.finish = "tools" if told.calls else "stop"
    if answer.status == "incomplete":
        reason = answer.incomplete_details.reason
        told.finish = {"max_output_tokens": "length", "content_filter": "filter"}[reason]
        told.refused |= reason == "content_filter"
    else:
        assert answer.status == "completed"
    usage = answer.usage
    if usage is not None:
        told.usage = Tokens(
            usage.input_tokens,
            usage.output_tokens,
            cached=usage.input_tokens_details.cached_tokens,
            written=getattr(usage.input_tokens_details, "cache_write_tokens", None),
            reasoning=usage.output_tokens_details.reasoning_tokens,
        )
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    return told
