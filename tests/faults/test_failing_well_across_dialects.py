"""GATEWAY.md, "Failing well": a provider fails in mid-conversation, and tools go on elsewhere.

Each conversation is held with the door's official client, which sends back what it was given. Its
first answer is the model's own, the second and third are a fallback's of another dialect, and the
last is the model's again, which so reads what the other one said.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import pytest_asyncio
from google import genai
from google.genai import types
from typing_extensions import override

from model_service.kernel.types import Provider
from model_service.sandbox.faults import Fault
from tests.faults.failing_well import SIXTY, Stage

STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
CITIES = ("Oslo", "Lima")
#: Who answers in mid-conversation, and with which of its models.
OTHERS = {
    Provider.OPENAI: "gpt-5",
    Provider.ANTHROPIC: "claude-haiku-5-5",
    Provider.GOOGLE: "gemini-3.6-flash",
    Provider.OLLAMA: "llama3.2",
}
#: Who serves the model that is asked for, by the door whose dialect it speaks.
OWN = {
    "openai": Provider.OPENAI,
    "responses": Provider.OPENAI,
    "anthropic": Provider.ANTHROPIC,
    "google": Provider.GOOGLE,
}


def says(city: str) -> str:
    return f"weather {json.dumps({'city': city})}"


def result_of(city: str) -> str:
    return f"It rains in {city}."


@pytest_asyncio.fixture(scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """What the official clients send with; making one for each takes longer than the tests."""
    async with httpx2.AsyncClient(timeout=20) as http:
        yield http


class Talk:
    """A conversation by one door; `say` gives the text of an answer, `call` a tool's arguments."""

    def __init__(
        self, http: httpx2.AsyncClient, url: str, token: str, model: str, *, stream: bool
    ) -> None:
        self.url, self.token, self.model, self.stream = url, token, model, stream
        self.http = http
        self.turns: list[Any] = []

    async def call(self, text: str, result: str) -> dict[str, Any]:
        """Ask so that the tool is called, and keep its result for the next turn."""
        raise NotImplementedError

    async def say(self) -> str:
        """Have the results read."""
        raise NotImplementedError


class Chat(Talk):
    """Chat completions."""

    async def _ask(self) -> Any:
        tool: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
        client = openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key=self.token, http_client=self.http, max_retries=0
        )
        if not self.stream:
            whole = await client.chat.completions.create(
                model=self.model, messages=self.turns, tools=[tool]
            )
            message: Any = whole.choices[0].message
        else:
            async with client.chat.completions.stream(
                model=self.model, messages=self.turns, tools=[tool]
            ) as events:
                message = (await events.get_final_completion()).choices[0].message
        turn = message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in turn.get("tool_calls", ()):
            call.pop("index", None)  # the client's own, of the stream
            call["function"].pop("parsed_arguments", None)
        self.turns.append(turn)
        return message

    @override
    async def call(self, text: str, result: str) -> dict[str, Any]:
        self.turns.append({"role": "user", "content": text})
        (call,) = (await self._ask()).tool_calls
        self.turns.append({"role": "tool", "tool_call_id": call.id, "content": result})
        arguments: dict[str, Any] = json.loads(call.function.arguments)
        return arguments

    @override
    async def say(self) -> str:
        return (await self._ask()).content or ""


class Responses(Talk):
    """Responses, without its provider's memory."""

    async def _ask(self) -> Any:
        tool: Any = {
            "type": "function", "name": "weather", "parameters": SCHEMA, "strict": False
        }  # fmt: skip
        more: Any = {"model": self.model, "input": self.turns, "tools": [tool], "store": False}
        client = openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key=self.token, http_client=self.http, max_retries=0
        )
        if not self.stream:
            answer: Any = await client.responses.create(**more)
        else:
            async with client.responses.stream(**more) as events:
                answer = await events.get_final_response()
        self.turns += [
            item.model_dump(exclude_none=True, exclude={"parsed_arguments"})
            for item in answer.output
        ]
        return answer

    @override
    async def call(self, text: str, result: str) -> dict[str, Any]:
        self.turns.append({"role": "user", "content": text})
        (call,) = (item for item in (await self._ask()).output if item.type == "function_call")
        self.turns.append(
            {"type": "function_call_output", "call_id": call.call_id, "output": result}
        )
        arguments: dict[str, Any] = json.loads(call.arguments)
        return arguments

    @override
    async def say(self) -> str:
        return str((await self._ask()).output_text)


