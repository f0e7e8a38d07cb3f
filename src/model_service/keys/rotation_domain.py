"""What rotation of a provider key is: its states, its journal, its policy, and what it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import ProviderKey, SealedKey

#: How long the old value stays usable when nobody says.
DEFAULT_GRACE: Final = timedelta(days=1)
#: The longest grace period.
LONGEST_GRACE: Final = timedelta(days=30)


class StepState(StrEnum):
    """What becomes of one value of a key."""

    PENDING = "pending"
    """The value is about to be asked for or about; the former one is in use."""
    ACTIVE = "active"
    """The value is in use."""
    RETIRING = "retiring"
    """The value was replaced and is the fallback until its grace ends."""
    REVOKED = "revoked"
    """The value is used no more and is being taken back from its provider."""
    DESTROYED = "destroyed"
    """The value is gone from here, or never came to be stored."""


class IssueState(StrEnum):
    """How far a value that this service made a provider give out has come."""

    REQUESTED = "requested"
    """It may exist at the provider; nobody here knows it."""
    ISSUED = "issued"
    """It is stored, pending."""
    IN_USE = "in_use"
    """It is active or retiring."""
    WITHDRAWING = "withdrawing"
    """It is to be taken back. Once that is done there is no row any more."""


class Mode(StrEnum):
    """What happens when a rotation is due."""

    REMIND = "remind"
    AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the journal, written before the step is taken."""

    id: UUID
    key_id: UUID
    rotation_id: UUID
    version: int
    state: StepState
    automatic: bool
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation under way: of which key, which value comes, and who began it."""

    id: UUID
    key: ProviderKey
    automatic: bool = False

    @property
    def version(self) -> int:
        """The version of the value that comes."""
        return self.key.key_version + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """A value of a key other than the one in use: pending, retiring or revoked.

    `endpoint` is the one it was sealed for. `retire_at` is when the grace ends, or when the
    next try to take the value back from its provider is made. A grace does not end while the
    value in use is known to be refused.
    """

    key_id: UUID
    version: int
    state: StepState
    encrypted_key: str
    key_prefix: str
    endpoint: str | None
    retire_at: datetime | None

    def is_fallback(self, key: ProviderKey, now: datetime) -> bool:
        """Whether calls may use it: within its grace, and bound to where the key is used."""
        return (
            self.state is StepState.RETIRING
            and self.retire_at is not None
            and (self.retire_at > now or not key.is_valid)
            and self.endpoint == key.endpoint
        )

    def is_held(self, key: ProviderKey, now: datetime) -> bool:
        """Whether its grace goes on because the value in use is refused: it may be the last."""
        is_over = self.retire_at is not None and self.retire_at <= now
        return self.state is StepState.RETIRING and is_over and not key.is_valid


@dataclass(frozen=True, slots=True)
class Kept:
    """What becomes of a value that is replaced: it is RETIRING or REVOKED, until a moment."""

    state: StepState
    retire_at: datetime


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a key is to expire from a rotation on; `at` None means never."""

    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When and how a key is to be rotated.

    `every_days` None means that it is never due. `credential_id` names the administrative
    credential for automatic rotation (None: the newest one of the provider), `target` what it
    works on there: a project of OpenAI's, an account of Azure's. After an attempt that failed,
    `reason` says why and `retry_at` when the next one is made; `manual` says that somebody has
    to do something first, or has to rotate by hand for ever.
    """

    key_id: UUID
    mode: Mode
    every_days: int | None = None
    grace: timedelta | None = None
    credential_id: UUID | None = None
    target: str | None = None
    due_at: datetime | None = None
    retry_at: datetime | None = None
    reason: str | None = None
    manual: bool = False


@dataclass(frozen=True, slots=True)
class Overview:
    """The rotation of one key as it stands. `state` is one of `STANDINGS`; no value is in it."""

    key: ProviderKey
    state: str
    reason: str | None
    policy: Policy | None
    rotated_at: datetime | None
    retiring: StoredVersion | None
    history: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Fallback:
    """The value before the present one, for as long as it may be used."""

    version: int
    value: Secret[str]


#: What `Overview.state` may be: nothing under way; a new value is being obtained; the old one is
#: in its grace; a value is being taken back; automatic rotation is wished for but not possible.
STANDINGS: Final = ("active", "pending", "retiring", "revoked", "manual")


#: Why a grace goes on after its end.
HELD: Final = (
    "the grace is over, but the provider refuses the value in use: the old one stays usable until"
    " the key is rotated again or its value validates"
)


class ValueSealer(Protocol):
    """Seals key values to their rows, and opens them again."""

    def seal(self, key: ProviderKey, value: Secret[str]) -> SealedKey:
        """The key with its ciphertext, bound to id, user, provider, version and endpoint."""
        ...

    def open(self, sealed: SealedKey) -> Secret[str]:
        """The value. Raises `IntegrityFailure`."""
        ...

    def mark(self, sealed: SealedKey) -> tuple[str, int]:
        """The ciphertext's SHA-256 and its term, by which the audit trail knows it."""
        ...


