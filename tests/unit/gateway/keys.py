"""A key source that tests steer, and models to call."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

from model_service.gateway.ports import UsableKey
from model_service.gateway.snapshot import SnapshotModel
from model_service.kernel.errors import ServiceError
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider, uuid7
from model_service.providers.translation import Target

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Time:
    """A clock that stands until it is moved; gives both kinds of time."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(NOW.timestamp() + self.seconds - 1000.0, UTC)


class Source:
    """`KeySource` in memory. `gate` and `desk`, when closed, hold keys and values back."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, Provider], list[UsableKey]] = {}
        self.single: dict[UUID, UsableKey] = {}
        self.before: dict[UUID, str] = {}
        self.looks = 0
        self.leases: list[UUID] = []
        self.failure: ServiceError | None = None
        self.gone: dict[UUID, ServiceError] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.desk = asyncio.Event()
        self.desk.set()
        self.lending = asyncio.Event()

    def add(self, user: str, provider: Provider = Provider.OPENAI, **more: object) -> UsableKey:
        key = UsableKey(uuid7(), 1, provider, **more)  # type: ignore[arg-type]
        self.keys.setdefault((user, provider), []).append(key)
        return key

    async def usable(self, user_id: str, provider: Provider) -> list[UsableKey]:
        self.looks += 1
        found = list(self.keys.get((user_id, provider), ()))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return found

    async def by_id(self, key_id: UUID) -> UsableKey | None:
        self.looks += 1
        return self.single.get(key_id)

    async def lease(self, key: UsableKey) -> Secret[str]:
        self.leases.append(key.id)
        self.lending.set()
        await self.desk.wait()
        if self.failure is not None:
            raise self.failure
        if key.id in self.gone:
            raise self.gone[key.id]
        return Secret(f"value of {key.id}")

    async def refused(self, key: UsableKey) -> Secret[str] | None:
        value = self.before.get(key.id)
        return None if value is None else Secret(value)


def model(name: str = "m", provider: Provider = Provider.OPENAI, **more: object) -> SnapshotModel:
    values: dict[str, object] = {
        "id": uuid7(),
        "target": Target(name, provider, f"upstream-{name}", 4096),
        "is_active": True,
        "is_default": False,
        "supports_streaming": True,
        "created_at": NOW,
    }
    return SnapshotModel(**(values | more))  # type: ignore[arg-type]
