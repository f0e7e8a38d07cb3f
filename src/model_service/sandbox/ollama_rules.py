"""What Ollama refuses in a chat.

After the source of its server, version 0.40 (https://github.com/ollama/ollama, `server` and
`api`). It is written in Go: fields that it does not know are passed over in silence, and one
of the wrong type is refused in the words of Go's JSON reader.
"""

import base64
import json
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from model_service.sandbox.ollama_models import OllamaModel

_LEVELS: Final = ("high", "medium", "low", "max")
_THINK_VALUES: Final = '"high", "medium", "low", "max", true, or false'
# The types of options, as far as they are looked at.
_INTEGERS: Final = ("num_ctx", "num_predict", "seed", "top_k", "num_batch", "num_keep")
_FLOATS: Final = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def refuse(message: str, status: int = 400) -> NoReturn:
    """Refuse a request."""
    raise Refused(status, message)


def check_shape(body: object) -> Mapping[str, object]:
    """The body of a chat, when all that is looked at is of the right type. Raises Refused."""
    fields = _typed(body, "api.ChatRequest", _CHAT)
    _check_think(fields.get("think"))
    for message in items(fields, "messages"):
        shaped = _typed(message, "Alias", _MESSAGE)
        for image in items(shaped, "images"):
            _check_image(image)
        for call in items(shaped, "tool_calls"):
            function = _typed(call, "ToolCall", {"function": _OBJECT}).get("function", {})
            _typed(function, "ToolCallFunction.function", _FUNCTION_CALL)
    for tool in items(fields, "tools"):
        function = _typed(tool, "Tool.tools", {"function": _OBJECT}).get("function", {})
        _typed(function, "ToolFunction.function", {"name": _STRING, "parameters": _OBJECT})
    _check_options(mapping(fields.get("options")))
    top = fields.get("top_logprobs", 0)
    if isinstance(top, int) and not 0 <= top <= 20:
        refuse("top_logprobs must be between 0 and 20")
    return fields


def check(fields: Mapping[str, object], model: OllamaModel, asked_name: str) -> None:
    """Raise Refused when this model cannot do what is asked."""
    can = model.capabilities
    if "thinking" not in can and fields.get("think"):
        refuse(f'"{asked_name}" does not support thinking')
    if "completion" not in can:
        refuse(f'"{asked_name}" does not support chat')
    if items(fields, "tools") and "tools" not in can:
        refuse(f"registry.ollama.ai/library/{model.name} does not support tools")
    shown = fields.get("format")
    if shown not in (None, "", "json") and not isinstance(shown, Mapping):
        quoted = json.dumps(json.dumps(shown))
        refuse(f'invalid format: {quoted}; expected "json" or a valid JSON Schema object', 500)
    images = any(items(mapping(message), "images") for message in items(fields, "messages"))
    if images and "vision" not in can:
        refuse(
            "image input is not supported - hint: if this is unexpected, you may need to provide "
            "the mmproj",
            500,
        )


def items(fields: Mapping[str, object], name: str) -> Sequence[object]:
    """A list in an object, or an empty one."""
    value = fields.get(name)
    return value if isinstance(value, list) else []


def mapping(value: object) -> Mapping[str, object]:
    """An object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def _check_think(think: object) -> None:
    if isinstance(think, str) and think not in _LEVELS:
        refuse(f"invalid think value: {json.dumps(think)} (must be {_THINK_VALUES})")
    if think is not None and not isinstance(think, bool | str):
        refuse(f"think must be a boolean or string ({_THINK_VALUES})")


def _check_image(image: object) -> None:
    """Go takes base64 of the standard alphabet, with its padding and line breaks anywhere."""
    if not isinstance(image, str):
        refuse(
            f"json: cannot unmarshal {_go_kind(image)} into Go struct field Alias.images of type "
            "api.ImageData"
        )
    plain = image.replace("\r", "").replace("\n", "")
    alphabet = set(string.ascii_letters + string.digits + "+/=")
    wrong = next((at for at, sign in enumerate(plain) if sign not in alphabet), None)
    try:
        base64.b64decode(plain, validate=True)
    except ValueError:
        refuse(f"illegal base64 data at input byte {len(plain) if wrong is None else wrong}")


def _check_options(options: Mapping[str, object]) -> None:
    for name, value in options.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is None:
            continue
        if name in _INTEGERS and not number:
            refuse(f'option "{name}" must be of type integer', 500)
        if name in _FLOATS and not number:
            refuse(f'option "{name}" must be of type float32', 500)
        if name == "stop" and not isinstance(value, list):
            refuse(f'option "{name}" must be of type array', 500)


_Check = tuple[Callable[[object], bool], str]
_STRING: Final[_Check] = (lambda value: isinstance(value, str), "string")
_BOOL: Final[_Check] = (lambda value: isinstance(value, bool), "bool")
_INT: Final[_Check] = (
    lambda value: isinstance(value, int) and not isinstance(value, bool),
    "int",
)
_OBJECT: Final[_Check] = (lambda value: isinstance(value, Mapping), "map[string]interface {}")
_ARRAY: Final[_Check] = (lambda value: isinstance(value, list), "[]interface {}")
_CHAT: Final = {
    "model": _STRING,
    "messages": (_ARRAY[0], "[]api.Message"),
    "stream": _BOOL,
    "tools": (_ARRAY[0], "api.Tools"),
    "options": _OBJECT,
    "logprobs": _BOOL,
    "top_logprobs": _INT,
}
_MESSAGE: Final = {
    "role": _STRING,
    "content": _STRING,
    "thinking": _STRING,
    "images": (_ARRAY[0], "[]api.ImageData"),
    "tool_calls": (_ARRAY[0], "[]api.ToolCall"),
    "tool_name": _STRING,
    "tool_call_id": _STRING,
}
_FUNCTION_CALL: Final = {
    "name": _STRING,
    "arguments": (_OBJECT[0], "api.ToolCallFunctionArguments"),
}


def _typed(value: object, struct: str, checks: Mapping[str, _Check]) -> Mapping[str, object]:
    """The fields of an object without nulls, of which the named ones are of their types."""
    if not isinstance(value, Mapping):
        refuse(f"json: cannot unmarshal {_go_kind(value)} into Go value of type {struct}")
    fields = {name: item for name, item in value.items() if item is not None}
    for name, (fits, kind) in checks.items():
        if name in fields and not fits(fields[name]):
            place = f"{struct.removeprefix('api.')}.{name}"
            refuse(
                f"json: cannot unmarshal {_go_kind(fields[name])} into Go struct field {place} of "
                f"type {kind}"
            )
    return fields


def _go_kind(value: object) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"
