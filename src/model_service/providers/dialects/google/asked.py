"""What a caller of Google's door asks for beside the conversation: tools, sampling, thinking."""

from typing import Final

from model_service.providers.chat import (
    ChatRequest,
    Choice,
    Effort,
    OutputFormat,
    ReasoningRequest,
    Tool,
    ToolChoice,
)
from model_service.providers.dialects.google.schemas import read_schema
from model_service.providers.dialects.google.wire import many, sub, word
from model_service.providers.dialects.google.words import TIERS
from model_service.providers.faults import invalid, unsupported
from model_service.providers.fields import Fields

_EFFORTS: Final = {
    "MINIMAL": Effort.MINIMAL,
    "LOW": Effort.LOW,
    "MEDIUM": Effort.MEDIUM,
    "HIGH": Effort.HIGH,
    "XHIGH": Effort.XHIGH,
}

# https://ai.google.dev/gemini-api/docs/tools: Google runs these itself.
_BUILT_IN: Final = (
    "googleSearch",
    "googleSearchRetrieval",
    "googleMaps",
    "codeExecution",
    "urlContext",
    "fileSearch",
    "computerUse",
    "mcpServers",
)
# These ask for no filter at all, as it is where nobody has Google's.
_NO_FILTER: Final = frozenset(("BLOCK_NONE", "OFF"))
_DYNAMIC: Final = -1


def read_config(config: Fields, request: ChatRequest) -> None:
    """A `generationConfig`, into the request. Raises CallFailed."""
    request.max_tokens = config.integer("maxOutputTokens", 1)
    request.temperature = config.number("temperature", 0, 2)
    request.top_p = config.number("topP", 0, 1)
    request.top_k = config.integer("topK", 0)
    request.stop = config.texts("stopSequences")
    request.n = config.integer("candidateCount", 1, 8)
    request.seed = config.integer("seed", -(2**31), 2**31 - 1)
    request.presence_penalty = config.number("presencePenalty", -2, 2)
    request.frequency_penalty = config.number("frequencyPenalty", -2, 2)
    request.logprobs = config.flag("responseLogprobs")
    request.top_logprobs = config.integer("logprobs", 0, 20)
    request.output = _output(config)
    thinking = sub(config, "thinkingConfig")
    if thinking is not None:
        request.reasoning = _reasoning(thinking)
    modalities = config.texts("responseModalities")
    if any(modality.upper() not in ("TEXT", "MODALITY_UNSPECIFIED") for modality in modalities):
        raise unsupported(config.name("responseModalities"), "only text is translated")
    for name in ("speechConfig", "imageConfig", "audioTranscriptionConfig"):
        config.refuse(name, "only text is translated")
    if config.flag("enableEnhancedCivicAnswers"):
        raise unsupported(config.name("enableEnhancedCivicAnswers"), "is Google's alone")
    config.finish()


def _output(config: Fields) -> OutputFormat | None:
    media_type = config.text("responseMimeType")
    schema, json_schema = config.raw("responseSchema"), config.document("responseJsonSchema")
    if json_schema is None:
        json_schema = config.document("_responseJsonSchema")
    if schema is not None and json_schema is not None:
        raise invalid(config.name("responseSchema"), "stands beside responseJsonSchema")
    if media_type in (None, "text/plain"):
        if schema is not None or json_schema is not None:
            raise invalid(config.name("responseMimeType"), "must be application/json")
        return None
    if media_type != "application/json":
        raise unsupported(
            config.name("responseMimeType"), "only JSON and plain text are translated"
        )
    if schema is not None:
        json_schema = read_schema(schema, config.name("responseSchema"))
    return OutputFormat(json_schema)


