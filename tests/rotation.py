"""The parts of rotation on a real database, with a clock and a provider that tests set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from model_service.db.keyring import SqlKeyringStore
from model_service.db.uow import Database
from model_service.kernel.administration import KeyAdministration
from model_service.kernel.errors import InvalidInput
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider, uuid7
from model_service.keys.automatic_rotation import Point
from model_service.keys.domain import ProviderKey, key_prefix
from model_service.keys.rotation_assembly import Foundation, KeyRotation
from model_service.keys.rotation_store import SqlRotationStore
from model_service.keys.sealer import Sealer
from model_service.keys.store import Preparation, SqlKeyStore
from model_service.keys.verification import Verifier
from model_service.vault.box import KeyringBox
from model_service.vault.keyring import Keyring, open_keyring
from tests.conftest import ENCRYPTION_SECRET
from tests.fakes import RecordingAnnouncer, RecordingTrail

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class SetClock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment

    def advance(self, **span: float) -> None:
        self.moment += timedelta(**span)


class SetGate:
    """A provider that takes every value but those in `refused`."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.verdict = Verdict.VALID
        self.asked: list[tuple[str, str | None]] = []

    def checked_endpoint(self, provider: Provider, endpoint: str) -> str:
        if provider is not Provider.AZURE:
            raise InvalidInput
        return endpoint

    async def validate(self, provider: Provider, key: Secret[str], endpoint: str | None) -> Verdict:
        self.asked.append((key.reveal(), endpoint))
        return Verdict.INVALID if key.reveal() in self.refused else self.verdict


@dataclass
class Bench:
    """Rotation, whole but for the provider, the audit trail and the webhooks."""

    database: Database
    keyring: Keyring
    clock: SetClock = field(default_factory=SetClock)
    gate: Any = field(default_factory=SetGate)
    trail: RecordingTrail = field(default_factory=RecordingTrail)
    announcer: RecordingAnnouncer = field(default_factory=RecordingAnnouncer)
    administrations: Mapping[Provider, KeyAdministration] = field(default_factory=dict)
    at: Callable[[Point], None] = lambda _: None
    prepare: Preparation | None = None

    def __post_init__(self) -> None:
        self.build()

    def build(self) -> None:
        """Make everything anew, as a process that has just started does."""
        self.sealer = Sealer(self.keyring)
        self.keys = SqlKeyStore(self.database, self.clock)
        self.store = SqlRotationStore(self.database, self.clock)
        self.parts = KeyRotation.build(
            Foundation(
                database=self.database,
                keys=self.keys,
                sealer=self.sealer,
                box=KeyringBox(self.keyring),
                verifier=Verifier(self.gate, lambda *_: None),
                administrations=self.administrations,
                trail=self.trail,
                announcer=self.announcer,
                clock=self.clock,
                on_value=lambda _: None,
                prepare=self.prepare,
                at=self.at,
            )
        )
        self.service = self.parts.service
        self.retirer = self.parts.retirer
        self.credentials = self.parts.credentials

    async def key(self, value: str = "sk-sandbox-first-value-1", **changes: Any) -> ProviderKey:
        """A key as `POST /api/api-keys` stores it."""
        now = self.clock.now()
        fields: dict[str, Any] = {
            "id": uuid7(),
            "user_id": "user-1",
            "provider": Provider.OPENAI,
            "key_name": f"key-{uuid7()}",
            "key_version": 1,
            "key_prefix": key_prefix(Secret(value)),
            "last_used_at": None,
            "usage_count": 0,
            "is_active": True,
            "is_valid": True,
            "metadata": None,
            "created_at": now,
            "updated_at": now,
            "expires_at": None,
            "validated_at": now,
        }
        key = ProviderKey(**(fields | changes))
        await self.keys.add(self.sealer.seal(key, Secret(value)))
        return key

    async def value(self, key: ProviderKey) -> str:
        """The value in use now."""
        (sealed,) = await self.keys.get_sealed([key.id])
        return self.sealer.open(sealed).reveal()

    async def fallback(self, key: ProviderKey) -> str | None:
        """The value that calls may fall back to."""
        fallback = await self.service.previous_value(key.id)
        return None if fallback is None else fallback.value.reveal()

    async def states(self, key: ProviderKey) -> list[tuple[int, str]]:
        """The journal of the key, oldest first."""
        steps = await self.store.history(key.id, 100)
        return [(step.version, step.state.value) for step in reversed(steps)]

    async def stored_versions(self, key: ProviderKey) -> list[tuple[int, str]]:
        """The values kept beside the one in use, newest first."""
        return [(v.version, v.state.value) for v in await self.store.versions(key.id)]


async def keyring_of(database: Database) -> Keyring:
    """The keyring that the tests' database has, made if need be."""
    return await open_keyring(SqlKeyringStore(database), Secret(ENCRYPTION_SECRET))
