"""Images, sounds and files, in Google's words and in ours."""

from typing import Final

from model_service.providers.chat import Document, Media
from model_service.providers.dialects.google.signing import standard
from model_service.providers.dialects.google.wire import required, word
from model_service.providers.faults import CallFailed, invalid, unsupported
from model_service.providers.fields import Fields
from model_service.providers.translation import Notes

# https://ai.google.dev/gemini-api/docs/media-resolution
_RESOLUTIONS: Final = {
    "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_MEDIUM": "auto",
    "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "high",
}
#: The other way; `auto` is what happens without a word.
RESOLUTION_WORDS: Final = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}

# What the API takes (https://ai.google.dev/gemini-api/docs/file-input-methods), by ending.
_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "csv": "text/csv",
    "json": "application/json",
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
}

# Where only Google's own models can fetch from.
_AT_GOOGLE: Final = ("https://generativelanguage.googleapis.com/", "gs://", "files/")


def read_inline(fields: Fields, name: str, detail: str | None) -> Media:
    """A part's `inlineData`. Raises CallFailed."""
    blob = required(fields, name)
    media_type = blob.required_text("mimeType")
    data = blob.required_text("data")
    label = blob.text("displayName")
    blob.finish()
    kind = _kind(media_type, fields.name(name))
    return Media(kind, media_type, data=standard(data), name=label, detail=_of(kind, detail))


def read_file(fields: Fields, name: str, detail: str | None) -> Media:
    """A part's `fileData`. Raises CallFailed, also for a file that Google alone can get."""
    file = required(fields, name)
    url = file.required_text("fileUri")
    media_type = file.text("mimeType") or media_type_of(url)
    label = file.text("displayName")
    file.finish()
    if url.startswith(_AT_GOOGLE):
        raise unsupported(
            fields.name(name), "a file that is kept at Google is out of this provider's reach"
        )
    kind = _kind(media_type or "application/octet-stream", fields.name(name))
    return Media(kind, media_type, url=url, name=label, detail=_of(kind, detail))


def read_resolution(fields: Fields) -> str | None:
    """`mediaResolution`: a word, or an object with the word as its `level`."""
    if "mediaResolution" not in fields:
        return None
    value = fields.raw("mediaResolution")
    holder = value if isinstance(value, dict) else {"level": value}
    level = word(Fields(holder, fields.name("mediaResolution.")), "level")
    if level is None:
        return None
    if level not in _RESOLUTIONS:
        raise invalid(fields.name("mediaResolution"), "is none of the resolutions")
    return _RESOLUTIONS[level]


def media_part(media: Media, notes: Notes) -> Document:
    """A part for the API. Raises CallFailed for what it cannot be given."""
    if media.data is not None:
        if media.media_type is None:
            raise impossible(notes, "messages", "what is attached is of no known media type")
        return {"inlineData": {"mimeType": media.media_type, "data": media.data}}
    if media.url is None:
        raise impossible(notes, "messages", "a file that another provider keeps is out of reach")
    # The API fetches what is public, since January 2026.
    file = {"fileUri": media.url}
    media_type = media.media_type or media_type_of(media.url)
    if media_type is not None:
        file["mimeType"] = media_type
    return {"fileData": file}


def impossible(notes: Notes, field: str, reason: str) -> CallFailed:
    """The error for what cannot be left out of a request either, however lenient the call is."""
    notes.refuse(field, reason)
    return unsupported(field, reason)


def media_type_of(url: str) -> str | None:
    """The media type that a URL's ending tells of."""
    path = url.partition("?")[0].partition("#")[0]
    return _TYPES.get(path.rpartition("/")[2].rpartition(".")[2].lower())


def _kind(media_type: str, name: str) -> str:
    family = media_type.partition("/")[0].lower()
    if family == "video":
        raise unsupported(name, "video has no equivalent with this model's provider")
    return family if family in ("image", "audio") else "file"


def _of(kind: str, detail: str | None) -> str | None:
    return detail if kind == "image" else None