def _reasoning(thinking: Fields) -> ReasoningRequest | None:
    level = word(thinking, "thinkingLevel")
    budget = thinking.integer("thinkingBudget", _DYNAMIC)
    visible = thinking.flag("includeThoughts")
    thinking.finish()
    if level is not None:
        if budget is not None:
            raise invalid(thinking.name("thinkingBudget"), "stands beside thinkingLevel")
        if level not in _EFFORTS:
            raise invalid(thinking.name("thinkingLevel"), "is none of the levels")
        return ReasoningRequest(effort=_EFFORTS[level], visible=visible)
    if budget == 0:
        return ReasoningRequest(effort=Effort.NONE, visible=visible)
    if budget == _DYNAMIC:
        return ReasoningRequest(adaptive=True, visible=visible)
    if budget is None and visible is None:
        return None
    return ReasoningRequest(budget=budget, visible=visible)


def read_tools(body: Fields) -> list[Tool]:
    """The functions. Raises CallFailed for built-in tools, naming them."""
    tools = []
    for entry in many(body, "tools"):
        for name in _BUILT_IN:
            entry.refuse(name, "a built-in tool of Google's has no equivalent elsewhere")
        tools += [_tool(declaration) for declaration in many(entry, "functionDeclarations")]
        entry.finish()
    return tools


def _tool(declaration: Fields) -> Tool:
    name = declaration.required_text("name")
    schema, json_schema = (
        declaration.raw("parameters"),
        declaration.document("parametersJsonSchema"),
    )
    if schema is not None and json_schema is not None:
        raise invalid(declaration.name("parameters"), "stands beside parametersJsonSchema")
    if schema is not None:
        json_schema = read_schema(schema, declaration.name("parameters"))
    if word(declaration, "behavior") not in (None, "BLOCKING"):
        raise unsupported(declaration.name("behavior"), "calls always wait for their result here")
    tool = Tool(name, declaration.text("description"), json_schema)
    declaration.finish()
    return tool


def read_tool_choice(config: Fields) -> ToolChoice | None:
    """A `toolConfig`. Raises CallFailed."""
    config.refuse("retrievalConfig", "is for built-in tools, which are Google's alone")
    if config.flag("includeServerSideToolInvocations"):
        raise unsupported(
            config.name("includeServerSideToolInvocations"), "built-in tools are Google's alone"
        )
    calling = sub(config, "functionCallingConfig")
    config.finish()
    if calling is None:
        return None
    mode = word(calling, "mode")
    allowed = calling.texts("allowedFunctionNames") or None
    if calling.flag("streamFunctionCallArguments"):
        raise unsupported(calling.name("streamFunctionCallArguments"), "calls come whole here")
    calling.finish()
    match mode:
        case None:
            return None
        # VALIDATED may call or not, as AUTO may; that arguments fit is what all providers try.
        case "AUTO" | "VALIDATED":
            return ToolChoice(Choice.AUTO, allowed=allowed)
        case "NONE":
            return ToolChoice(Choice.NONE)
        case "ANY":
            if allowed is not None and len(allowed) == 1:
                return ToolChoice(Choice.NAMED, allowed[0])
            return ToolChoice(Choice.REQUIRED, allowed=allowed)
        case _:
            raise invalid(calling.name("mode"), "must be AUTO, ANY, NONE or VALIDATED")


def read_safety(body: Fields) -> None:
    """Pass over settings that ask for no filter, and refuse those that ask for one.

    Who asks for a filter relies on it, and nobody but Google has Google's.
    """
    for setting in many(body, "safetySettings"):
        setting.ignore("category", "method")
        threshold = word(setting, "threshold")
        setting.finish()
        if threshold is not None and threshold not in _NO_FILTER:
            raise unsupported(
                setting.name("threshold"), "this model's provider has no such filter to set"
            )


def read_tier(body: Fields) -> str | None:
    """The `serviceTier`, in OpenAI's words. Raises CallFailed."""
    tier = word(body, "serviceTier")
    if tier is None:
        return None
    known = TIERS.get(tier.removeprefix("SERVICE_TIER_").lower())
    if known is None:
        raise invalid(body.name("serviceTier"), "must be standard, flex or priority")
    return known
