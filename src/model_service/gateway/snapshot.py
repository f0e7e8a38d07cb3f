"""What is registered, as every request reads it: immutable, in memory, replaced as a whole."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from model_service.gateway.limits import Rates
from model_service.gateway.policy import timeouts
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.policy import DEFAULT, Policy
from model_service.kernel.types import Provider
from model_service.providers.messages import Timeouts
from model_service.providers.price_schedule import Schedule
from model_service.providers.translation import Passthrough, Target
from model_service.providers.vendors import Vendor

if TYPE_CHECKING:
    from model_service.gateway.ports import ModelSource

#: Seconds without word from the database after which the snapshot is no longer believed: by
#: then a model may have been taken away. As long as tokens and leased keys are believed.
STALENESS_BOUND: Final = 300.0
#: The model that a caller asks for who leaves the choice to the registry.
DEFAULT_NAME: Final = "default"

_TIMEOUTS: Final = timeouts(DEFAULT, stream=False, guarded=False)


@dataclass(frozen=True, slots=True, eq=False)
class SnapshotModel:
    """A registered model, as far as calls need it. Compared by identity: a change makes another.

    `api_key_id` is the key that pays where the caller's user has none; `api` the provider's
    API to use where it has several.
    """

    id: UUID
    target: Target
    is_active: bool
    is_default: bool
    supports_streaming: bool
    created_at: datetime
    description: str | None = None
    base_url: str | None = None
    origin: str | None = None
    """That of the base URL: a key that is bound to another one does not go there."""
    api_key_id: UUID | None = None
    context_window: int | None = None
    capabilities: Mapping[str, bool | None] = field(default_factory=dict)
    fallbacks: tuple[str, ...] = ()
    policy: Policy = DEFAULT
    """How patient calls are with it, unless they say so themselves."""
    timeouts: Timeouts = _TIMEOUTS
    """How long its attempts may take by that policy, with nobody else to answer."""
    rates: Rates | None = None
    """How often each user may call it."""
    prices: Schedule | None = None
    unchanged: dict[str, Passthrough] = field(default_factory=dict, repr=False)
    """How chats pass to it unchanged, by the doors where that was found."""
    vendor: Vendor | None = None
    """Who serves it, where that is one of the known vendors."""

    @property
    def name(self) -> str:
        """The registered name."""
        return self.target.name

    @property
    def provider(self) -> Provider:
        """Who serves it."""
        return self.target.provider


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All models at one moment."""

    by_name: Mapping[str, SnapshotModel]
    by_id: Mapping[UUID, SnapshotModel]
    default: SnapshotModel | None

    @classmethod
    def of(cls, models: Sequence[SnapshotModel]) -> "Snapshot":
        """From all models."""
        return cls(
            {model.name: model for model in models},
            {model.id: model for model in models},
            next((model for model in models if model.is_default and model.is_active), None),
        )

    def with_model(self, model_id: UUID, model: SnapshotModel | None) -> "Snapshot":
        """The same with one model as it is now; None: it is gone."""
        models = dict(self.by_id)
        if model is None:
            models.pop(model_id, None)
        else:
            models[model_id] = model
        return Snapshot.of(list(models.values()))

    def find(self, name: str) -> SnapshotModel | None:
        """The model of that name, active or not; `default` is the active default."""
        model = self.by_name.get(name)
        return self.default if model is None and name == DEFAULT_NAME else model


class Registered:
    """The present snapshot, kept current by change notices."""

    def __init__(self, source: "ModelSource", age: Callable[[], float]) -> None:
        """`age` gives the seconds since all changes until then were known here."""
        self._source = source
        self._age = age
        self._snapshot = Snapshot.of(())

    @property
    def age(self) -> float:
        """Seconds for which changes may have been missed."""
        return self._age()

    def current(self) -> Snapshot:
        """The snapshot.

        Raises:
            DatabaseUnavailable: nothing was heard from the database for `STALENESS_BOUND`.
        """
        if self._age() > STALENESS_BOUND:
            raise DatabaseUnavailable
        return self._snapshot

    async def load(self) -> None:
        """Read all models anew.

        Raises:
            DatabaseUnavailable: they cannot be read; those known stay.
        """
        models = await self._source.all()
        self._snapshot = Snapshot.of(models)

    async def on_change(self, subject: str | None) -> None:
        """Take up a change notice: of one model, or of any.

        Raises:
            DatabaseUnavailable: what changed cannot be read.
        """
        if subject is None:
            await self.load()
            return
        model_id = UUID(subject)
        model = await self._source.one(model_id)
        self._snapshot = self._snapshot.with_model(model_id, model)
