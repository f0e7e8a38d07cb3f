"""Writes a conversation as the Messages API wants it.

- Turns of one role that follow one another become one. Results of tools come first in the
  user's turn after the calls; a result without its call, or a call without its result, is an
  error, which is said here in the caller's terms.
- Empty texts are refused by the API, and say nothing: they are left out.
- An instruction in mid-conversation has to follow a user's turn and precede an assistant's. It
  is put after the user's turn that it stands before, for models that take such instructions.
  For others, and where there is no such turn, it is written into the user's turn between
  `<system>` and `</system>`.
- Thoughts go back only with a signature of Anthropic's; others the API would refuse.

Sources: https://platform.claude.com/docs/en/api/messages,
.../agents-and-tools/tool-use/handle-tool-calls, .../build-with-claude/vision,
.../build-with-claude/pdf-support, .../build-with-claude/mid-conversation-system-messages
"""

import base64
import binascii
from hashlib import blake2b
from typing import Final

from model_service.providers.arguments import arguments_object
from model_service.providers.chat import (
    ChatRequest,
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
from model_service.providers.dialects.anthropic.models import Traits
from model_service.providers.dialects.anthropic.wire import NAME
from model_service.providers.faults import invalid, unsupported
from model_service.providers.signatures import own
from model_service.providers.translation import Document, Notes

_IMAGES: Final = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})