class Claude(Talk):
    """Messages, with thinking, whose blocks go back as they came."""

    async def _ask(self) -> Any:
        more: Any = {
            "model": self.model,
            "max_tokens": 4000,
            "messages": self.turns,
            "tools": [{"name": "weather", "input_schema": SCHEMA}],
            "thinking": {"type": "adaptive"},
        }
        client = anthropic.AsyncAnthropic(
            base_url=self.url, api_key=self.token, http_client=self.http, max_retries=0
        )
        if not self.stream:
            message: Any = await client.messages.create(**more)
        else:
            async with client.messages.stream(**more) as events:
                message = await events.get_final_message()
        content = [block.model_dump(exclude_none=True) for block in message.content]
        for block in content:
            block.pop("parsed_output", None)
        self.turns.append({"role": "assistant", "content": content})
        return message

    @override
    async def call(self, text: str, result: str) -> dict[str, Any]:
        self.turns.append({"role": "user", "content": text})
        (call,) = (block for block in (await self._ask()).content if block.type == "tool_use")
        part = {"type": "tool_result", "tool_use_id": call.id, "content": result}
        self.turns.append({"role": "user", "content": [part]})
        arguments: dict[str, Any] = call.input
        return arguments

    @override
    async def say(self) -> str:
        blocks = (await self._ask()).content
        return "".join(block.text for block in blocks if block.type == "text")


class Gemini(Talk):
    """generateContent."""

    async def _ask(self) -> types.Content:
        declaration: Any = {"name": "weather", "parameters_json_schema": SCHEMA}
        config: Any = {
            "tools": [types.Tool(function_declarations=[declaration])],
            "automatic_function_calling": {"disable": True},
        }
        options = types.HttpOptions(base_url=self.url, httpx_async_client=self.http)
        parts: list[types.Part] = []
        client = genai.Client(api_key=self.token, http_options=options)
        if not self.stream:
            whole = await client.aio.models.generate_content(
                model=self.model, contents=self.turns, config=config
            )
            parts = _parts(whole)
        else:
            stream = await client.aio.models.generate_content_stream(
                model=self.model, contents=self.turns, config=config
            )
            async for chunk in stream:
                parts += _parts(chunk)
        content = types.Content(role="model", parts=parts)
        self.turns.append(content)
        return content

    @override
    async def call(self, text: str, result: str) -> dict[str, Any]:
        self.turns.append(types.Content(role="user", parts=[types.Part(text=text)]))
        parts = (await self._ask()).parts or []
        (call,) = (part.function_call for part in parts if part.function_call)
        answer = types.FunctionResponse(name="weather", response={"output": result}, id=call.id)
        self.turns.append(types.Content(role="user", parts=[types.Part(function_response=answer)]))
        return dict(call.args or {})

    @override
    async def say(self) -> str:
        parts = (await self._ask()).parts or []
        return "".join(part.text or "" for part in parts if not part.thought)


def _parts(answer: types.GenerateContentResponse) -> list[types.Part]:
    content = answer.candidates[0].content if answer.candidates else None
    return list((content.parts if content else None) or [])


DOORS: dict[str, type[Talk]] = {
    "openai": Chat,
    "responses": Responses,
    "anthropic": Claude,
    "google": Gemini,
}
PAIRS = [(door, other) for door in DOORS for other in OTHERS if OWN[door] is not other]


@STREAMS
@pytest.mark.parametrize(("door", "other"), PAIRS)
async def test_a_conversation_with_tools_goes_on_at_the_fallback_and_comes_back(
    stage: Stage, http: httpx2.AsyncClient, door: str, other: Provider, stream: bool
) -> None:
    fallback = await stage.model(provider=other, modelId=OTHERS[other])
    # Well as long as its provider is; with a circuit of its own.
    model = await stage.model(Fault.NO_DONE, OWN[door], fallbacks=[fallback])
    own = stage.provider(OWN[door])
    token = await stage.world.token(stage.user)
    talk = DOORS[door](http, stage.world.url, token, model, stream=stream)

    async def by_the_other() -> None:
        """Answered in another dialect, or else the conversation never left its own."""
        assert len(stage.others(other)) == 1
        stage.provider(other).requests.clear()

    assert await talk.call(says(CITIES[0]), result_of(CITIES[0])) == {"city": CITIES[0]}
    own.down = True
    assert result_of(CITIES[0]) in await talk.say()
    await by_the_other()
    assert await talk.call(says(CITIES[1]), result_of(CITIES[1])) == {"city": CITIES[1]}
    await by_the_other()
    own.down = False
    assert result_of(CITIES[1]) in await talk.say()
    assert stage.others(other) == []
    last = own.requests[-1].body.decode()
    assert all(city in last for city in CITIES), "it has the whole conversation"


@pytest.mark.parametrize("other", [Provider.ANTHROPIC, Provider.GOOGLE, Provider.OLLAMA])
async def test_what_a_fallback_of_another_dialect_cannot_express_is_told_in_a_header(
    stage: Stage, other: Provider
) -> None:
    fallback = await stage.model(
        provider=other, modelId=OTHERS[other], settings={"dropUnsupported": True}
    )
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=[fallback])
    answer = await stage.client.post(
        "/v1/chat/completions",
        json={
            "model": model,
            "messages": [{"role": "user", "content": "count to 60"}],
            "logit_bias": {"50256": -100},
        },
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == SIXTY
    assert "logit_bias" in answer.headers["x-model-service-dropped"]
