"""Reading a request's `input`: from items to turns.

What a model said in one go is several items here (thoughts, messages, calls) and one turn in the
intermediate form; results of tools that follow one another are one turn as well.
"""

from typing import Any, Final

from model_service.providers.chat import (
    Media,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from model_service.providers.dialects.openai_responses.media import (
    read_cache,
    read_file,
    read_image,
    read_sound,
)
from model_service.providers.dialects.openai_responses.thoughts import (
    taken_call,
    taken_from_caller,
)
from model_service.providers.faults import invalid, unsupported
from model_service.providers.fields import Fields

_ROLES: Final = ("user", "assistant", "system", "developer")
_STATUSES: Final = ("in_progress", "completed", "incomplete")


def read_input(value: object) -> tuple[list[Text], list[Message]]:
    """The leading instructions and the turns of an `input`.

    Raises:
        CallFailed: naming the field that is wrong, or that no other dialect has.
    """
    if isinstance(value, str):
        return [], [Message(Role.USER, [Text(value)])]
    if value is None:
        raise invalid("input", "is required")
    if not isinstance(value, list):
        raise invalid("input", "must be a string or an array of items")
    conversation = _Conversation()
    for index, item in enumerate(value):
        conversation.read(Fields(item, f"input[{index}]."))
    return conversation.system, conversation.messages


class _Conversation:
    """The turns as far as they are read."""

    __slots__ = ("_call_signature", "_results", "_said", "messages", "system")

    def __init__(self) -> None:
        self.system: list[Text] = []
        self.messages: list[Message] = []
        # The parts of the last turn, while more may be added: the model's, or results of tools.
        self._said: list[Part] | None = None
        self._results: list[Part] | None = None
        self._call_signature: str | None = None

    def read(self, item: Fields) -> None:
        kind = item.text("type")
        if kind is None:
            kind = "message" if "role" in item else "item_reference"
        match kind:
            case "message":
                self._read_message(item)
            case "function_call":
                self._read_call(item)
            case "function_call_output":
                self._read_result(item)
            case "reasoning":
                self._read_thought(item)
            case "item_reference":
                raise unsupported(
                    item.name("id"),
                    "no items are kept that it could refer to; send the item itself",
                )
            case _:
                raise unsupported(
                    item.name("type"),
                    f"items of the type {kind!r} have no equivalent with this model's provider",
                )

    def _read_message(self, item: Fields) -> None:
        role = item.choice("role", _ROLES)
        if role is None:
            raise invalid(item.name("role"), "is required")
        if role == "assistant":
            self._speak().extend(_said(item))
        elif role == "user":
            self._add(Message(Role.USER, _heard(item, "content")))
        else:
            texts = _instructions(item)
            if self.messages:
                self._add(Message(Role.SYSTEM, [*texts]))
            else:
                self.system.extend(texts)
        # The phase tells OpenAI's models apart what they said on the way; others have no phases.
        item.choice("phase", ("commentary", "final_answer"))
        _finish(item)

    def _read_call(self, item: Fields) -> None:
        call = ToolCall(
            item.required_text("call_id"),
            item.required_text("name"),
            item.required_text("arguments"),
            self._call_signature,
        )
        self._speak().append(call)
        self._call_signature = None
        _read_caller(item)
        if item.flag("async"):
            raise unsupported(item.name("async"), "calls cannot run on their own here")
        _finish(item)

    def _read_result(self, item: Fields) -> None:
        value = item.raw("output")
        if value is None:
            raise invalid(item.name("output"), "is required")
        parts: list[Text | Media] = []
        if isinstance(value, str):
            if value:
                parts.append(Text(value))
        else:
            parts.extend(_read_part(part) for part in _parts(value, item.name("output")))
        result = ToolResult(item.required_text("call_id"), parts, item.text("name"))
        if self._results is None:
            results: list[Part] = []
            self._add(Message(Role.USER, results))
            self._results = results
        self._results.append(result)
        _read_caller(item)
        _finish(item)

    def _read_thought(self, item: Fields) -> None:
        item_id, encrypted = item.text("id"), item.text("encrypted_content")
        text = "\n\n".join((*_thought_texts(item, "summary"), *_thought_texts(item, "content")))
        _finish(item)
        if encrypted and (signature := taken_call(encrypted)) is not None:
            self._call_signature = signature
        elif encrypted:
            signature, redacted = taken_from_caller(encrypted, item_id, text)
            self._speak().append(Reasoning(text, signature, redacted, item_id))
        elif text:
            self._speak().append(Reasoning(text, id=item_id))

    def _speak(self) -> list[Part]:
        """The parts of the model's turn: of the last one, if it is the model's."""
        if self._said is None:
            said: list[Part] = []
            self._add(Message(Role.ASSISTANT, said))
            self._said = said
        return self._said

    def _add(self, message: Message) -> None:
        self.messages.append(message)
        self._said = self._results = None


def _said(item: Fields) -> list[Part]:
    """What the model said."""
    value = item.raw("content")
    if isinstance(value, str):
        return [Text(value)]
    said: list[Part] = []
    for part in _parts(value, item.name("content")):
        kind = part.text("type")
        if kind == "refusal":
            said.append(Refusal(part.required_text("refusal")))
        elif kind in ("output_text", "input_text"):
            said.append(Text(part.required_text("text"), read_cache(part)))
            # What the provider noted about its own text; it is no part of what was said.
            part.ignore("annotations", "logprobs")
        else:
            raise _no_such_part(part, kind, "output_text or refusal")
        part.finish()
    return said


def _heard(item: Fields, field: str) -> list[Part]:
    """What the model was told."""
    value = item.raw(field)
    if isinstance(value, str):
        return [Text(value)]
    return [_read_part(part) for part in _parts(value, item.name(field))]


def _instructions(item: Fields) -> list[Text]:
    texts: list[Text] = []
    for part in _heard(item, "content"):
        if not isinstance(part, Text):
            raise unsupported(item.name("content"), "instructions can only be text")
        texts.append(part)
    return texts


def _read_part(part: Fields) -> Text | Media:
    kind = part.text("type")
    read: Text | Media
    match kind:
        case "input_text":
            read = Text(part.required_text("text"), read_cache(part))
        case "input_image":
            read = read_image(part)
        case "input_file":
            read = read_file(part)
        case "input_audio":
            read = read_sound(part)
        case _:
            raise _no_such_part(part, kind, "input_text, input_image or input_file")
    part.finish()
    return read


def _parts(value: Any, name: str) -> list[Fields]:  # noqa: ANN401 - a wire edge
    if value is None:
        raise invalid(name, "is required")
    if not isinstance(value, list):
        raise invalid(name, "must be a string or an array of parts")
    return [Fields(part, f"{name}[{index}].") for index, part in enumerate(value)]


def _no_such_part(part: Fields, kind: str | None, expected: str) -> Exception:
    if kind is None:
        return invalid(part.name("type"), "is required")
    return invalid(part.name("type"), f"must be {expected}")


def _thought_texts(item: Fields, field: str) -> list[str]:
    texts: list[str] = []
    for part in item.objects(field):
        part.choice("type", ("summary_text", "reasoning_text", "text"))
        text = part.required_text("text")
        part.finish()
        if text:
            texts.append(text)
    return texts


def _read_caller(item: Fields) -> None:
    """Who made the call; only the model itself does, here."""
    caller = item.object("caller")
    if caller is not None:
        if caller.text("type") != "direct":
            raise unsupported(caller.name("type"), "only calls of the model's own are supported")
        caller.finish()
    item.refuse("namespace", "tools have no namespaces with this model's provider")


def _finish(item: Fields) -> None:
    """Items come back with what the answer that they are from said about them."""
    item.choice("status", _STATUSES)
    item.ignore("id")
    item.finish()
