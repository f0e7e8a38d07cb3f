"""A conversation as `contents`: turns that alternate, results beside their calls' names.

A signature of Google's goes back on the part that it came with: see `chunks`. What other models
called has none, and Gemini refuses a turn under way whose calls are not signed: there the word
goes that it documents for histories from elsewhere.
"""

from typing import Any, Final

from model_service.providers.arguments import arguments_object
from model_service.providers.chat import (
    Document,
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
from model_service.providers.dialects.google.media import impossible, media_part
from model_service.providers.dialects.google.thinking import Family
from model_service.providers.dialects.google.words import NAME, UNSIGNED
from model_service.providers.faults import invalid
from model_service.providers.signatures import own
from model_service.providers.translation import Notes

_WORDS: Final = {Role.USER: "user", Role.ASSISTANT: "model"}


def plain_contents(messages: list[Message]) -> list[Document] | None:
    """The turns of a plain request, as `written_contents` has them; None where one goes on."""
    contents: list[Document] = []
    before = None
    for message in messages:
        role, part = message.role, message.parts[0]
        if role is before or type(part) is not Text:
            return None
        before = role
        contents.append({"role": _WORDS[role], "parts": [{"text": part.text}]})
    return contents


def written_contents(messages: list[Message], family: Family, notes: Notes) -> list[Document]:
    """The turns. Raises CallFailed for what Gemini cannot be told."""
    turns = _Turns(family, notes)
    for message in messages:
        turns.add(message)
    if not turns.contents:
        raise impossible(notes, "messages", "Gemini needs a message beside the system prompt")
    if family.signs_calls:
        _sign(turns.contents)
    return turns.contents


class _Turns:
    def __init__(self, family: Family, notes: Notes) -> None:
        self.contents: list[Document] = []
        self._family = family
        self._notes = notes
        self._names: dict[str, str] = {}  # of the calls, by id
        self._speakers: set[str] = set()

    def add(self, message: Message) -> None:
        """Add a message, to the turn before it where that has the same role.

        Instructions in mid-conversation stay where they are, as the user's words: Gemini has but
        one place for instructions, which is before everything.
        """
        role = "model" if message.role is Role.ASSISTANT else "user"
        if message.name is not None:
            self._speaker(message.name)
        parts: list[Document] = []
        for part in message.parts:
            self._part(part, parts)
        if not parts and role == "user":
            parts = [{"text": part.text} for part in message.parts if isinstance(part, Text)]
        if not parts:
            return
        if self.contents and self.contents[-1]["role"] == role:
            self.contents[-1]["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})

    def _speaker(self, name: str) -> None:
        """One name says nothing that matters; several tell who says what."""
        self._speakers.add(name)
        if len(self._speakers) > 1:
            self._notes.refuse("messages.name", "Gemini cannot be told several names")
        else:
            self._notes.drop("messages.name")

    def _part(self, part: Part, parts: list[Document]) -> None:
        if not isinstance(part, Reasoning | Refusal) and part.cache is not None:
            self._notes.drop("cache_control")
        match part:
            case Text() | Refusal():
                if part.text:  # Gemini takes no empty ones
                    parts.append({"text": part.text})
            case Media():
                parts.append(self._media(part))
            case ToolCall():
                parts.append(self._call(part))
            case ToolResult():
                parts.append(self._result(part))
            case Reasoning():
                if not _add_thought(part, parts):
                    self._notes.drop("messages.reasoning")

    def _media(self, media: Media) -> Document:
        if media.name is not None:
            self._notes.drop("messages.filename")
        return media_part(media, self._notes)

    def _call(self, call: ToolCall) -> Document:
        self._names[call.id] = call.name
        arguments = arguments_object(call.arguments)
        document: Document = {"functionCall": {"id": call.id, "name": call.name, "args": arguments}}
        signature = own(call.signature, NAME)
        if signature is not None:
            document["thoughtSignature"] = signature
        return document

    def _result(self, result: ToolResult) -> Document:
        name = self._names.get(result.call_id)
        if name is None:
            raise invalid("messages", f"no call has the id '{result.call_id[:100]}' of a result")
        texts, attached = [], []
        for part in result.parts:
            if part.cache is not None:
                self._notes.drop("cache_control")
            if isinstance(part, Text):
                texts.append(part.text)
            else:
                attached.append(self._media(part))
        # Never the object that the text may be: Gemini looks for references (`$ref`) in objects.
        response: dict[str, Any] = {
            "id": result.call_id,
            "name": name,
            "response": {"error" if result.is_error else "result": "\n".join(texts)},
        }
        if attached:
            if not self._family.takes_media_results:
                raise impossible(
                    self._notes, "messages", "results with images or files are for Gemini 3 on"
                )
            response["parts"] = attached
        return {"functionResponse": response}


def _add_thought(thought: Reasoning, parts: list[Document]) -> bool:
    """A thought goes back if it is signed by Google; others are no use to Gemini."""
    signature = own(thought.signature, NAME)
    if signature is None:
        return False
    if not thought.redacted:
        parts.append({"text": thought.text, "thought": True, "thoughtSignature": signature})
        return True
    last = parts[-1] if parts else None
    if last is not None and last.keys() == {"text"}:
        last["thoughtSignature"] = signature
    else:
        parts.append({"text": "", "thoughtSignature": signature})
    return True


def _sign(contents: list[Document]) -> None:
    """See that the first call of each step of the turn under way has a signature.

    A turn begins with what the user says. Others, and calls made beside a first one, have none.
    """
    for content in reversed(contents):
        parts = content["parts"]
        if content["role"] == "user":
            if not any("functionResponse" in part for part in parts):
                return
            continue
        first = next((part for part in parts if "functionCall" in part), None)
        if first is not None and "thoughtSignature" not in first:
            first["thoughtSignature"] = UNSIGNED