# How base64 of each kind of image begins, for those that come without their type.
_BEGINNINGS: Final = (
    ("/9j/", "image/jpeg"),
    ("iVBORw0KGgo", "image/png"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)

_USER: Final = Role.USER
_WORDS: Final = {Role.USER: "user", Role.ASSISTANT: "assistant"}

_PDF: Final = "application/pdf"
# Text all the same, though its type does not begin with `text/`.
_TEXTUAL: Final = frozenset({"application/json", "application/xml", "application/yaml"})


class Turns:
    """The turns so far; `called` are the names of the tools that were called, in order."""

    def __init__(self, traits: Traits, notes: Notes) -> None:
        self.turns: list[Document] = []
        self.called: dict[str, None] = {}
        self._traits = traits
        self._notes = notes
        self._names: dict[Role, str] = {}
        self._instructions: list[Document] = []
        self._unanswered: dict[str, None] = {}
        self._results = 0

    def add(self, message: Message) -> None:
        """Add a message. Raises CallFailed for what cannot be said."""
        if message.name is not None:
            self._note_name(message.role, message.name)
        if message.role is Role.USER:
            self._add_user(message.parts)
        elif message.role is Role.ASSISTANT:
            self._add_assistant(message.parts)
        else:
            self._add_instruction(message.parts)

    def finish(self) -> list[Document]:
        """All the turns. Raises CallFailed when there are none, or a call has no result."""
        self._place_instructions()
        self._check_answered()
        if self.turns and self.turns[-1]["role"] == "assistant":
            self._trim_last()
        if not self.turns:
            raise invalid("messages", "there is nothing in them that a model could answer")
        return self.turns

    def _add_user(self, parts: list[Part]) -> None:
        results: list[Document] = []
        blocks: list[Document] = []
        for part in parts:
            if isinstance(part, ToolResult):
                results.append(self._result(part))
            elif isinstance(part, Text):
                blocks += _text(part)
            elif isinstance(part, Media):
                blocks.append(self._media(part))
            else:
                raise unsupported("messages", "a user's turn has what only a model says")
        self._extend_user(results, blocks)

    def _extend_user(self, results: list[Document], blocks: list[Document]) -> None:
        if not results and not blocks:
            return
        if not self.turns or self.turns[-1]["role"] != "user":
            self.turns.append({"role": "user", "content": []})
            self._results = 0
        content = self.turns[-1]["content"]
        content[self._results : self._results] = results
        self._results += len(results)
        content += blocks

    def _add_assistant(self, parts: list[Part]) -> None:
        blocks: list[Document] = []
        calls: list[str] = []
        for part in parts:
            match part:
                case Text():
                    blocks += _text(part)
                case Refusal():
                    blocks += _text(Text(part.text))
                case Reasoning():
                    thought = _thought(part)
                    blocks += thought
                    if not thought:
                        self._notes.drop("messages.reasoning")
                case ToolCall():
                    call = _call(part)
                    blocks.append(call)
                    calls.append(call["id"])
                    self.called[part.name] = None
                case _:
                    raise unsupported("messages", "a model's turn has media or results in it")
        if not blocks:
            return
        self._place_instructions()
        if self.turns and self.turns[-1]["role"] == "assistant":
            self.turns[-1]["content"] += blocks
        else:
            self._check_answered()
            self.turns.append({"role": "assistant", "content": blocks})
        self._unanswered.update(dict.fromkeys(calls))

    def _add_instruction(self, parts: list[Part]) -> None:
        blocks: list[Document] = []
        for part in parts:
            if not isinstance(part, Text):
                raise unsupported("messages", "an instruction has to be text")
            blocks += _text(part)
        if self._traits.system_turns:
            self._instructions += blocks
        else:
            self._extend_user([], _wrapped(blocks))

    def _place_instructions(self) -> None:
        if not self._instructions:
            return
        blocks, self._instructions = self._instructions, []
        if self.turns and self.turns[-1]["role"] == "user":
            self.turns.append({"role": "system", "content": blocks})
        else:
            self._extend_user([], _wrapped(blocks))

    def _check_answered(self) -> None:
        if self._unanswered:
            missing = next(iter(self._unanswered))
            raise invalid("messages", f"the tool call '{missing}' is not followed by its result")

    def _result(self, result: ToolResult) -> Document:
        call_id = _wire_id(result.call_id)
        if call_id not in self._unanswered:
            raise invalid(
                "messages", f"the tool result for '{result.call_id[:200]}' follows no such call"
            )
        del self._unanswered[call_id]
        block: Document = {"type": "tool_result", "tool_use_id": call_id}
        parts = result.parts
        if len(parts) == 1 and isinstance(parts[0], Text) and parts[0].cache is None:
            if not _is_blank(parts[0].text):
                block["content"] = parts[0].text
        elif parts:
            content = [
                found
                for part in parts
                for found in (_text(part) if isinstance(part, Text) else [self._media(part)])
            ]
            if content:
                block["content"] = content
        if result.is_error:
            block["is_error"] = True
        return _cached(block, result.cache)

    def _media(self, media: Media) -> Document:
        if media.file_id is not None:
            raise unsupported("messages", "a file that is stored with another provider")
        if media.kind == "image":
            if media.detail == "low":
                self._notes.drop("messages.detail")
            return _cached({"type": "image", "source": _image_source(media)}, media.cache)
        if media.kind == "file":
            block: Document = {"type": "document", "source": _document_source(media)}
            if media.name:
                block["title"] = media.name
            return _cached(block, media.cache)
        raise unsupported("messages", f"Anthropic's models do not take {media.kind}")

    def _note_name(self, role: Role, name: str) -> None:
        """One name for all says nothing to the model; several tell speakers apart."""
        if self._names.setdefault(role, name) != name:
            self._notes.refuse("messages.name", "Anthropic's models cannot be told several names")
        else:
            self._notes.drop("messages.name")

    def _trim_last(self) -> None:
        """The beginning of the answer must not end in a blank."""
        content = self.turns[-1]["content"]
        last = content[-1]
        if last["type"] == "text":
            last["text"] = last["text"].rstrip()


def plain_turns(messages: list[Message]) -> list[Document] | None:
    """The turns of a plain request, as `Turns` writes them; None where they need more.

    That is where a turn goes on with another message or is blank, or the last is the model's.
    """
    turns: list[Document] = []
    before = None
    for message in messages:
        role, part = message.role, message.parts[0]
        if role is before or type(part) is not Text or part.text.isspace():
            return None
        before = role
        turns.append({"role": _WORDS[role], "content": [{"type": "text", "text": part.text}]})
    return turns if before is _USER else None


def write_system(request: ChatRequest) -> list[Document]:
    """The blocks of the system prompt."""
    return [block for text in request.system for block in _text(text)]


def _text(text: Text) -> list[Document]:
    if _is_blank(text.text):
        return []
    return [_cached({"type": "text", "text": text.text}, text.cache)]


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _wrapped(blocks: list[Document]) -> list[Document]:
    return [{**block, "text": f"<system>\n{block['text']}\n</system>"} for block in blocks]


def _thought(thought: Reasoning) -> list[Document]:
    sealed = own(thought.signature, NAME)
    if not sealed:
        return []
    if thought.redacted:
        return [{"type": "redacted_thinking", "data": sealed}]
    return [{"type": "thinking", "thinking": thought.text, "signature": sealed}]


def _call(call: ToolCall) -> Document:
    block: Document = {
        "type": "tool_use",
        "id": _wire_id(call.id),
        "name": call.name,
        "input": arguments_object(call.arguments),
    }
    return _cached(block, call.cache)


def _wire_id(call_id: str) -> str:
    """The id, or another that stands for it where it has what the API does not take."""
    if call_id.isascii() and call_id.replace("_", "").replace("-", "").isalnum():
        return call_id
    return f"toolu_{blake2b(call_id.encode('utf-8', 'replace'), digest_size=12).hexdigest()}"


def _image_source(media: Media) -> Document:
    if media.data is None:
        return _url_source(media)
    kind = media.media_type
    if kind is None:
        kind = next((known for start, known in _BEGINNINGS if media.data.startswith(start)), None)
    elif kind == "image/jpg":
        kind = "image/jpeg"
    if kind not in _IMAGES:
        raise unsupported("messages", "Anthropic's models take images as JPEG, PNG, GIF or WebP")
    return {"type": "base64", "media_type": kind, "data": media.data}


def _document_source(media: Media) -> Document:
    if media.data is None:
        return _url_source(media)
    kind = (media.media_type or "").partition(";")[0].strip().lower()
    if kind == _PDF or (not kind and media.data.startswith("JVBERi")):
        return {"type": "base64", "media_type": _PDF, "data": media.data}
    if kind.startswith("text/") or kind in _TEXTUAL:
        try:
            text = base64.b64decode(media.data, validate=True).decode()
        except (binascii.Error, ValueError):
            raise invalid("messages", "a file of text is not base64 of UTF-8") from None
        return {"type": "text", "media_type": "text/plain", "data": text}
    raise unsupported("messages", "Anthropic's models take files as PDF or text")


def _url_source(media: Media) -> Document:
    if media.url is None:
        raise invalid("messages", f"an {media.kind} has neither data nor a URL")
    return {"type": "url", "url": media.url}


def _cached(block: Document, cache: Document | None) -> Document:
    if cache is not None:
        block["cache_control"] = cache
    return block
