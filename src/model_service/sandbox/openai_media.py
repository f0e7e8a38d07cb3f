"""Which images and files OpenAI's API takes. Nothing is downloaded here.

A URL whose host ends in `.invalid` (RFC 2606, section 2) is one that cannot be downloaded.
"""

import base64
from typing import Final
from urllib.parse import urlsplit

from model_service.sandbox.openai_shapes import Refused, wrong_type

_IMAGE_EXAMPLE: Final = (
    "Expected a base64-encoded data URL with an image MIME type "
    "(e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU=')"
)
_FILE_EXAMPLE: Final = (
    "Expected a base64-encoded data URL with an application/pdf MIME type "
    "(e.g. 'data:application/pdf;base64,aW1nIGJ5dGVzIGhlcmU=')"
)
_SIGNATURES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")


def image_url(value: object, path: str) -> None:
    """An image's URL, of either kind. Raises Refused."""
    value = _string(value, path)
    if value.startswith("data:"):
        data = _data(value, path, _IMAGE_EXAMPLE, "image/")
        if not _is_image(data):
            raise Refused(
                "You uploaded an unsupported image. Please make sure your image has of one the "
                "following formats: ['png', 'jpeg', 'gif', 'webp'].",
                None,
                "invalid_image_format",
            )
        return
    _remote(value, path, f"Invalid image URL: '{path}'. {_IMAGE_EXAMPLE}", "invalid_image_url")


def file_url(value: object, path: str) -> None:
    """A file's URL, to be downloaded. Raises Refused."""
    value = _string(value, path)
    _remote(value, path, f"Invalid '{path}'. Expected a valid URL", "invalid_url")


def file_data(value: object, path: str) -> None:
    """A file as a data URL. Raises Refused."""
    value = _string(value, path)
    if not value.startswith("data:"):
        raise Refused(
            f"Invalid file data: '{path}'. {_FILE_EXAMPLE}, but got a value without the 'data:' "
            "prefix.",
            path,
            "invalid_value",
        )
    _data(value, path, _FILE_EXAMPLE, "")


def file_id(value: object, path: str) -> None:
    """The id of a file that was uploaded; whether it was is not looked at. Raises Refused."""
    if not _string(value, path).startswith("file-"):
        raise Refused(
            f"Invalid '{path}': '{value}'. Expected an ID that begins with 'file-'.",
            path,
            "invalid_value",
        )


def _string(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    return value


def _data(url: str, path: str, expected: str, family: str) -> bytes:
    head, _, encoded = url.removeprefix("data:").partition(",")
    media_type, _, encoding = head.partition(";")
    if not media_type.startswith(family):
        fault = f"unsupported MIME type '{media_type}'"
    elif encoding != "base64":
        fault = "a value without the ';base64' marker"
    elif not encoded:
        fault = "empty base64-encoded bytes"
    else:
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError:
            fault = "an invalid base64-encoded value"
    raise Refused(f"Invalid '{path}'. {expected}, but got {fault}.", path, "invalid_value")


def _remote(url: str, path: str, expected: str, code: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = None, None
    if parts is None or parts.scheme not in {"http", "https"} or not host:
        raise Refused(
            f"{expected}, but got a value without the 'data:' prefix.", path, "invalid_value"
        )
    if host.endswith(".invalid"):
        raise Refused(f"Error while downloading {url}.", "url", code)


def _is_image(data: bytes) -> bool:
    """Whether these are the bytes of a PNG, JPEG, GIF or WebP, by how they begin."""
    return data.startswith(_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
