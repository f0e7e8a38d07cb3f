"""Writing a conversation as the items of an `input`."""

from hashlib import sha256
from typing import Final

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
from model_service.providers.dialects.openai_responses.media import write_media
from model_service.providers.dialects.openai_responses.output import NO_ARGUMENTS
from model_service.providers.dialects.openai_responses.thoughts import opened
from model_service.providers.faults import unsupported
from model_service.providers.translation import Document, Notes

# The API refuses longer ones ("string too long").
_LONGEST_CALL_ID: Final = 64


def write_items(messages: list[Message], notes: Notes) -> list[Document]:
    """The items of all turns.

    Raises:
        CallFailed: there is something that the API has no item for.
    """
    writer = _Writer(notes)
    for message in messages:
        writer.add(message)
    return writer.items


class _Writer:
    def __init__(self, notes: Notes) -> None:
        self.items: list[Document] = []
        self._notes = notes

    def add(self, message: Message) -> None:
        if message.name is not None:
            self._notes.drop("messages.name")
        if message.role is Role.ASSISTANT:
            self._add_answer(message.parts)
        else:
            role = "user" if message.role is Role.USER else "developer"
            self._add_turn(role, message.parts)

    def _add_turn(self, role: str, parts: list[Part]) -> None:
        content: list[Document] | None = None
        for part in parts:
            if isinstance(part, ToolResult):
                self._add_result(part)
                content = None
                continue
            if not isinstance(part, Text | Media):
                raise unsupported("messages", "a user's turn has what only a model says")
            if content is None:
                content = []
                self.items.append({"type": "message", "role": role, "content": content})
            content.append(self._told(part))

    def _told(self, part: Text | Media) -> Document:
        if part.cache is not None:
            self._notes.drop("cache_control")
        if isinstance(part, Media):
            return write_media(part)
        return {"type": "input_text", "text": part.text}

    def _add_result(self, result: ToolResult) -> None:
        if result.cache is not None:
            self._notes.drop("cache_control")
        parts = [self._told(part) for part in result.parts]
        if result.is_error:
            _say_error(parts)
        output: str | list[Document] = parts
        if not parts:
            output = ""
        elif len(parts) == 1 and parts[0]["type"] == "input_text":
            output = parts[0]["text"]
        self.items.append(
            {
                "type": "function_call_output",
                "call_id": _call_id(result.call_id),
                "output": output,
            }
        )

    def _add_answer(self, parts: list[Part]) -> None:
        content: list[Document] = []
        for part in parts:
            if isinstance(part, Text | Refusal):
                if part.text:
                    content.append(self._said(part))
                continue
            self._add_said(content)
            content = []
            if isinstance(part, Reasoning):
                self._add_thought(part)
            elif isinstance(part, ToolCall):
                self._add_call(part)
            else:
                raise unsupported("messages", "a model's turn has media or results in it")
        self._add_said(content)

    def _add_said(self, content: list[Document]) -> None:
        """A message of the model's. Its items have ids of the API's own; a bare text needs none."""
        if not content:
            return
        said: str | list[Document] = content
        if len(content) == 1 and content[0]["type"] == "output_text":
            said = content[0]["text"]
        self.items.append({"type": "message", "role": "assistant", "content": said})

    def _said(self, part: Text | Refusal) -> Document:
        if isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        if part.cache is not None:
            self._notes.drop("cache_control")
        return {"type": "output_text", "text": part.text}

    def _add_thought(self, thought: Reasoning) -> None:
        native = opened(thought.signature)
        if native is None:
            # The API takes back what it encrypted itself; another's thoughts it refuses, and a
            # bare text as well.
            self._notes.drop("messages.reasoning")
            return
        item_id, encrypted = native
        item: Document = {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": thought.text}] if thought.text else [],
            "encrypted_content": encrypted,
        }
        item_id = item_id or thought.id
        if item_id is not None and item_id.startswith("rs"):
            item["id"] = item_id
        self.items.append(item)

    def _add_call(self, call: ToolCall) -> None:
        if call.cache is not None:
            self._notes.drop("cache_control")
        # The item's own id is left out: it would have to be one that the API gave.
        self.items.append(
            {
                "type": "function_call",
                "call_id": _call_id(call.id),
                "name": call.name,
                "arguments": call.arguments if call.arguments.strip() else NO_ARGUMENTS,
            }
        )


def _say_error(parts: list[Document]) -> None:
    """Have a result's text say that it is an error: there is no field for it."""
    if not parts or parts[0]["type"] != "input_text":
        parts.insert(0, {"type": "input_text", "text": "Error"})
    elif not parts[0]["text"].lower().startswith("error"):
        parts[0]["text"] = f"Error: {parts[0]['text']}"


def _call_id(given: str) -> str:
    """The same id for a call and its result, short enough whoever gave it."""
    if len(given) <= _LONGEST_CALL_ID:
        return given
    return "call_" + sha256(given.encode()).hexdigest()[:48]
