"""What messages hold, as callers of chat completions write it.

Source: https://developers.openai.com/api/reference/resources/chat (content parts).
"""

from collections.abc import Callable, Mapping
from typing import Final

from model_service.providers.chat import Document, Media, Part, Refusal, Text
from model_service.providers.faults import invalid, unsupported
from model_service.providers.fields import Fields

PartReader = Callable[[Fields], Part]

_DETAILS: Final = frozenset(("auto", "low", "high", "original"))

#: Media types of the sounds that have another name than their format.
_SOUNDS: Final = {"mp3": "audio/mpeg"}

# Of files sent as bare base64, whose name alone says what they are.
_FILE_TYPES: Final = {
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "md": "text/markdown",
    "txt": "text/plain",
    "xml": "text/xml",
}
_PDF: Final = "application/pdf"


def read_content(fields: Fields, readers: Mapping[str, PartReader]) -> list[Part]:
    """The parts of a message's `content`; one for a string, none where it is empty or null.

    Raises:
        CallFailed: it is neither, or a part has no meaning here.
    """
    name = fields.name("content")
    value = fields.raw("content")
    cache = read_cache(fields)  # LiteLLM's callers mark a whole message
    if value is None:
        return []
    if isinstance(value, str):
        return [Text(value, cache)] if value else []
    if not isinstance(value, list):
        raise invalid(name, "must be a string or an array of parts")
    parts = [_read_part(Fields(item, f"{name}[{i}]."), readers) for i, item in enumerate(value)]
    if cache is not None and parts:
        last = parts[-1]
        if isinstance(last, Text | Media) and last.cache is None:
            last.cache = cache
    return parts


def _read_part(fields: Fields, readers: Mapping[str, PartReader]) -> Part:
    kind = fields.required_text("type")
    reader = readers.get(kind)
    if reader is None:
        known = ", ".join(sorted(readers))
        raise unsupported(
            fields.name("type"), f"'{kind[:100]}' has no place here, where {known} may stand"
        )
    part = reader(fields)
    fields.finish()
    return part


def read_cache(fields: Fields) -> Document | None:
    """Anthropic's mark as it is, or what OpenAI's own means there: a prefix ends here."""
    mark = fields.document("cache_control")
    breakpoint_ = fields.document("prompt_cache_breakpoint")
    return {"type": "ephemeral"} if mark is None and breakpoint_ is not None else mark


def _text(fields: Fields) -> Part:
    return Text(fields.required_text("text"), read_cache(fields))


def _refusal(fields: Fields) -> Part:
    return Refusal(fields.required_text("refusal"))


def _image(fields: Fields) -> Part:
    name = fields.name("image_url")
    value = fields.raw("image_url")
    if isinstance(value, str):  # as many vendors have it
        value = {"url": value}
    inner = Fields(value, f"{name}.")
    url = inner.required_text("url")
    detail = inner.choice("detail", _DETAILS)
    inner.finish()
    media = _located("image", url, f"{name}.url")
    media.detail = None if detail == "auto" else detail
    media.cache = read_cache(fields)
    return media


def _audio(fields: Fields) -> Part:
    inner = Fields(fields.raw("input_audio"), fields.name("input_audio."))
    data = inner.required_text("data")
    form = inner.required_text("format").lower()
    inner.finish()
    media_type = _SOUNDS.get(form, f"audio/{form}")
    return Media("audio", media_type=media_type, data=data, cache=read_cache(fields))


def _file(fields: Fields) -> Part:
    inner = Fields(fields.raw("file"), fields.name("file."))
    data, file_id = inner.text("file_data"), inner.text("file_id")
    name = inner.text("filename")
    inner.finish()
    if data is None:
        if file_id is None:
            raise invalid(fields.name("file"), "must have file_data or file_id")
        media = Media("file", file_id=file_id)
    elif data.startswith(("data:", "https://", "http://")):
        media = _located("file", data, fields.name("file.file_data"))
    else:
        ending = (name or "").rpartition(".")[2].lower()
        media = Media("file", media_type=_FILE_TYPES.get(ending, _PDF), data=data)
    media.name, media.cache = name, read_cache(fields)
    return media


def _located(kind: str, url: str, path: str) -> Media:
    """What a URL is of: its bytes, when it is one of data."""
    if url.startswith(("https://", "http://")):
        return Media(kind, url=url)
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not comma:
        raise invalid(path, "must be a URL that begins with https: or data:")
    media_type, _, encoding = head[5:].rpartition(";")
    if encoding != "base64":
        raise invalid(path, "must have its data in base64")
    # Parameters, such as a charset, are no part of the type.
    media_type = media_type.partition(";")[0].strip().lower()
    if not media_type:
        raise invalid(path, "must say the media type of its data")
    return Media(kind, media_type=media_type, data=data)


#: What may stand in a message of a role.
IN_SYSTEM: Final[Mapping[str, PartReader]] = {"text": _text}
IN_ASSISTANT: Final[Mapping[str, PartReader]] = {"text": _text, "refusal": _refusal}
IN_USER: Final[Mapping[str, PartReader]] = {
    "text": _text,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
}
IN_TOOL: Final[Mapping[str, PartReader]] = {"text": _text, "image_url": _image, "file": _file}
