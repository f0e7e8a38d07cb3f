"""Writing a conversation for Ollama.

Source: https://docs.ollama.com/api/chat. A message has one text (`content`), images in base64
beside it, and for the assistant its thoughts and calls; each result of a tool is a message.
"""

from collections.abc import Iterable

from model_service.providers.arguments import arguments_object
from model_service.providers.chat import (
    ChatRequest,
    Media,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from model_service.providers.faults import unsupported
from model_service.providers.translation import Document, Notes

# Several texts of a turn become one, set apart as Ollama's templates set messages apart.
_BETWEEN = "\n\n"


def write_messages(request: ChatRequest, notes: Notes) -> list[Document]:
    """The system prompt and all turns.

    Raises:
        CallFailed: there is something that Ollama cannot be given.
    """
    writer = _Writer(notes)
    if request.system:
        writer.add("system", request.system)
    for message in request.messages:
        if message.name is not None:
            notes.drop("messages.name")
        if message.role is Role.ASSISTANT:
            writer.add_answer(message)
        else:
            writer.add_turn(message)
    return writer.messages


class _Writer:
    def __init__(self, notes: Notes) -> None:
        self.messages: list[Document] = []
        self._notes = notes
        # The tools' names by the calls' ids: a result may say its call alone.
        self._names: dict[str, str] = {}

    def add(self, role: str, parts: Iterable[Text | Refusal | Media]) -> Document:
        """A message of texts and images."""
        texts: list[str] = []
        images: list[str] = []
        for part in parts:
            if isinstance(part, Media):
                images.append(self._image(part))
                self._note_cache(part)
                continue
            if isinstance(part, Text):
                self._note_cache(part)
            if part.text:
                texts.append(part.text)
        message: Document = {"role": role, "content": _BETWEEN.join(texts)}
        if images:
            message["images"] = images
        self.messages.append(message)
        return message

    def add_turn(self, turn: Message) -> None:
        """A turn of the user's, or an instruction in mid-conversation; results stand alone."""
        role = "system" if turn.role is Role.SYSTEM else "user"
        said: list[Text | Refusal | Media] = []
        for part in turn.parts:
            if isinstance(part, Text | Media | Refusal):
                said.append(part)
            elif isinstance(part, ToolResult):
                if said:
                    self.add(role, said)
                    said = []
                self._add_result(part)
            else:
                self._refuse(f"{type(part).__name__} is nothing that a user says")
        if said or not turn.parts:
            self.add(role, said)

    def add_answer(self, turn: Message) -> None:
        """A turn of the assistant's."""
        said: list[Text | Refusal | Media] = []
        thoughts: list[str] = []
        calls: list[Document] = []
        for part in turn.parts:
            if isinstance(part, Text | Media | Refusal):
                said.append(part)
            elif isinstance(part, Reasoning):
                # Ollama signs nothing, so a thought is its text; a hidden one has none.
                if part.text and not part.redacted:
                    thoughts.append(part.text)
                else:
                    self._notes.drop("messages.reasoning")
            elif isinstance(part, ToolCall):
                self._note_cache(part)
                self._names[part.id] = part.name
                calls.append(_call(len(calls), part))
            else:
                self._refuse("a tool's result is nothing that an assistant says")
        message = self.add("assistant", said)
        if thoughts:
            message["thinking"] = _BETWEEN.join(thoughts)
        if calls:
            message["tool_calls"] = calls

    def _add_result(self, result: ToolResult) -> None:
        self._note_cache(result)
        message = self.add("tool", result.parts)
        if result.is_error and not message["content"].lower().startswith("error"):
            # There is no field for it, and the model has to know.
            message["content"] = f"Error: {message['content']}".rstrip()
        name = result.name or self._names.get(result.call_id)
        if name:
            message["tool_name"] = name
        if result.call_id:
            message["tool_call_id"] = result.call_id

    def _image(self, media: Media) -> str:
        if media.kind != "image":
            self._refuse(f"Ollama takes no {media.kind} parts")
        if media.data is None:
            self._refuse("Ollama takes images as data alone, and fetches none")
        if media.detail not in (None, "auto"):
            self._notes.drop("messages.detail")
        return media.data or ""

    def _note_cache(self, part: Text | Media | ToolCall | ToolResult) -> None:
        if part.cache is not None:
            self._notes.drop("cache_control")

    def _refuse(self, reason: str) -> None:
        """Even for a lenient call: what was said must not get lost. Raises CallFailed."""
        self._notes.refuse("messages", reason)
        raise unsupported("messages", reason)


def _call(index: int, call: ToolCall) -> Document:
    function = {
        "index": index,
        "name": call.name,
        "arguments": arguments_object(call.arguments),
    }
    return {"id": call.id, "function": function} if call.id else {"function": function}
