"""Images and files between this dialect's parts and the intermediate form."""

from typing import Final

from model_service.providers.chat import Media
from model_service.providers.faults import invalid, unsupported
from model_service.providers.fields import Fields
from model_service.providers.translation import Document

_DETAILS: Final = ("auto", "low", "high", "original")
_FILE_DETAILS: Final = ("auto", "low", "high")
_SOUNDS: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}

# For a file whose data come bare, without a data URL that names their type.
_TYPES: Final = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "xml": "application/xml",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}
_ENDINGS: Final = {media_type: ending for ending, media_type in _TYPES.items()}


def read_image(part: Fields) -> Media:
    """An `input_image`."""
    url, file_id = part.text("image_url"), part.text("file_id")
    media = Media("image", detail=_detail(part, _DETAILS), cache=read_cache(part))
    if (url is None) == (file_id is None):
        raise invalid(part.name("image_url"), "either it or file_id is required")
    if url is not None:
        _place(media, url, part.name("image_url"))
    else:
        media.file_id = file_id
    return media


def read_file(part: Fields) -> Media:
    """An `input_file`."""
    data, url, file_id = part.text("file_data"), part.text("file_url"), part.text("file_id")
    media = Media(
        "file",
        name=part.text("filename"),
        detail=_detail(part, _FILE_DETAILS),
        cache=read_cache(part),
    )
    if (data is not None) + (url is not None) + (file_id is not None) != 1:
        raise invalid(
            part.name("file_data"), "exactly one of file_data, file_url and file_id is required"
        )
    if data is not None and not data.startswith("data:"):
        ending = (media.name or "").rpartition(".")[2].lower()
        media.media_type, media.data = _TYPES.get(ending, "application/pdf"), data
    elif data is not None:
        _place(media, data, part.name("file_data"))
    elif url is not None:
        _place(media, url, part.name("file_url"))
    else:
        media.file_id = file_id
    return media


def read_sound(part: Fields) -> Media:
    """An `input_audio`."""
    sound = part.object("input_audio")
    if sound is None:
        raise invalid(part.name("input_audio"), "is required")
    media = Media("audio", data=sound.required_text("data"))
    sound_format = sound.choice("format", _SOUNDS)
    if sound_format is None:
        raise invalid(sound.name("format"), "is required")
    media.media_type = _SOUNDS[sound_format]
    sound.finish()
    return media


def read_cache(part: Fields) -> Document | None:
    """An explicit breakpoint of the prompt cache, as the `cache_control` that Anthropic has.

    Its two lifetimes are 5 minutes and an hour, OpenAI's 30 minutes and 12 hours.
    """
    mark = part.object("prompt_cache_breakpoint")
    if mark is None:
        return None
    mark.choice("mode", ("explicit",))
    lifetime = mark.choice("ttl", ("30m", "12h"))
    mark.finish()
    return {"type": "ephemeral", "ttl": "1h"} if lifetime == "12h" else {"type": "ephemeral"}


def write_media(media: Media) -> Document:
    """An image or a file as a part of an item.

    Raises:
        CallFailed: it is a sound.
    """
    if media.kind == "image":
        return _write_image(media)
    if media.kind == "file":
        return _write_file(media)
    raise unsupported("messages", f"the Responses API takes no {media.kind}")


def _detail(part: Fields, words: tuple[str, ...]) -> str | None:
    """How closely it is looked at; None for `auto`, which is what all do unasked."""
    detail = part.choice("detail", words)
    return None if detail == "auto" else detail


def _write_image(media: Media) -> Document:
    part: Document = {"type": "input_image", "detail": media.detail or "auto"}
    if media.data is not None:
        part["image_url"] = f"data:{media.media_type or 'image/png'};base64,{media.data}"
    elif media.url is not None:
        part["image_url"] = media.url
    else:
        part["file_id"] = media.file_id
    return part


def _write_file(media: Media) -> Document:
    part: Document = {"type": "input_file"}
    if media.data is not None:
        media_type = media.media_type or "application/pdf"
        # The provider tells by the name's ending how to read the file, and requires one.
        part["filename"] = media.name or f"file.{_ENDINGS.get(media_type, 'txt')}"
        part["file_data"] = f"data:{media_type};base64,{media.data}"
    elif media.url is not None:
        part["file_url"] = media.url
    else:
        part["file_id"] = media.file_id
    if media.detail is not None:
        part["detail"] = media.detail
    return part


def _place(media: Media, url: str, name: str) -> None:
    """Put a URL, or the data that it holds, where they belong."""
    if not url.startswith("data:"):
        media.url = url
        return
    head, comma, data = url[5:].partition(",")
    media_type, *parameters = head.split(";")
    if not comma or not media_type or "base64" not in parameters:
        raise invalid(name, "a data URL must name its type and be in base64")
    media.media_type, media.data = media_type, data
