"""What OpenAI, Azure and the vendors send, after their documents and recorded answers.

The facts (names, order, what is null, what is missing) are the providers'; the words are made up.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import orjson

from model_service.kernel.types import Provider
from model_service.providers.chat import ChatEvent
from model_service.providers.dialects.openai_chat.reader import ChatReader
from model_service.providers.faults import CallFailed, Fault
from model_service.providers.translation import Notes, Target

Json = Any

DONE = b"data: [DONE]\n\n"


def sse(*documents: Json, done: bool = True) -> bytes:
    """A stream of these events."""
    events = b"".join(b"data: " + orjson.dumps(document) + b"\n\n" for document in documents)
    return events + DONE if done else events


def events_in(stream: bytes) -> list[Json]:
    """What is in a stream that was written, but for its closing mark."""
    blocks = [block for block in stream.split(b"\n\n") if block and block != b"data: [DONE]"]
    assert all(block.startswith(b"data: ") for block in blocks)
    return [orjson.loads(block[6:]) for block in blocks]


def cut_up(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The same bytes in pieces."""
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def read(*pieces: bytes) -> tuple[list[ChatEvent], CallFailed | None]:
    """What a reader makes of a stream."""
    reader = ChatReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.end()
    assert reader.complete is (reader.failure is None)
    return events, reader.failure


def read_whole(*pieces: bytes) -> list[ChatEvent]:
    """The events of a stream that is sound."""
    events, failure = read(*pieces)
    assert failure is None
    return events


def failed(*pieces: bytes) -> Fault:
    """What is wrong with a stream."""
    _, failure = read(*pieces)
    assert failure is not None
    return failure.fault


def target(provider: Provider = Provider.OPENAI, **more: Any) -> Target:
    """A registered model."""
    given: dict[str, Any] = {
        "name": "my-model",
        "provider": provider,
        "upstream_model": "gpt-6-astra-2026-08-01",
        "max_tokens": 4096,
    }
    return Target(**(given | more))


def notes(*, lenient: bool = False) -> Notes:
    return Notes({}, lenient=lenient)


def chunk(
    delta: Json = None,
    *,
    finish: str | None = None,
    index: int = 0,
    logprobs: Json = None,
    **more: Any,
) -> Json:
    """One of OpenAI's chunks."""
    choice = {
        "index": index,
        "delta": {} if delta is None else delta,
        "logprobs": logprobs,
        "finish_reason": finish,
    }
    return {**CHUNK, "choices": [choice], **more}


CHUNK: Json = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "gpt-6-astra-2026-08-01",
    "service_tier": "default",
    "system_fingerprint": "fp_44709d6fcb",
}

USAGE: Json = {
    "prompt_tokens": 120,
    "completion_tokens": 60,
    "total_tokens": 180,
    "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 16, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 40,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def usage_chunk(usage: Json = None, **more: Any) -> Json:
    """The last one, which has no choices."""
    return {**CHUNK, "choices": [], "usage": USAGE if usage is None else usage, **more}


#: A text, as it is streamed when the usage was asked for.
TEXT_STREAM = sse(
    chunk({"role": "assistant", "content": "", "refusal": None}, usage=None, obfuscation="q7Hz"),
    chunk({"content": "Hello"}, usage=None, obfuscation="s"),
    chunk({"content": ', "you"\n'}, usage=None, obfuscation=""),
    chunk({"content": "there"}, usage=None),
    chunk(finish="stop", usage=None),
    usage_chunk(),
)

#: The same, whole.
TEXT_ANSWER: Json = {
    "id": CHUNK["id"],
    "object": "chat.completion",
    "created": CHUNK["created"],
    "model": CHUNK["model"],
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": 'Hello, "you"\nthere',
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
    "service_tier": "default",
    "system_fingerprint": "fp_44709d6fcb",
}


def call_delta(index: int, arguments: str, call_id: str = "", name: str = "") -> Json:
    """A piece of a call, as OpenAI sends it."""
    if not call_id:
        return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}
    function = {"name": name, "arguments": arguments}
    return {
        "tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]
    }


