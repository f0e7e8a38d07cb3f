"""The messages of a chat completion, read into turns.

Source: https://developers.openai.com/api/reference/resources/chat
"""

from model_service.providers import signatures
from model_service.providers.chat import (
    Document,
    Media,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from model_service.providers.dialects.openai_chat.content import (
    IN_ASSISTANT,
    IN_SYSTEM,
    IN_TOOL,
    IN_USER,
    read_cache,
    read_content,
)
from model_service.providers.dialects.openai_chat.thoughts import read_thoughts, with_thoughts
from model_service.providers.faults import invalid, unsupported
from model_service.providers.fields import Fields

#: Whose call signatures are shown bare: the place that they stand in is Google's.
CALL_SIGNATURES = "google"


class Turns:
    """Takes messages one by one: `system` has the leading instructions, `messages` the rest."""

    def __init__(self) -> None:
        self.system: list[Text] = []
        self.messages: list[Message] = []
        # The old functions have no ids. They get some that are the same whenever the same history
        # is sent, so that prompts stay in caches.
        self._functions = 0
        self._called: dict[str, list[str]] = {}

    def add(self, fields: Fields) -> None:
        """Read one message. Raises CallFailed."""
        role = fields.required_text("role")
        match role:
            case "system" | "developer":
                self._system(fields)
            case "user":
                if "content" not in fields:
                    raise invalid(fields.name("content"), "is required")
                parts = read_content(fields, IN_USER)
                name = fields.text("name")
                self.messages.append(Message(Role.USER, parts or [Text("")], name))
            case "assistant":
                self._assistant(fields)
            case "tool":
                self._result(fields, fields.required_text("tool_call_id"), fields.text("name"))
            case "function":
                name = fields.required_text("name")
                waiting = self._called.get(name)
                self._result(fields, waiting.pop(0) if waiting else self._function_id(), name)
            case _:
                known = "assistant, developer, function, system, tool, user"
                raise invalid(fields.name("role"), f"must be one of {known}")
        fields.finish()

    def _system(self, fields: Fields) -> None:
        name = fields.text("name")
        parts = read_content(fields, IN_SYSTEM)
        texts = [part for part in parts if isinstance(part, Text) and part.text]
        if name is None and not self.messages:
            self.system += texts
        elif texts:
            self.messages.append(Message(Role.SYSTEM, [*texts], name))

    def _assistant(self, fields: Fields) -> None:
        fields.refuse("audio", "sounds of earlier answers are kept by OpenAI alone")
        fields.ignore("annotations")  # of an answer that is sent back; they tell the model nothing
        parts = [part for part in read_content(fields, IN_ASSISTANT) if _says_something(part)]
        refusal = fields.text("refusal")
        if refusal:
            parts.append(Refusal(refusal))
        parts += [_read_call(call) for call in fields.objects("tool_calls")]
        function = fields.object("function_call")
        if function is not None:
            parts.append(self._function(function))
        parts = with_thoughts(read_thoughts(fields), parts)
        self.messages.append(Message(Role.ASSISTANT, parts, fields.text("name")))

    def _function(self, fields: Fields) -> Part:
        name = fields.required_text("name")
        arguments = fields.text("arguments") or ""
        fields.finish()
        call_id = self._function_id()
        self._called.setdefault(name, []).append(call_id)
        return ToolCall(call_id, name, arguments)

    def _function_id(self) -> str:
        self._functions += 1
        return f"call_function_{self._functions}"

    def _result(self, fields: Fields, call_id: str, name: str | None) -> None:
        cache = read_cache(fields)
        content = read_content(fields, IN_TOOL)
        parts = [part for part in content if isinstance(part, Text | Media)]
        result = ToolResult(call_id, parts, name, cache=cache)
        last = self.messages[-1] if self.messages else None
        if (
            last is not None
            and last.role is Role.USER
            and last.parts
            and isinstance(last.parts[0], ToolResult)
        ):
            last.parts.append(result)
        else:
            self.messages.append(Message(Role.USER, [result]))


def _says_something(part: Part) -> bool:
    return not isinstance(part, Text) or bool(part.text)


def _read_call(fields: Fields) -> Part:
    kind = fields.text("type") or "function"
    if kind != "function":
        raise unsupported(fields.name("type"), "calls of custom tools are OpenAI's alone")
    fields.ignore("index")  # of calls that were put together from a stream
    call_id = fields.required_text("id")
    function = Fields(fields.raw("function"), fields.name("function."))
    name = function.required_text("name")
    arguments = function.text("arguments") or ""
    function.finish()
    signature = _call_signature(fields.document("extra_content"))
    cache = read_cache(fields)
    fields.finish()
    return ToolCall(call_id, name, arguments, signature, cache)


def _call_signature(extra: Document | None) -> str | None:
    google = extra.get("google") if extra is not None else None
    text = google.get("thought_signature") if isinstance(google, dict) else None
    return signatures.taken(text, CALL_SIGNATURES) if isinstance(text, str) and text else None
