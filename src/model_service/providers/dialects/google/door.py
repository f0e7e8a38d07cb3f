"""Google's door: `generateContent` and `streamGenerateContent`, as callers know them.

Source: https://ai.google.dev/api/generate-content. What is refused because no other provider
has it: built-in tools, cached contents, filters, code execution, video, output that is not text.
"""

from collections.abc import Mapping
from typing import Final

from model_service.providers.chat import ChatAnswer, ChatRequest
from model_service.providers.dialects.google.answers import answer_document
from model_service.providers.dialects.google.asked import (
    read_config,
    read_safety,
    read_tier,
    read_tool_choice,
    read_tools,
)
from model_service.providers.dialects.google.contents import read_contents, read_system
from model_service.providers.dialects.google.media import read_resolution
from model_service.providers.dialects.google.wire import message, sub
from model_service.providers.dialects.google.words import NAME
from model_service.providers.dialects.google.writer import GoogleWriter
from model_service.providers.faults import invalid, unsupported
from model_service.providers.translation import Document

_SPELLING: Final = {
    "messages": "contents",
    "messages.detail": "contents.mediaResolution",
    "messages.filename": "contents.displayName",
    "messages.reasoning": "contents.thought",
    "reasoning.visible": "generationConfig.thinkingConfig.includeThoughts",
    "system": "systemInstruction",
    "max_tokens": "generationConfig.maxOutputTokens",
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "stop": "generationConfig.stopSequences",
    "n": "generationConfig.candidateCount",
    "seed": "generationConfig.seed",
    "presence_penalty": "generationConfig.presencePenalty",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "logprobs": "generationConfig.responseLogprobs",
    "top_logprobs": "generationConfig.logprobs",
    "output": "generationConfig.responseSchema",
    "reasoning": "generationConfig.thinkingConfig",
    "tool_choice": "toolConfig.functionCallingConfig",
    "metadata": "labels",
    "service_tier": "serviceTier",
}


class GoogleDoor:
    """The caller's side. Streams are server-sent events; see `array` for callers without."""

    name = NAME
    spelling: Mapping[str, str] = _SPELLING

    def read(self, body: Document, model: str, *, stream: bool) -> ChatRequest:
        """The request in the intermediate form; also the one that `countTokens` may wrap."""
        fields = message(body)
        wrapped = sub(fields, "generateContentRequest")
        if wrapped is not None:
            if "contents" in fields:
                raise invalid("contents", "stands beside generateContentRequest")
            fields.ignore("model")
            fields.finish()
            fields = wrapped
        fields.ignore("model")  # the path has said it
        request = ChatRequest(model, [], stream=stream)
        detail = None
        config = sub(fields, "generationConfig")
        if config is not None:
            detail = read_resolution(config)
            read_config(config, request)
        instruction = sub(fields, "systemInstruction")
        if instruction is not None:
            request.system = read_system(instruction)
        request.messages = read_contents(fields, detail)
        request.tools = read_tools(fields)
        choice = sub(fields, "toolConfig")
        if choice is not None:
            request.tool_choice = read_tool_choice(choice)
        read_safety(fields)
        request.service_tier = read_tier(fields)
        request.metadata = fields.document("labels") or None
        fields.refuse("cachedContent", "a cached content is Google's alone")
        fields.refuse("continuationToken", "only the model that gave the token can go on")
        if fields.flag("store"):
            raise unsupported("store", "this model's provider keeps no log for Google")
        fields.finish()
        return request

    def answer(self, answer: ChatAnswer, model: str) -> Document:
        """A whole answer."""
        return answer_document(answer, model)

    def writer(self, request: ChatRequest, model: str) -> GoogleWriter:  # noqa: ARG002 - all alike
        """What writes a stream of server-sent events."""
        return GoogleWriter(model)
