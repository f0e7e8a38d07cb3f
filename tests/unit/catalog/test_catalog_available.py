"""What a provider offers: whose key asks, how often, and what is said when it fails."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from model_service.catalog import listings
from model_service.catalog.domain import (
    ActiveKey,
    AvailableModel,
    Capabilities,
    ModelFacts,
    ModelStore,
)
from model_service.catalog.listings import Listings, Question
from model_service.catalog.service import ModelService
from model_service.kernel.audit import Purpose
from model_service.kernel.errors import (
    Conflict,
    ConnectFailed,
    EgressRefused,
    InvalidInput,
    KeyInactive,
    KeyRefused,
    NotFound,
    ProviderUnreachable,
    ServiceError,
    UpstreamClosed,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from model_service.kernel.provider import OfferedModel
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.kernel.unit import Transactions
from tests.fakes import RecordingTrail

TOOLS: Capabilities = {"tools": True}


@dataclass
class SetClock:
    moment: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def pass_(self, **amount: float) -> None:
        self.moment += timedelta(**amount)


@dataclass(frozen=True)
class FakeKey:
    id: UUID = field(default_factory=uuid4)
    key_version: int = 1
    is_valid: bool = True
    endpoint: str | None = None
    share_id: UUID | None = None
    models: Collection[str] | None = None


@dataclass
class FakeKeys:
    keys: dict[tuple[str, Provider], FakeKey] = field(default_factory=dict)
    reveals: list[UUID] = field(default_factory=list)
    failure: ServiceError | None = None
    earlier: Secret[str] | None = None
    refusals: list[UUID] = field(default_factory=list)

    async def find_to_use(self, user_id: str, provider: Provider) -> FakeKey | None:
        return self.keys.get((user_id, provider))

    async def find_to_reveal(self, user_id: str, provider: Provider, model: str) -> FakeKey | None:
        raise AssertionError("a listing gives no value out")

    async def reveal(self, held: ActiveKey, purpose: Purpose) -> Secret[str]:
        assert purpose is Purpose.LISTING
        if self.failure:
            raise self.failure
        self.reveals.append(held.id)
        return Secret(f"value of {held.id}")

    async def refused(self, held: ActiveKey) -> Secret[str] | None:
        self.refusals.append(held.id)
        return self.earlier

    async def fallback(self, held: ActiveKey) -> Secret[str] | None:
        return self.earlier


@dataclass
class FakeLister:
    """Answers when the gate is open; notes who asked with what."""

    offers: Sequence[OfferedModel] = (OfferedModel("b", "B"), OfferedModel("a", "A"))
    failure: Exception | None = None
    asked: list[tuple[Provider, str | None, str | None]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def list_models(
        self, provider: Provider, key: Secret[str] | None, endpoint: str | None
    ) -> Sequence[OfferedModel]:
        self.asked.append((provider, key.reveal() if key else None, endpoint))
        self.begun.set()
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return self.offers


class FakeBook:
    async def load(self) -> None:
        pass

    def facts(self, provider: Provider, model_id: str, base_url: str | None = None) -> ModelFacts:
        return ModelFacts(8192, TOOLS) if model_id == "a" else ModelFacts()


@dataclass
class Setting:
    """A service whose outside is made up."""

    clock: SetClock = field(default_factory=SetClock)
    keys: FakeKeys = field(default_factory=FakeKeys)
    lister: FakeLister = field(default_factory=FakeLister)

    def __post_init__(self) -> None:
        # Listing needs no stored model and changes none.
        nowhere, nothing = cast(ModelStore, None), cast(Transactions, None)
        self.models = ModelService(
            nothing,
            nowhere,
            RecordingTrail(),
            self.keys,
            self.lister,
            self.clock,
            FakeBook(),
        )
        self.key = self.give(Provider.OPENAI)

    def give(self, provider: Provider, user_id: str = "user", **values: Any) -> FakeKey:
        key = FakeKey(**values)
        self.keys.keys[user_id, provider] = key
        return key


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_offers_come_by_name_with_what_the_book_knows(setting: Setting) -> None:
    first, second = await setting.models.available(Provider.OPENAI, "user")
    assert first == AvailableModel(OfferedModel("a", "A"), ModelFacts(8192, TOOLS))
    assert second == AvailableModel(OfferedModel("b", "B"), ModelFacts())
    assert setting.lister.asked == [(Provider.OPENAI, f"value of {setting.key.id}", None)]


async def test_for_five_minutes_nothing_is_asked_or_revealed_again(setting: Setting) -> None:
    first = await setting.models.available(Provider.OPENAI, "user")
    setting.clock.pass_(minutes=5, milliseconds=-1)
    assert await setting.models.available(Provider.OPENAI, "user") == first
    assert (len(setting.lister.asked), len(setting.keys.reveals)) == (1, 1)
    setting.clock.pass_(milliseconds=1)
    await setting.models.available(Provider.OPENAI, "user")
    assert (len(setting.lister.asked), len(setting.keys.reveals)) == (2, 2)


async def test_a_clock_set_back_does_not_keep_an_old_answer_alive(setting: Setting) -> None:
    await setting.models.available(Provider.OPENAI, "user")
    setting.clock.pass_(days=-1)
    await setting.models.available(Provider.OPENAI, "user")
    assert len(setting.lister.asked) == 2


async def test_a_replaced_key_value_is_asked_with_anew(setting: Setting) -> None:
    await setting.models.available(Provider.OPENAI, "user")
    setting.keys.keys["user", Provider.OPENAI] = replace(setting.key, key_version=2)
    await setting.models.available(Provider.OPENAI, "user")
    assert len(setting.lister.asked) == 2


async def test_one_users_answer_is_not_anothers(setting: Setting) -> None:
    other = setting.give(Provider.OPENAI, "other")
    await setting.models.available(Provider.OPENAI, "user")
    await setting.models.available(Provider.OPENAI, "other")
    assert [asked[1] for asked in setting.lister.asked] == [
        f"value of {setting.key.id}",
        f"value of {other.id}",
    ]


async def test_a_remembered_answer_does_not_outlive_the_key(setting: Setting) -> None:
    await setting.models.available(Provider.OPENAI, "user")
    setting.keys.keys.clear()
    with pytest.raises(NotFound):
        await setting.models.available(Provider.OPENAI, "user")


async def test_simultaneous_questions_share_one_call(setting: Setting) -> None:
    setting.lister.gate.clear()
    waiting = [asyncio.create_task(_available(setting, Provider.OPENAI, "user")) for _ in range(10)]
    await setting.lister.begun.wait()
    setting.lister.gate.set()
    answers = await asyncio.gather(*waiting)
    assert all(answer == answers[0] for answer in answers)
    assert (len(setting.lister.asked), len(setting.keys.reveals)) == (1, 1)


async def test_whoever_leaves_does_not_end_the_question_of_the_others(setting: Setting) -> None:
    setting.lister.gate.clear()
    leaving, staying = (
        asyncio.create_task(_available(setting, Provider.OPENAI, "user")) for _ in range(2)
    )
    await setting.lister.begun.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    setting.lister.gate.set()
    assert len(await staying) == 2
    assert len(setting.lister.asked) == 1


async def test_closing_gives_up_the_questions_under_way(setting: Setting) -> None:
    setting.lister.gate.clear()
    waiting = asyncio.create_task(_available(setting, Provider.OPENAI, "user"))
    await setting.lister.begun.wait()
    await setting.models.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_failure_reaches_everybody_who_waits_and_is_not_remembered(
    setting: Setting,
) -> None:
    setting.lister.gate.clear()
    setting.lister.failure = ConnectFailed()
    waiting = [asyncio.create_task(_available(setting, Provider.OPENAI, "user")) for _ in range(3)]
    await setting.lister.begun.wait()
    setting.lister.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, ProviderUnreachable) for result in results)
    setting.lister.failure = None
    assert len(await setting.models.available(Provider.OPENAI, "user")) == 2


async def test_ollama_needs_neither_user_nor_key_and_is_asked_once_for_all(
    setting: Setting,
) -> None:
    setting.give(Provider.OLLAMA)
    for user in (None, "user", "other"):
        await setting.models.available(Provider.OLLAMA, user)
    assert setting.lister.asked == [(Provider.OLLAMA, None, None)]
    assert setting.keys.reveals == []


@pytest.mark.parametrize("provider", [p for p in Provider if p is not Provider.OLLAMA])
async def test_every_other_provider_needs_a_user_and_a_key(
    setting: Setting, provider: Provider
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await setting.models.available(provider, None)
    assert [fault.field for fault in caught.value.errors] == ["userId"]
    with pytest.raises(NotFound, match=f"no active valid key for provider '{provider}'"):
        await setting.models.available(provider, "nobody")
    assert setting.lister.asked == []


async def test_a_key_that_the_provider_refused_before_does_not_ask(setting: Setting) -> None:
    setting.give(Provider.GOOGLE, is_valid=False)
    with pytest.raises(NotFound):
        await setting.models.available(Provider.GOOGLE, "user")
    assert setting.keys.reveals == []


@pytest.mark.parametrize("failure", [NotFound(), KeyInactive()])
async def test_a_key_that_goes_away_meanwhile_is_as_good_as_none(
    setting: Setting, failure: ServiceError
) -> None:
    setting.keys.failure = failure
    with pytest.raises(NotFound, match="no active valid key"):
        await setting.models.available(Provider.OPENAI, "user")


@pytest.mark.parametrize("provider", [Provider.AZURE, Provider.CUSTOM])
async def test_a_provider_without_a_common_address_is_asked_where_the_key_says(
    setting: Setting, provider: Provider
) -> None:
    setting.give(provider)
    with pytest.raises(Conflict, match=r"metadata\.endpoint"):
        await setting.models.available(provider, "user")
    assert setting.keys.reveals == []
    key = setting.give(provider, endpoint="https://mine.example.com")
    await setting.models.available(provider, "user")
    assert setting.lister.asked == [(provider, f"value of {key.id}", "https://mine.example.com")]


@pytest.mark.parametrize(
    ("failure", "verdict"),
    [
        (UpstreamTimeout("first_byte"), "timeout"),
        (ConnectFailed(), "unreachable"),
        (EgressRefused(), "unreachable"),
        (UpstreamProtocolError(), "unexpected_answer"),
        (UpstreamClosed(), "unexpected_answer"),
        (UpstreamTooLarge(), "unexpected_answer"),
    ],
)
async def test_no_answer_is_an_error_that_names_provider_and_verdict(
    setting: Setting, failure: Exception, verdict: str
) -> None:
    setting.lister.failure = failure
    with pytest.raises(ProviderUnreachable, match=f"'OPENAI' .* \\({verdict}\\)") as caught:
        await setting.models.available(Provider.OPENAI, "user")
    assert caught.value.retry_after > 0


@pytest.mark.parametrize("failure", [KeyRefused("by OPENAI"), ProviderUnreachable("OPENAI: 429")])
async def test_the_providers_own_verdict_is_passed_on(
    setting: Setting, failure: ServiceError
) -> None:
    setting.lister.failure = failure
    with pytest.raises(type(failure), match="OPENAI"):
        await setting.models.available(Provider.OPENAI, "user")


async def test_a_restricted_key_is_not_reported_as_refused(setting: Setting) -> None:
    setting.keys.earlier = Secret("the value before")
    setting.lister.failure = KeyRefused("by OPENAI", is_restricted=True)
    with pytest.raises(KeyRefused):
        await setting.models.available(Provider.OPENAI, "user")
    assert setting.keys.refusals == []
    assert len(setting.lister.asked) == 1


async def test_a_refused_key_is_tried_once_with_the_value_before(setting: Setting) -> None:
    setting.keys.earlier = Secret("the value before")
    setting.lister.failure = KeyRefused("by OPENAI")
    with pytest.raises(KeyRefused):
        await setting.models.available(Provider.OPENAI, "user")
    assert setting.keys.refusals == [setting.key.id]
    assert [value for _, value, _ in setting.lister.asked] == [
        f"value of {setting.key.id}",
        "the value before",
    ]


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "MOST_KEPT", 5)
    asked: list[int] = []
    remembered = Listings(SetClock())

    async def ask(number: int, size: int) -> tuple[AvailableModel, ...]:
        asked.append(number)
        return (AvailableModel(OfferedModel("a", "A"), ModelFacts()),) * size

    async def question(number: int, size: int = 2) -> None:
        key = Question(Provider.OPENAI, UUID(int=number))
        await remembered.answer(key, lambda: ask(number, size))

    await question(1)
    await question(2)
    await question(1)  # used again, so the other one is older now
    await question(3)  # 6 models: one too many
    await question(1)
    assert asked == [1, 2, 3]
    await question(2)
    assert asked == [1, 2, 3, 2]
    await question(4, size=100)  # larger than everything kept: given, but not kept
    await question(4, size=100)
    await question(2)
    assert asked == [1, 2, 3, 2, 4, 4]


async def _available(setting: Setting, provider: Provider, user: str) -> listings.Listing:
    return await setting.models.available(provider, user)