#: Two calls at once.
CALLS_STREAM = sse(
    chunk({"role": "assistant", "content": None, "refusal": None}),
    chunk(call_delta(0, "", "call_DdmO9pD3xa9XTPNJ32zg2hcA", "get_weather")),
    chunk(call_delta(0, '{"ci')),
    chunk(call_delta(0, 'ty": "Ulm"}')),
    chunk(call_delta(1, "", "call_ABCx9pD3xa9XTPNJ32zg2hcB", "get_time")),
    chunk(call_delta(1, '{"zone": "CET"}')),
    chunk(finish="tool_calls"),
    usage_chunk(),
)

CALLS_ANSWER: Json = {
    **TEXT_ANSWER,
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "tool_calls": [
                    {
                        "id": "call_DdmO9pD3xa9XTPNJ32zg2hcA",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "Ulm"}'},
                    },
                    {
                        "id": "call_ABCx9pD3xa9XTPNJ32zg2hcB",
                        "type": "function",
                        "function": {"name": "get_time", "arguments": '{"zone": "CET"}'},
                    },
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
}

_SAFE: Json = {
    "hate": {"filtered": False, "severity": "safe"},
    "violence": {"filtered": False, "severity": "safe"},
}

#: Azure: the first chunk tells of the prompt's filters, and the last ones of the answer's.
AZURE_STREAM = sse(
    {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
    },
    chunk({"role": "assistant", "content": "", "refusal": None}),
    chunk({"content": "Hi"}),
    {
        **CHUNK,
        "choices": [
            {
                "index": 0,
                "finish_reason": None,
                "content_filter_results": _SAFE,
                "content_filter_offsets": {"check_offset": 44, "start_offset": 44},
            }
        ],
    },
    chunk(finish="stop"),
    usage_chunk(),
)

#: DeepSeek: thoughts in a field of their own, comments to keep the connection.
DEEPSEEK_STREAM = (
    b": keep-alive\n\n"
    + sse(
        chunk({"role": "assistant", "content": None, "reasoning_content": "Two "}),
        chunk({"content": None, "reasoning_content": "plus two."}),
        done=False,
    )
    + b": keep-alive\n\n"
    + sse(
        chunk({"content": "Four", "reasoning_content": None}),
        chunk(
            {"content": "", "reasoning_content": None},
            finish="stop",
            usage={
                "prompt_tokens": 30,
                "completion_tokens": 12,
                "total_tokens": 42,
                "prompt_cache_hit_tokens": 10,
                "prompt_cache_miss_tokens": 20,
                "completion_tokens_details": {"reasoning_tokens": 8},
            },
        ),
    )
)


def openrouter(delta: Json, *, finish: str | None = None, **more: Any) -> Json:
    """One of OpenRouter's chunks."""
    made = chunk(delta, finish=finish, **more)
    made["choices"][0]["native_finish_reason"] = finish
    return {**made, "id": "gen-1795000000-kKgOdaMcUNYTUE8lwZD8", "provider": "Anthropic"}


def _thought(text: str | None = None, signature: str | None = None) -> Json:
    entry: Json = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
    if text is not None:
        entry["text"] = text
    if signature is not None:
        entry["signature"] = signature
    return {"content": "", "reasoning": text, "reasoning_details": [entry]}


#: OpenRouter: a signed thought, of which the last piece is the signature alone.
OPENROUTER_STREAM = b": OPENROUTER PROCESSING\n\n" + sse(
    openrouter({"role": "assistant", **_thought("Let me ")}),
    openrouter(_thought("see.")),
    openrouter(_thought(signature="EqQBCgIYAhIM")),
    openrouter({"content": "Four", "reasoning": None, "reasoning_details": []}),
    openrouter({"content": ""}, finish="stop"),
    openrouter({"role": "assistant", "content": ""}, usage=USAGE),
)