class RotationStore(Protocol):
    """Where the journal, the policies and the values not in use are kept."""

    async def lock(self, key_id: UUID) -> ProviderKey | None:
        """The key, held against every other change until the transaction ends."""
        ...

    async def note(self, *steps: Step) -> None:
        """Write to the journal."""
        ...

    async def history(self, key_id: UUID, most: int) -> Sequence[Step]:
        """The newest steps of a key, newest first."""
        ...

    async def rotated_at(self, key_id: UUID) -> datetime | None:
        """When the key was last rotated; None before the first time."""
        ...

    async def versions(self, key_id: UUID) -> Sequence[StoredVersion]:
        """The values of a key that are not in use, newest first."""
        ...

    async def openable(self, key_id: UUID) -> Sequence[StoredVersion]:
        """The same, made ready for being opened. Not for use inside a transaction."""
        ...

    async def issued(self, key_id: UUID) -> frozenset[int]:
        """The versions whose values this service made the provider give out, and may take back."""
        ...

    async def is_coming(self, key_id: UUID) -> bool:
        """Whether a provider is being asked for a value of the key, or one waits to be used."""
        ...

    async def swap(
        self, sealed: SealedKey, *, was_version: int, old: Kept | None, expiry: Expiry | None
    ) -> ProviderKey | None:
        """Put a new value in use, if the version is still the one read before.

        The old value is kept as `old` says; with None it is gone. A pending value makes way.
        With `expiry` None the key expires when it did.
        None when the key was changed meanwhile.
        """
        ...

    async def keep_pending(self, sealed: SealedKey) -> None:
        """Store a value that is not in use yet."""
        ...

    async def drop_pending(self, key_id: UUID) -> None:
        """Delete a value that is not to be used after all."""
        ...

    async def align_issued(self, key_id: UUID, version: int) -> None:
        """Know what was issued for the value in use by the version that it has now.

        A key sealed anew for another endpoint has another version, but the same value.
        """
        ...

    async def reuse(self, key_id: UUID, version: int, used_as: int) -> None:
        """Delete a value that is in use as another version; what was issued for it is that's."""
        ...

    async def revoke(self, key_id: UUID, version: int, at: datetime) -> None:
        """End a value's grace; at `at` it is to be taken back from its provider."""
        ...

    async def destroy(self, key_id: UUID, version: int) -> bool:
        """Delete a value that is not in use; False when it was not there."""
        ...

    async def next_due(self, now: datetime) -> tuple[ProviderKey, StoredVersion] | None:
        """A value whose time has come, with its key, held until the transaction ends.

        Those of keys whose value in use is known to be refused are kept. What another
        transaction holds is left out.
        """
        ...

    async def abandoned(self, before: datetime, most: int) -> Sequence[Step]:
        """Steps `pending` of manual rotations begun before then that led to nothing.

        Held until the transaction ends; what another transaction holds is left out.
        """
        ...

    async def policy(self, key_id: UUID) -> Policy | None:
        """The policy of a key."""
        ...

    async def put_policy(self, policy: Policy, now: datetime) -> None:
        """Store a policy in place of the one before."""
        ...

    async def mark_refused(self, key_id: UUID, version: int, now: datetime) -> ProviderKey | None:
        """Note that the provider refused the value of that version.

        None when it is not in use any more, or was known to be refused.
        """
        ...


def announced(key: ProviderKey) -> Mapping[str, Any]:
    """What an event says of a key."""
    return {
        "keyId": str(key.id),
        "userId": key.user_id,
        "provider": key.provider.value,
        "keyName": key.key_name,
        "keyVersion": key.key_version,
    }


def automatic_providers() -> frozenset[Provider]:
    """Providers whose public administration API gives out keys for the asking."""
    return frozenset({Provider.OPENAI, Provider.AZURE})


def manual_reason(provider: Provider) -> str | None:
    """Why keys of the provider cannot be rotated automatically; None where they can."""
    if provider in automatic_providers():
        return None
    if provider is Provider.GOOGLE:
        return (
            "Automatic rotation of GOOGLE keys is not built in; make a new key with the API Keys"
            " API or in the console and send it to /rotate"
        )
    return f"Provider '{provider}' has no public API that gives out keys; send a new one to /rotate"
