"""That the directory hears of every token that another process makes or revokes."""

from typing import Any, cast

from model_service.access.assembly import AccessTokens
from model_service.db.notices import Notices, OnChange
from model_service.db.uow import Database
from tests.access_tokens import HASHER, SetClock
from tests.fakes import RecordingAnnouncer, RecordingTrail


class Heard:
    """Where notices are subscribed to; word of tokens is so many seconds old."""

    def __init__(self) -> None:
        self.subscribed: list[tuple[str, OnChange]] = []
        self.asked: list[str] = []

    def subscribe(self, topic: str, on_change: OnChange) -> None:
        self.subscribed.append((topic, on_change))

    def age(self, topic: str) -> float:
        self.asked.append(topic)
        return 7.0


def test_the_directory_hears_of_changes_and_knows_how_old_its_word_is() -> None:
    heard = Heard()
    nothing: Any = None
    tokens = AccessTokens.build(
        cast("Database", nothing),
        HASHER,
        cast("Notices", heard),
        RecordingTrail(),
        RecordingAnnouncer(),
        SetClock(),
        nothing,
    )
    assert heard.subscribed == [("tokens", tokens.directory.on_change)]
    assert tokens.directory._age() == 7.0
    assert heard.asked == ["tokens"]
