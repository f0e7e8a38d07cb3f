"""Chat completions, by the official client; also by its class for Azure."""

import json
from typing import Any, ClassVar

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState
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
    Tool,
    Turn,
    User,
    Wish,
)

FAILURES = Failures(
    bad_request=openai.BadRequestError,
    unauthenticated=openai.AuthenticationError,
    not_found=openai.NotFoundError,
    limited=openai.RateLimitError,
    broken=openai.InternalServerError,
    in_stream=openai.APIError,
)

_FINISHES = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tools",
    "content_filter": "filter",
}


class OpenAI(Door):
    """What both doors have in common."""

    failures = FAILURES

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self.client = client

    @override
    def problem(self, error: Exception) -> Problem:
        assert isinstance(error, openai.APIError)
        status = error.status_code if isinstance(error, openai.APIStatusError) else None
        return Problem(status, error.code, error.param, error.message)

    @override
    async def models(self) -> list[str]:
        return [model.id async for model in self.client.models.list()]

    @override
    async def model(self, name: str) -> str:
        return (await self.client.models.retrieve(name)).id


class OpenAIChat(OpenAI):
    """`client.chat.completions`."""

    name = dialect = "openai_chat"
    spelling: ClassVar = {
        "output": "response_format",
        "reasoning": "reasoning_effort",
        "max_tokens": "max_completion_tokens",
        "inputs": "input",
        "system": "messages",
    }

    @override
    async def ask(self, model: str, wish: Wish) -> Told:
        body: Any = _body(wish)
        if not wish.stream:
            return _told(await self.client.chat.completions.create(model=model, **body))
        state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
        deltas = argument_deltas = usages = 0
        options: Any = {"include_usage": True}
        stream = await self.client.chat.completions.create(
            model=model, stream=True, stream_options=options, **body
        )
        async for chunk in stream:
            state.handle_chunk(chunk)
            usages += chunk.usage is not None
            for choice in chunk.choices:
                deltas += bool(choice.delta.content)
                for call in choice.delta.tool_calls or ():
                    argument_deltas += bool(call.function and call.function.arguments)
        assert usages == 1, "usage comes once, at the end"
        told = _told(state.current_completion_snapshot)
        told.deltas, told.argument_deltas = deltas, argument_deltas
        return told

    @override
    async def embed(self, model: str, texts: str | list[str], **more: Any) -> list[list[float]]:
        answer = await self.client.embeddings.create(model=model, input=texts, **more)
        assert [entry.index for entry in answer.data] == list(range(len(answer.data)))
        return [entry.embedding for entry in answer.data]

    @override
    async def embed_packed(self, model: str, text: str) -> str:
        """The vector as base64, which the client asks for by itself and otherwise unpacks."""
        answer: Any = await self.client.embeddings.create(
            model=model, input=text, encoding_format="base64"
        )
        packed = answer.data[0].embedding
        assert isinstance(packed, str)
        return packed


def _body(wish: Wish) -> Document:
    body: Document = {"messages": [{"role": "system", "content": text} for text in wish.system]}
    for turn in wish.turns:
        body["messages"] += _messages(turn)
    if wish.tools:
        body["tools"] = [_tool(tool) for tool in wish.tools]
    if wish.choice in ("auto", "required", "none"):
        body["tool_choice"] = wish.choice
    elif wish.choice is not None:
        body["tool_choice"] = {"type": "function", "function": {"name": wish.choice}}
    if wish.parallel is not None:
        body["parallel_tool_calls"] = wish.parallel
    if wish.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": wish.schema, "strict": True},
        }
    elif wish.json:
        body["response_format"] = {"type": "json_object"}
    if wish.thinking is not None:
        body["reasoning_effort"] = "low" if wish.thinking else "none"
    extra = dict(wish.more)
    if wish.shown:
        # OpenRouter's words: OpenAI's own API has none for it.
        del body["reasoning_effort"]
        extra["reasoning"] = {"effort": "low", "exclude": False}
    if wish.stop:
        body["stop"] = list(wish.stop)
    if wish.max_tokens is not None:
        body["max_completion_tokens"] = wish.max_tokens
    if wish.cache:
        last = body["messages"][0]
        last["content"] = [
            {
                "type": "text",
                "text": last["content"],
                "prompt_cache_breakpoint": {"mode": "explicit"},
            }
        ]
    for name, value in wish.sampling.items():
        if name == "top_k":
            extra[name] = value
        else:
            body[name] = value
    if extra:
        body["extra_body"] = extra
    return body


def _messages(turn: Turn) -> list[Document]:
    match turn:
        case User():
            content: Any = turn.text
            if turn.media:
                text = {"type": "text", "text": turn.text}
                content = [*map(_media, turn.media), text]
            return [{"role": "user", "content": content}]
        case Said():
            return [{"role": "assistant", "content": turn.text}]
        case Instruction():
            return [{"role": "developer", "content": turn.text}]
        case Calls():
            calls = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in turn.calls
            ]
            return [{"role": "assistant", "content": None, "tool_calls": calls}]
        case Results():
            if any(result.is_error for result in turn.results):
                raise NoWords("chat completions have no mark for a tool that failed")
            return [
                {
                    "role": "tool",
                    "tool_call_id": result.call.id,
                    "content": _result(result),
                }
                for result in turn.results
            ]
        case Answered():
            return turn.told.native


def _result(result: Result) -> Any:
    if result.image is None:
        return result.text
    return [{"type": "text", "text": result.text}, _media(result.image)]


def _media(media: Media) -> Document:
    if media.kind == "image":
        url = media.url or f"data:{media.media_type};base64,{media.data}"
        return {"type": "image_url", "image_url": {"url": url}}
    # A URL in its place is the vendors' way; OpenAI's own API has none.
    data = media.url or f"data:{media.media_type};base64,{media.data}"
    return {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}


def _tool(tool: Tool) -> Document:
    function: Document = {"name": tool.name, "description": f"What {tool.name} is"}
    if tool.schema is not None:
        function["parameters"] = tool.schema
    return {"type": "function", "function": function}


def _told(answer: Any) -> Told:
    first = answer.choices[0]
    message = first.message
    native = message.model_dump(exclude_none=True, exclude={"parsed"})
    for call in native.get("tool_calls", ()):
        call.pop("index", None)  # left over from a stream, and OpenAI refuses it
        call["function"].pop("parsed_arguments", None)
    told = Told(
        text=message.content or "",
        thoughts=getattr(message, "reasoning_content", None) or "",
        calls=[
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or ()
        ],
        finish=_FINISHES[first.finish_reason],
        refused=bool(message.refusal) or first.finish_reason == "content_filter",
        native=[native],
        candidates=[choice.message.content for choice in answer.choices],
        logprobs=bool(first.logprobs and first.logprobs.content),
        model=answer.model,
    )
    if answer.usage is not None:
        into, out = answer.usage.prompt_tokens_details, answer.usage.completion_tokens_details
        told.usage = Tokens(
            answer.usage.prompt_tokens,
            answer.usage.completion_tokens,
            cached=into.cached_tokens if into else None,
            written=getattr(into, "cache_write_tokens", None),
            reasoning=out.reasoning_tokens if out else None,
        )
        assert answer.usage.total_tokens == told.usage.prompt + told.usage.output
    return told


class AzureStyle(OpenAIChat):
    """The same by Azure's paths, as its class of the client calls them."""

    name = "azure_style"
