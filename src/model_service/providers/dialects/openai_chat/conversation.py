"""A conversation, as chat completions want to have it.

OpenAI wants the results of tools right after their calls, in messages of their own and of text
alone. What else a result holds (a screenshot) goes into a user's message after them, which says
what it belongs to. That a tool failed is said in words: there is no field for it.
"""

from collections.abc import Iterable
from typing import Final

from model_service.providers.chat import (
    ChatRequest,
    Document,
    Media,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from model_service.providers.dialects.openai_chat.thinking import write_thoughts
from model_service.providers.dialects.openai_chat.thoughts import ORIGIN
from model_service.providers.faults import CallFailed, unsupported
from model_service.providers.signatures import own
from model_service.providers.translation import Notes

_FORMATS: Final = {
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/vnd.wave": "wav",
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
}
_NAMES: Final = {"application/pdf": "document.pdf"}
_PLAIN_NAME: Final = "document.txt"


_WORDS: Final = {Role.USER: "user", Role.ASSISTANT: "assistant"}


def plain_messages(request: ChatRequest) -> list[Document] | None:
    """The messages of a plain request, as `Conversation` has them; None where that does more.

    That is where there are several instructions, which vendors get as one.
    """
    messages: list[Document] = []
    for text in request.system:
        if messages:
            return None
        messages.append({"role": "system", "content": text.text})
    for message in request.messages:
        part = message.parts[0]
        if type(part) is not Text:
            return None
        messages.append({"role": _WORDS[message.role], "content": part.text})
    return messages


class Conversation:
    """Builds `messages`.

    `vendor`: it is for a vendor, who may take no lists where a string will do, and takes back
    what it thought. `cache_marks`: `cache_control` is taken as well.
    """

    def __init__(self, notes: Notes, *, vendor: bool, cache_marks: bool) -> None:
        self.messages: list[Document] = []
        self._notes = notes
        self._vendor = vendor
        self._cache_marks = cache_marks
        # Where the results of the user's turns under way go: before all else that the user says.
        self._results_at: int | None = None

    def add_system(self, texts: list[Text]) -> None:
        """The leading instructions."""
        if texts:
            self._add({"role": "system", "content": self._texts(texts)})

    def add(self, turn: Message) -> None:
        """A turn. Raises CallFailed for what cannot be said here."""
        match turn.role:
            case Role.USER:
                self._user(turn)
            case Role.ASSISTANT:
                self._results_at = None
                self._assistant(turn)
            case Role.SYSTEM:
                self._results_at = None
                texts = [part for part in turn.parts if isinstance(part, Text)]
                if len(texts) != len(turn.parts):
                    raise _refused("an instruction has to be text")
                self._add({"role": "system", "content": self._texts(texts)}, turn.name)

    def _add(self, message: Document, name: str | None = None) -> None:
        if name is not None:
            message["name"] = name
        self.messages.append(message)

    def _user(self, turn: Message) -> None:
        if self._results_at is None:
            self._results_at = len(self.messages)
        said: list[Text | Media] = []
        shown: list[Text | Media] = []
        for part in turn.parts:
            if isinstance(part, ToolResult):
                shown += self._result(part, self._results_at)
                self._results_at += 1
            elif isinstance(part, Text | Media):
                said.append(part)
            else:
                raise _refused("a user's turn has what only a model says")
        if shown:
            self._add({"role": "user", "content": self._parts(shown)})
        if said or not turn.parts:
            self._add({"role": "user", "content": self._content(said)}, turn.name)

    def _result(self, result: ToolResult, place: int) -> list[Text | Media]:
        """Put the result's message where it belongs; gives what it cannot hold."""
        texts = [part for part in result.parts if isinstance(part, Text)]
        if result.cache is not None and texts and texts[-1].cache is None:
            texts[-1] = Text(texts[-1].text, result.cache)
        else:
            self._note_cache(result.cache)
        media = [part for part in result.parts if isinstance(part, Media)]
        content = self._texts(texts)
        if result.is_error:
            content = _failed(content)
        elif not texts and media:
            content = "The result follows in the next message of the user."
        message = {"role": "tool", "tool_call_id": result.call_id, "content": content}
        self.messages.insert(place, message)
        return (
            [Text(f"Belongs to the result of the call {result.call_id}:"), *media] if media else []
        )

    def _assistant(self, turn: Message) -> None:
        texts: list[Text] = []
        refusals: list[str] = []
        thoughts: list[Reasoning] = []
        calls: list[Document] = []
        for part in turn.parts:
            match part:
                case Text():
                    texts.append(part)
                case Refusal():
                    refusals.append(part.text)
                case Reasoning():
                    thoughts.append(part)
                case ToolCall():
                    calls.append(self._call(part))
                case _:
                    raise _refused("a model's turn has media or results in it")
        message: Document = {"role": "assistant"}
        content = "".join(text.text for text in texts)
        if any(text.cache is not None for text in texts) and self._cache_marks:
            message["content"] = self._parts(texts)
        else:
            for text in texts:
                self._note_cache(text.cache)
            # Some vendors want the field, and all but an answer of calls alone want it filled.
            message["content"] = content or (None if calls or refusals else "")
        if refusals:
            if self._vendor:
                message["content"] = content + "".join(refusals)
            else:
                message["refusal"] = "".join(refusals)
        if not write_thoughts(message, thoughts) if self._vendor else thoughts:
            self._notes.drop("messages.reasoning")
        if calls:
            message["tool_calls"] = calls
        self._add(message, turn.name)

    def _call(self, call: ToolCall) -> Document:
        self._note_cache(call.cache)
        document: Document = {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments or "{}"},
        }
        signature = own(call.signature, ORIGIN)
        if signature is not None and self._vendor:
            document["extra_content"] = {"google": {"thought_signature": signature}}
        return document

    def _texts(self, texts: list[Text]) -> str | list[Document]:
        if not texts:
            return ""
        if len(texts) == 1 and (texts[0].cache is None or not self._cache_marks):
            self._note_cache(texts[0].cache)
            return texts[0].text
        if self._vendor and not self._cache_marks:
            for text in texts:
                self._note_cache(text.cache)
            return "\n\n".join(text.text for text in texts)
        return self._parts(texts)

    def _content(self, parts: list[Text | Media]) -> str | list[Document]:
        texts = [part for part in parts if isinstance(part, Text)]
        return self._texts(texts) if len(texts) == len(parts) else self._parts(parts)

    def _parts(self, parts: Iterable[Text | Media]) -> list[Document]:
        written: list[Document] = []
        for part in parts:
            document: Document = (
                {"type": "text", "text": part.text} if isinstance(part, Text) else self._media(part)
            )
            if part.cache is not None and self._cache_marks:
                document["cache_control"] = part.cache
            else:
                self._note_cache(part.cache)
            written.append(document)
        return written

    def _media(self, media: Media) -> Document:
        match media.kind:
            case "image":
                url = _url(media)
                if url is None:
                    raise _refused("chat completions take no images by the id of a file")
                image: Document = {"url": url}
                if media.detail is not None:
                    image["detail"] = media.detail
                return {"type": "image_url", "image_url": image}
            case "audio":
                form = _FORMATS.get(media.media_type or "")
                if media.data is None or form is None:
                    raise _refused("chat completions take sounds as WAV or MP3 data alone")
                return {"type": "input_audio", "input_audio": {"data": media.data, "format": form}}
            case "file":
                return {"type": "file", "file": self._file(media)}
            case _:
                raise _refused(f"chat completions take no {media.kind}")

    def _file(self, media: Media) -> Document:
        if media.data is not None:
            name = media.name or _NAMES.get(media.media_type or "", _PLAIN_NAME)
            return {"filename": name, "file_data": _url(media)}
        if media.file_id is not None:
            return {"file_id": media.file_id}
        if media.url is None or not self._vendor:
            raise _refused("chat completions take files as data or by their id, not by a URL")
        return {"filename": media.name or _NAMES["application/pdf"], "file_data": media.url}

    def _note_cache(self, cache: Document | None) -> None:
        if cache is not None:
            self._notes.drop("cache_control")


def _url(media: Media) -> str | None:
    if media.data is None:
        return media.url
    return f"data:{media.media_type or 'application/octet-stream'};base64,{media.data}"


def _failed(content: str | list[Document]) -> str | list[Document]:
    if isinstance(content, list):
        return [{"type": "text", "text": "Error:"}, *content]
    if content.lower().startswith("error"):
        return content
    return f"Error: {content}".rstrip(": ")


def _refused(reason: str) -> CallFailed:
    return unsupported("messages", reason)
