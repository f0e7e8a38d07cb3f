"""The conversation as a caller of Google's door has it, read into messages.

Calls need ids elsewhere, and Google's may have none: they are numbered, and results go to the
call of their id, else to the first call of their name that has no result yet. Clients that
stream send the pieces of an answer back as they came, a turn for each: they are joined.
"""

from typing import Final

from model_service.providers.chat import (
    Document,
    Media,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from model_service.providers.dialects.google.media import read_file, read_inline, read_resolution
from model_service.providers.dialects.google.signing import taken_signature
from model_service.providers.dialects.google.wire import json_text, many, required
from model_service.providers.faults import invalid
from model_service.providers.fields import Fields

_ROLES: Final = {
    "user": Role.USER,
    "function": Role.USER,
    "tool": Role.USER,
    "model": Role.ASSISTANT,
}

# What nobody else has. Each is refused by name.
_FOREIGN: Final = {
    "executableCode": "code is executed by Google alone",
    "codeExecutionResult": "code is executed by Google alone",
    "toolCall": "built-in tools are Google's alone",
    "toolResponse": "built-in tools are Google's alone",
    "videoMetadata": "video has no equivalent with this model's provider",
}

_ONLY_RESULT: Final = ({"result"}, {"output"})


def read_system(instruction: Fields) -> list[Text]:
    """The texts of a `systemInstruction`. Raises CallFailed for anything else in it."""
    instruction.ignore("role")
    texts = []
    for part in many(instruction, "parts"):
        part.ignore("partMetadata")
        texts.append(Text(part.required_text("text")))
        part.finish()
    instruction.finish()
    return [text for text in texts if text.text]


def read_contents(body: Fields, detail: str | None) -> list[Message]:
    """All turns; `detail` is for images that say none of their own. Raises CallFailed."""
    conversation = _Conversation(detail)
    for content in many(body, "contents"):
        conversation.turn(content)
    if not conversation.messages:
        raise invalid(body.name("contents"), "must hold at least one turn")
    return conversation.messages


class _Conversation:
    def __init__(self, detail: str | None) -> None:
        self.messages: list[Message] = []
        self._detail = detail
        self._made = 0
        self._ids: set[str] = set()
        self._open: list[tuple[str, str]] = []  # ids and names of calls without a result
        self._thought: Reasoning | None = None

    def turn(self, content: Fields) -> None:
        """Take the next turn."""
        given = content.text("role") or "user"
        role = _ROLES.get(given.lower())
        if role is None:
            raise invalid(content.name("role"), "must be 'user' or 'model'")
        before = self.messages[-1] if self.messages else None
        if role is Role.ASSISTANT and before is not None and before.role is role:
            message = before
        else:
            message = Message(role, [])
            self._thought = None
        empty = True
        for part in many(content, "parts"):
            empty = False
            self._part(part, message)
        if empty:
            raise invalid(content.name("parts"), "must not be empty")
        content.finish()
        if message is not before and message.parts:
            self.messages.append(message)

    def _part(self, part: Fields, message: Message) -> None:
        for name, reason in _FOREIGN.items():
            part.refuse(name, reason)
        part.ignore("partMetadata")
        parts = message.parts
        signature = part.text("thoughtSignature")
        taken = None if signature is None else taken_signature(signature)
        thought = part.flag("thought")
        if thought and message.role is Role.USER:
            raise invalid(part.name("thought"), "is of the model's turns alone")
        detail = read_resolution(part) or self._detail
        if message.role is Role.ASSISTANT:
            if "functionCall" in part:
                self._thought = None
                parts.append(self._call(part, taken))
                part.finish()
                return
            if "text" in part or taken is not None:
                self._said(parts, part.text("text") or "", taken, thought=thought is True)
                part.finish()
                return
        elif "functionResponse" in part:
            parts.append(self._result(part))
            part.finish()
            return
        elif "text" in part:
            parts.append(Text(part.required_text("text")))
            part.finish()
            return
        media = read_media(part, detail)
        if media is None:
            part.finish()  # names what stands there instead
            raise invalid(part.name("text"), "is required, or another kind of part")
        self._thought = None
        parts.append(media)
        part.finish()

    def _said(self, parts: list[Part], text: str, signature: str | None, *, thought: bool) -> None:
        """What the model said or thought.

        A signature that is no thought's own stands behind its text, as a hidden thought.
        """
        if thought:
            if self._thought is None:
                self._thought = Reasoning("")
                parts.append(self._thought)
            self._thought.text += text
            if signature is not None:
                self._thought.signature = signature
                self._thought = None
            return
        self._thought = None
        if text:
            last = parts[-1] if parts else None
            if isinstance(last, Text):
                last.text += text
            else:
                parts.append(Text(text))
        if signature is not None:
            parts.append(Reasoning("", signature, redacted=True))

    def _call(self, part: Fields, signature: str | None) -> ToolCall:
        call = required(part, "functionCall")
        name = call.required_text("name")
        arguments = json_text(call.document("args") or {}, call.name("args"))
        given = call.text("id")
        call.finish()
        call_id = given or self._new_id()
        self._ids.add(call_id)
        self._open.append((call_id, name))
        return ToolCall(call_id, name, arguments, signature)

    def _new_id(self) -> str:
        """The next id that no call has: the same ones whenever the conversation is sent."""
        while True:
            self._made += 1
            call_id = f"call_{self._made}"
            if call_id not in self._ids:
                return call_id

    def _result(self, part: Fields) -> ToolResult:
        result = required(part, "functionResponse")
        name = result.required_text("name")
        # Only for calls that do not block, which are not served here: elsewhere they are ignored.
        result.ignore("willContinue", "scheduling")
        call_id = self._answered(result.text("id"), name)
        if call_id is None:
            raise invalid(part.name("functionResponse"), "answers no call that stands before it")
        response = result.document("response") or {}
        where = result.name("response")
        parts: list[Text | Media] = []
        text, is_error = _response_text(response, where)
        if text:
            parts.append(Text(text))
        for inner in many(result, "parts"):
            media = read_media(inner, read_resolution(inner) or self._detail)
            inner.finish()
            if media is None:
                raise invalid(inner.name("inlineData"), "is required")
            parts.append(media)
        result.finish()
        return ToolResult(call_id, parts, name, is_error)

    def _answered(self, given: str | None, name: str) -> str | None:
        """The id of the call that a result is for, which then has one."""
        for index, (call_id, call_name) in enumerate(self._open):
            if call_id == given if given else call_name == name:
                del self._open[index]
                return call_id
        return None


def read_media(part: Fields, detail: str | None) -> Media | None:
    """The file, image or sound of a part, if it is one. Raises CallFailed."""
    if "inlineData" in part:
        return read_inline(part, "inlineData", detail)
    return read_file(part, "fileData", detail) if "fileData" in part else None


def _response_text(response: Document, name: str) -> tuple[str, bool]:
    """A function's response as text, and whether it tells of an error.

    By convention `output` (or `result`) holds what a function gave, `error` what went wrong.
    """
    error = response.get("error")
    if error and len(response) == 1:
        return _text(error, name), True
    if response.keys() in _ONLY_RESULT:
        return _text(next(iter(response.values())), name), False
    return json_text(response, name) if response else "", bool(error)


def _text(value: object, name: str) -> str:
    return value if isinstance(value, str) else json_text(value, name)
