"""Images and files, and answers that have a form."""

import base64
import json
from typing import Final

from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.scenario import IMAGE, Scenario, asks, says
from tests.conformance.gateway.wishes import Media, Told, User, Wish

SHAPE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["city", "count"],
    "additionalProperties": False,
}


_PDF: Final = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()


IMAGE_URL = Media("image", "image/png", url="https://example.com/a.png")


FILE = Media("file", "application/pdf", data=_PDF)


FILE_URL = Media("file", "application/pdf", url="https://example.com/a.pdf")


def _fits(told: Told, _: Cell) -> None:
    assert json.loads(told.text) == {"city": "city 1", "count": 1}
    assert told.finish == "stop"


def _is_json(told: Told, _: Cell) -> None:
    assert isinstance(json.loads(told.text), dict)


SCENARIOS: Final = (
    Scenario(
        "image",
        "Image by its data",
        asks(Wish([User("look", [IMAGE])]), "sees"),
        says("Images: 1"),
        "messages",
    ),
    Scenario(
        "image-url",
        "Image by its URL",
        asks(Wish([User("look", [IMAGE_URL])]), "sees"),
        says("Images: 1"),
        "messages",
    ),
    Scenario(
        "file",
        "PDF by its data",
        asks(Wish([User("read", [FILE])]), "sees"),
        says("Files: 1"),
        "messages",
    ),
    Scenario(
        "file-url",
        "PDF by its URL",
        asks(Wish([User("read", [FILE_URL])]), "sees"),
        says("Files: 1"),
        "messages",
    ),
    Scenario(
        "schema",
        "Answer by a JSON schema",
        asks(Wish([User("hello")], schema=SHAPE)),
        _fits,
        "output",
        azure=True,
    ),
    Scenario(
        "schema-streamed",
        "Answer by a JSON schema, streamed",
        asks(Wish([User("hello")], schema=SHAPE, stream=True)),
        _fits,
        "output",
    ),
    Scenario(
        "json",
        "Answer in JSON",
        asks(Wish([User("give me JSON")], json=True)),
        _is_json,
        "output",
    ),
)
