"""Reads the messages that a caller of the Messages API sends.

Sources: https://platform.claude.com/docs/en/api/messages, .../build-with-claude/search-results,
.../build-with-claude/mid-conversation-system-messages
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from model_service.providers.chat import (
    Media,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from model_service.providers.dialects.anthropic.wire import NAME
from model_service.providers.faults import CallFailed, invalid, unsupported
from model_service.providers.fields import Fields
from model_service.providers.signatures import own, taken

_Reader = Callable[[Fields, list[str]], list[Part]]
_Readers = Mapping[str, _Reader]

_ROLES: Final = ("user", "assistant", "system")
_THEIRS: Final = "is understood by Anthropic's own models alone"


def read_system(fields: Fields, dropped: list[str]) -> list[Text]:
    """The system prompt: a string, or blocks of text. See `ChatRequest.dropped`."""
    return _texts(fields.raw("system"), fields.name("system"), dropped)


def read_messages(fields: Fields, dropped: list[str]) -> list[Message]:
    """The conversation. Turns of one role may follow one another, as in the API."""
    turns = fields.array("messages")
    if not turns:
        raise invalid(fields.name("messages"), "at least one message is required")
    messages: list[Message] = []
    for index, turn in enumerate(turns):
        message = Fields(turn, f"messages[{index}].")
        role = message.choice("role", _ROLES)
        if role is None:
            raise invalid(message.name("role"), "is required")
        content, path = message.raw("content"), message.name("content")
        message.finish()
        if content is None:
            raise invalid(path, "is required")
        messages.append(Message(Role(role), _parts(content, path, role, dropped)))
    return messages


def mark_last(messages: list[Message], system: list[Text], cache: dict[str, Any]) -> None:
    """Put a cache mark where a `cache_control` of the whole request has it: on the last block."""
    parts = [part for message in messages for part in message.parts]
    for part in reversed([*system, *parts]):
        if isinstance(part, Text | Media | ToolCall | ToolResult):
            if part.cache is None:
                part.cache = cache
            return


def _parts(content: object, path: str, role: str, dropped: list[str]) -> list[Part]:
    if role == "system":
        return list[Part](_texts(content, path, dropped))
    if isinstance(content, str):
        return [Text(content)]
    if role == "user":
        return _blocks(content, path, _OF_USER, dropped)
    return _with_signed_calls(_blocks(content, path, _OF_ASSISTANT, dropped))


def _blocks(content: object, path: str, readers: _Readers, dropped: list[str]) -> list[Part]:
    if not isinstance(content, list):
        raise invalid(path, "must be a string or an array of blocks")
    parts: list[Part] = []
    for index, block in enumerate(content):
        if isinstance(block, dict) and len(block) == 2 and block.get("type") == "text":
            text = block.get("text")
            if isinstance(text, str):  # most blocks are no more than this
                parts.append(Text(text))
                continue
        fields = Fields(block, f"{path}[{index}].")
        kind = fields.required_text("type")
        reader = readers.get(kind)
        if reader is None:
            raise _misplaced(fields.name("type"), kind)
        parts += reader(fields, dropped)
        fields.finish()
    return parts


def _misplaced(name: str, kind: str) -> CallFailed:
    if kind in _OF_USER or kind in _OF_ASSISTANT:
        return invalid(name, f"'{kind}' has no place here")
    return unsupported(name, f"'{kind[:100]}' {_THEIRS}")


def _texts(content: object, path: str, dropped: list[str]) -> list[Text]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)] if content else []
    return [part for part in _blocks(content, path, _OF_SYSTEM, dropped) if isinstance(part, Text)]


def _with_signed_calls(parts: list[Part]) -> list[Part]:
    """The signatures of calls back where they belong: the writer puts them into empty thoughts."""
    kept: list[Part] = []
    for part in parts:
        before = kept[-1] if kept else None
        if (
            isinstance(part, ToolCall)
            and isinstance(before, Reasoning)
            and not before.text
            and not before.redacted
            and before.signature is not None
            and own(before.signature, NAME) is None
        ):
            kept.pop()
            part.signature = before.signature
        kept.append(part)
    return kept


def _text(fields: Fields, dropped: list[str]) -> list[Part]:
    if fields.array("citations"):  # where a model took its words from changes nothing in them
        dropped.append(fields.name("citations"))
    return [Text(fields.required_text("text"), fields.document("cache_control"))]


def _image(fields: Fields, _: list[str]) -> list[Part]:
    if fields.document("transformations"):
        raise unsupported(fields.name("transformations"), _THEIRS)
    media = Media("image", cache=fields.document("cache_control"))
    source = _source(fields)
    kind = source.choice("type", ("base64", "url", "file"))
    if kind == "base64":
        media.media_type, media.data = source.text("media_type"), source.required_text("data")
    else:
        _located(kind, source, media)
    source.finish()
    return [media]


def _document(fields: Fields, dropped: list[str]) -> list[Part]:
    """A file; or, where it is text, its words, which every model can read."""
    title, context = fields.text("title"), fields.text("context")
    cache = fields.document("cache_control")
    _refuse_citations(fields)
    source = _source(fields)
    kind = source.choice("type", ("base64", "text", "url", "file", "content"))
    parts: list[Part]
    if kind == "text":
        source.choice("media_type", ("text/plain",))
        parts = [Text(source.required_text("data"))]
    elif kind == "content":
        content, path = source.raw("content"), source.name("content")
        parts = (
            [Text(content)]
            if isinstance(content, str)
            else _blocks(content, path, _OF_SOURCE, dropped)
        )
    else:
        media = Media("file", name=title, cache=cache)
        if kind == "base64":
            media.media_type, media.data = source.text("media_type"), source.required_text("data")
        else:
            _located(kind, source, media)
        source.finish()
        about = [Text(f"About the document that follows: {context}")] if context else []
        return [*about, media]
    source.finish()
    return _enclosed("document", {"title": title, "context": context}, parts, cache)


def _search_result(fields: Fields, dropped: list[str]) -> list[Part]:
    names = {"title": fields.required_text("title"), "source": fields.required_text("source")}
    cache = fields.document("cache_control")
    _refuse_citations(fields)
    parts = _blocks(fields.raw("content"), fields.name("content"), _OF_SYSTEM, dropped)
    return _enclosed("search_result", names, parts, cache)


def _enclosed(
    tag: str, names: Mapping[str, str | None], parts: list[Part], cache: dict[str, Any] | None
) -> list[Part]:
    """Parts between tags, so that the model sees where they end."""
    given = "".join(f" {name}={_quoted(value)}" for name, value in names.items() if value)
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) == len(parts):
        words = "\n".join(text.text for text in texts)
        return [Text(f"<{tag}{given}>\n{words}\n</{tag}>", cache)]
    return [Text(f"<{tag}{given}>"), *parts, Text(f"</{tag}>", cache)]


def _quoted(value: str) -> str:
    return orjson.dumps(value).decode()


def _refuse_citations(fields: Fields) -> None:
    citations = fields.object("citations")
    if citations is not None:
        if citations.flag("enabled"):
            raise unsupported(citations.name("enabled"), _THEIRS)
        citations.finish()


def _source(fields: Fields) -> Fields:
    source = fields.object("source")
    if source is None:
        raise invalid(fields.name("source"), "is required")
    return source


def _located(kind: str | None, source: Fields, media: Media) -> None:
    if kind == "url":
        media.url = source.required_text("url")
    elif kind == "file":
        media.file_id = source.required_text("file_id")
    else:
        raise invalid(source.name("type"), "is required")


def _thinking(fields: Fields, _: list[str]) -> list[Part]:
    text, signature = fields.text("thinking") or "", fields.text("signature")
    return [Reasoning(text, taken(signature, NAME) if signature else None)]


def _redacted(fields: Fields, _: list[str]) -> list[Part]:
    return [Reasoning("", taken(fields.required_text("data"), NAME), redacted=True)]


def _tool_use(fields: Fields, _: list[str]) -> list[Part]:
    call_id, name = fields.required_text("id"), fields.required_text("name")
    arguments = fields.document("input")
    if arguments is None:
        raise invalid(fields.name("input"), "is required")
    caller = fields.object("caller")
    if caller is not None and caller.text("type") != "direct":
        raise unsupported(fields.name("caller"), _THEIRS)
    fields.refuse("toolset_name", _THEIRS)
    try:
        written = orjson.dumps(arguments).decode()
    except TypeError:
        raise invalid(fields.name("input"), "is nested too deeply") from None
    return [ToolCall(call_id, name, written, cache=fields.document("cache_control"))]


def _tool_result(fields: Fields, dropped: list[str]) -> list[Part]:
    call_id = fields.required_text("tool_use_id")
    content, path = fields.raw("content"), fields.name("content")
    fields.refuse("toolset_name", _THEIRS)
    if content is None:
        parts = list[Part]()
    elif isinstance(content, str):
        parts = [Text(content)] if content else []
    else:
        parts = _blocks(content, path, _OF_RESULT, dropped)
    return [
        ToolResult(
            call_id,
            [part for part in parts if isinstance(part, Text | Media)],
            is_error=bool(fields.flag("is_error")),
            cache=fields.document("cache_control"),
        )
    ]


_OF_SYSTEM: Final[_Readers] = {"text": _text}
_OF_SOURCE: Final[_Readers] = {"text": _text, "image": _image}
_OF_RESULT: Final[_Readers] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
}
_OF_USER: Final[_Readers] = {**_OF_RESULT, "tool_result": _tool_result}
_OF_ASSISTANT: Final[_Readers] = {
    "text": _text,
    "tool_use": _tool_use,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
}
