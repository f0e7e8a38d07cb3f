"""What the Gemini API refuses in a request that it could read, in its own words.

After https://ai.google.dev/api/generate-content and the errors of the live API in autumn 2026.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from model_service.sandbox.google_errors import Refused, refuse
from model_service.sandbox.google_models import GoogleModel
from model_service.sandbox.google_schemas import check_schema
from model_service.sandbox.google_signatures import Content, check_signatures, parts_of

_DATA: Final = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
_ROLES: Final = frozenset({"", "user", "model", "function"})
_FUNCTION_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_MIME_TYPES: Final = (
    "text/plain",
    "application/json",
    "application/xml",
    "application/yaml",
    "text/x.enum",
)
_MEDIA: Final = ("image/", "audio/", "video/", "text/", "application/pdf", "application/json")
_MOST_STOPS: Final = 5

# Sampling and its ranges.
_RANGES: Final = {"temperature": (0.0, 2.0), "topP": (0.0, 1.0)}


def section(value: Mapping[str, object], *names: str) -> Mapping[str, object]:
    """An object within objects, or an empty one."""
    for name in names:
        inner = value.get(name)
        value = inner if isinstance(inner, Mapping) else {}
    return value


def items(value: Mapping[str, object], name: str) -> Sequence[Mapping[str, object]]:
    """A list of objects in a message that was read."""
    found = value.get(name)
    return found if isinstance(found, list) else []


def check(request: Mapping[str, object], model: GoogleModel) -> None:
    """Raise Refused when this model does not answer such a request."""
    contents = items(request, "contents")
    check_contents(contents)
    _check_tools(request)
    _check_config(section(request, "generationConfig"), model)
    _check_thinking(section(request, "generationConfig", "thinkingConfig"), model)
    _check_turns(contents)
    if contents[-1].get("role") == "model" and not model.prefill:
        raise Refused("Requests ending with a model turn are not supported.")
    if model.signs:
        check_signatures(contents)


def check_contents(contents: Sequence[Content]) -> None:
    """Raise Refused for contents that are empty, or of no role or kind there is."""
    if not contents:
        refuse("contents", "contents is not specified")
    for index, content in enumerate(contents):
        if content.get("role", "") not in _ROLES:
            raise Refused("Please use a valid role: user, model.")
        parts = parts_of(content)
        if not parts:
            refuse(f"contents[{index}].parts", "contents.parts must not be empty.")
        for place, part in enumerate(parts):
            _check_part(part, f"contents[{index}].parts[{place}]")


def _check_part(part: Mapping[str, object], where: str) -> None:
    kinds = [name for name in _DATA if name in part]
    if not kinds:
        refuse(f"{where}.data", "required oneof field 'data' must have one initialized field")
    if len(kinds) > 1:
        raise Refused(
            f"Invalid value at '{where}' (oneof), oneof field 'data' is already set. "
            f"Cannot set '{kinds[1]}'"
        )
    media = section(part, kinds[0])
    if kinds[0] == "inlineData":
        if not media.get("mimeType"):
            refuse(f"{where}.inline_data.mime_type", "mime_type must not be empty")
        if not str(media["mimeType"]).startswith(_MEDIA):
            raise Refused(f"Unsupported MIME type: {media['mimeType']}")
        if not media.get("data"):
            refuse(f"{where}.inline_data.data", "data must not be empty")
    if kinds[0] == "fileData" and not media.get("fileUri"):
        refuse(f"{where}.file_data.file_uri", "file_uri must not be empty")
    if kinds[0] in {"functionCall", "functionResponse"} and not media.get("name"):
        kind = "function_call" if kinds[0] == "functionCall" else "function_response"
        refuse(f"{where}.{kind}.name", "Name cannot be empty.")


def _check_turns(contents: Sequence[Content]) -> None:
    """Calls follow the user, and are answered at once, each of them."""
    called: Sequence[Mapping[str, object]] = ()
    before = "user"
    for index, content in enumerate(contents):
        calls = _inner(content, "functionCall")
        responses = _inner(content, "functionResponse")
        if responses and not called:
            raise Refused(
                "Please ensure that function response turn comes immediately after a function "
                "call turn."
            )
        if called:
            _check_responses(called, responses)
        if calls and (before == "model" or index == 0):
            raise Refused(
                "Please ensure that function call turn comes immediately after a user turn or "
                "after a function response turn."
            )
        called = calls
        before = str(content.get("role", "user"))
    if called:
        _check_responses(called, ())


def _check_responses(
    calls: Sequence[Mapping[str, object]], responses: Sequence[Mapping[str, object]]
) -> None:
    if len(calls) != len(responses):
        raise Refused(
            "Please ensure that the number of function response parts is equal to the number of "
            "function call parts of the function call turn."
        )
    if sorted(str(call["name"]) for call in calls) != sorted(
        str(response["name"]) for response in responses
    ):
        raise Refused(
            "Please ensure that the name of each function response part is that of a function "
            "call part of the function call turn."
        )
    ids = {str(call["id"]) for call in calls if call.get("id")}
    if any(str(given["id"]) not in ids for given in responses if ids and given.get("id")):
        raise Refused("Function response id does not match any pending function call.")


def _inner(content: Content, name: str) -> Sequence[Mapping[str, object]]:
    return [section(part, name) for part in parts_of(content) if name in part]


def _check_tools(request: Mapping[str, object]) -> None:
    names: list[str] = []
    for index, tool in enumerate(items(request, "tools")):
        if not tool:
            refuse(
                f"tools[{index}].tool_type",
                "required one_of 'tool_type' must have one initialized field",
            )
        for place, function in enumerate(items(tool, "functionDeclarations")):
            where = f"tools[{index}].function_declarations[{place}]"
            name = str(function.get("name", ""))
            _check_function(function, name, where)
            if name in names:
                raise Refused(f"Duplicate function declaration found: {name}")
            names.append(name)
    config = section(request, "toolConfig", "functionCallingConfig")
    mode = config.get("mode", "AUTO")
    allowed = config.get("allowedFunctionNames")
    if mode in {"ANY", "VALIDATED"} and not names:
        raise Refused("Function calling config is set without function_declarations.")
    if allowed and mode not in {"ANY", "VALIDATED"}:
        raise Refused(
            "allowed_function_names should only be set when the function calling mode is ANY or "
            "VALIDATED."
        )
    for name in allowed if isinstance(allowed, list) else ():
        if name not in names:
            raise Refused(f"allowed_function_names has an undeclared function: {name}")


def _check_function(function: Mapping[str, object], name: str, where: str) -> None:
    if not _FUNCTION_NAME.fullmatch(name):
        refuse(
            f"{where}.name",
            f"[{name}] Invalid function name. Must start with a letter or an underscore. Must be "
            "alphameric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:) or dashes (-), "
            "with a maximum length of 128.",
        )
    if "parameters" in function and "parametersJsonSchema" in function:
        refuse(where, "only one of parameters and parameters_json_schema may be set")
    if "parameters" in function:
        check_schema(section(function, "parameters"), f"{where}.parameters")


def _check_config(config: Mapping[str, object], model: GoogleModel) -> None:
    where = "generation_config"
    for name, (least, most) in _RANGES.items():
        value = config.get(name)
        if isinstance(value, float) and not least <= value <= most:
            field = "top_p" if name == "topP" else name
            refuse(f"{where}.{field}", f"{field} must be in the range [{least}, {most}].")
    _check_positive(config, "topK", "top_k")
    _check_positive(config, "maxOutputTokens", "max_output_tokens")
    wanted = config.get("maxOutputTokens", 1)
    if isinstance(wanted, int) and wanted > model.output_token_limit:
        raise Refused(
            f"Unable to submit request because it has a maxOutputTokens value of {wanted} but the "
            f"supported range is from 1 (inclusive) to {model.output_token_limit + 1} (exclusive). "
            "Update the value and try again."
        )
    candidates = config.get("candidateCount", 1)
    if isinstance(candidates, int) and not 1 <= candidates <= 8:
        refuse(f"{where}.candidate_count", "candidate_count must be in the range [1, 8].")
    if candidates != 1 and not model.candidates:
        raise Refused("Multiple candidates is not enabled for this model")
    if config.get("presencePenalty") or config.get("frequencyPenalty"):
        raise Refused("Penalty is not enabled for this model")
    if config.get("responseLogprobs"):
        raise Refused("Logprobs is not enabled for this model")
    stops = config.get("stopSequences")
    if isinstance(stops, list) and len(stops) > _MOST_STOPS:
        refuse(f"{where}.stop_sequences", f"at most {_MOST_STOPS} stop sequences are supported.")
    modalities = config.get("responseModalities")
    if isinstance(modalities, list) and any(modality != "TEXT" for modality in modalities):
        raise Refused("Model does not support the requested response modalities: text only")
    _check_response_format(config, where)


def _check_positive(config: Mapping[str, object], name: str, field: str) -> None:
    value = config.get(name, 1)
    if isinstance(value, int) and value < 1:
        refuse(f"generation_config.{field}", f"{field} must be positive.")


def _check_response_format(config: Mapping[str, object], where: str) -> None:
    mime_type = config.get("responseMimeType", "text/plain")
    if mime_type not in _MIME_TYPES:
        named = "`, `".join(_MIME_TYPES[:-1])
        refuse(
            f"{where}.response_mime_type",
            f"allowed mimetypes are `{named}` and `{_MIME_TYPES[-1]}`.",
        )
    schemas = [name for name in ("responseSchema", "responseJsonSchema") if name in config]
    if len(schemas) > 1:
        refuse(where, "only one of response_schema and response_json_schema may be set")
    if schemas and mime_type not in {"application/json", "text/x.enum"}:
        refuse(
            f"{where}.response_mime_type",
            "a response schema needs the mimetype `application/json` or `text/x.enum`.",
        )
    if "responseSchema" in config:
        check_schema(section(config, "responseSchema"), f"{where}.response_schema")


def _check_thinking(config: Mapping[str, object], model: GoogleModel) -> None:
    if not config:
        return
    if not model.thinking:
        raise Refused("Thinking is not enabled for this model")
    level, budget = config.get("thinkingLevel"), config.get("thinkingBudget")
    if level is not None and budget is not None:
        raise Refused("You can only set only one of thinking budget and thinking level.")
    if level is not None and level not in model.levels | {"THINKING_LEVEL_UNSPECIFIED"}:
        raise Refused(
            f"Thinking level {level} is not supported for this model. Please retry with other "
            "thinking level."
        )
    if budget == 0 and not model.may_not_think:
        raise Refused("Budget 0 is invalid. This model only works in thinking mode.")
    if isinstance(budget, int) and not -1 <= budget <= model.output_token_limit:
        raise Refused(
            f"The thinking budget {budget} is invalid. Please choose a value between 128 and "
            f"{model.output_token_limit}."
        )
