"""What should become of provider keys, in plain Python: the half of the model test without I/O.

Each method takes what was asked for, changes the model as the service should change,
and gives the status that the service should answer with.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

USERS: Final = ("ada", "ben", "cyd")
ADMINISTRATOR: Final = "administrator"
START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEFAULT_GRACE: Final = timedelta(days=1)


class Asker(NamedTuple):
    """Who asks for a value: by whose token, with the internal secret or not, and for whom."""

    token: str | None
    internal: bool
    acts_for: str | None = None


#: Every way to ask for a value.
ASKERS: Final = (
    Asker(None, internal=True),
    *(Asker(None, internal=True, acts_for=user) for user in USERS),
    Asker("ada", internal=True),
    Asker("ada", internal=True, acts_for="ben"),
    Asker(ADMINISTRATOR, internal=True),
    Asker(ADMINISTRATOR, internal=True, acts_for="cyd"),
    Asker(ADMINISTRATOR, internal=False),
    Asker("ben", internal=False),
)


class Answer(NamedTuple):
    """A status and, where one is given out, a value."""

    status: int
    value: str | None = None


@dataclass
class Grant:
    """What another user than the owner may do with a key."""

    id: str
    grantee: str
    scope: str
    limited: bool
    expires_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now


@dataclass
class Previous:
    """The value before the one in use."""

    value: str
    version: int
    ends: datetime


@dataclass
class Key:
    """One key as it should be."""

    id: str
    owner: str
    provider: str
    name: str
    value: str
    expires_at: datetime | None
    version: int = 1
    active: bool = True
    valid: bool = True
    uses: int = 0
    previous: Previous | None = None
    grants: dict[str, Grant] = field(default_factory=dict)

    def is_usable(self, now: datetime) -> bool:
        return self.active and (self.expires_at is None or self.expires_at > now)


class Model:
    """Every key there is, what was recorded, and what time it is."""

    #: The types of audit records that are counted.
    COUNTED: Final = (
        "key.create",
        "key.reveal",
        "key.update",
        "key.share",
        "key.unshare",
        "key.delete",
    )

    def __init__(self) -> None:
        self.moment = START
        self.keys: dict[str, Key] = {}
        self.deleted: list[str] = []
        #: Values that the providers took back.
        self.withdrawn: set[str] = set()
        #: Every value that was ever sent: none may be seen where values do not belong.
        self.values: set[str] = set()
        #: Audit records by type and decision.
        self.recorded: Counter[tuple[str, str]] = Counter()

    def grant(self, key: Key, user: str) -> Grant | None:
        """The live grant that a user has of a key."""
        found = key.grants.get(user)
        return found if found is not None and found.is_live(self.moment) else None

    def refusal(self, key_id: str, user: str, *, to_see: bool = False) -> int | None:
        """Why somebody may not manage, or see, a key; None when they may."""
        key = self.keys.get(key_id)
        if key is None:
            return 404
        if user in (ADMINISTRATOR, key.owner):
            return None
        if self.grant(key, user) is None:
            return 404
        return None if to_see else 403

    def create(self, key: Key) -> int:
        self.values.add(key.value)
        if self._name_taken(key, key.name):
            return 409
        if not self._takes(key.value):
            self.recorded["key.create", "deny"] += 1
            return 400
        self.keys[key.id] = key
        self.recorded["key.create", "allow"] += 1
        return 201

    def rotate(self, key_id: str, user: str, value: str, grace: timedelta | None) -> int:
        self.values.add(value)
        refused = self.refusal(key_id, user)
        if refused is not None:
            return refused
        key = self.keys[key_id]
        if value == key.value or not self._takes(value):
            return 400
        grace = DEFAULT_GRACE if grace is None else grace
        ends = self.moment + grace
        key.previous = Previous(key.value, key.version, ends) if grace else None
        key.value, key.version, key.valid = value, key.version + 1, True
        return 200

    def update(self, key_id: str, user: str, changes: dict[str, Any]) -> int:
        """`changes` are of `name`, `active` and `expires_at`."""
        refused = self.refusal(key_id, user)
        if refused is not None:
            return refused
        key = self.keys[key_id]
        if "name" in changes and self._name_taken(key, changes["name"]):
            return 409
        for name, value in changes.items():
            setattr(key, name, value)
        self.recorded["key.update", "allow"] += 1
        return 200

    def delete(self, key_id: str, user: str) -> int:
        refused = self.refusal(key_id, user)
        if refused is not None:
            return refused
        del self.keys[key_id]
        self.deleted.append(key_id)
        self.recorded["key.delete", "allow"] += 1
        return 204

    def share(self, key_id: str, user: str, grant: Grant) -> int:
        refused = self.refusal(key_id, user)
        if refused is not None:
            return refused
        key = self.keys[key_id]
        if not grant.is_live(self.moment) or grant.grantee == key.owner:
            return 400
        if self.grant(key, grant.grantee) is not None:
            return 409
        key.grants[grant.grantee] = grant
        self.recorded["key.share", "allow"] += 1
        return 201

    def revoke(self, key_id: str, user: str, grant_id: str) -> int:
        refused = self.refusal(key_id, user)
        if refused is not None:
            return refused
        grants = self.keys[key_id].grants
        found = next((grant for grant in grants.values() if grant.id == grant_id), None)
        if found is None:
            return 404
        del grants[found.grantee]
        self.recorded["key.unshare", "allow"] += 1
        return 204

    def validate(self, key_id: str, user: str) -> int:
        refused = self.refusal(key_id, user)
        if refused is None:
            self.keys[key_id].valid = self._takes(self.keys[key_id].value)
        return 200 if refused is None else refused

    def decrypt(self, key_id: str, asker: Asker) -> Answer:
        """What somebody gets who asks for a value."""
        if not asker.internal:
            return Answer(401)
        if asker.token in USERS and asker.acts_for not in (None, asker.token):
            return Answer(403)
        user = asker.acts_for or (asker.token if asker.token in USERS else None)
        key = self.keys.get(key_id)
        if key is None:
            if user is None:  # only then is the value itself asked for, and that recorded
                self.recorded["key.reveal", "deny"] += 1
            return Answer(404)
        if user not in (None, key.owner):
            grant = self.grant(key, str(user))
            if grant is None or grant.scope != "reveal" or grant.limited:
                return Answer(403)
        if not key.is_usable(self.moment):
            self.recorded["key.reveal", "deny"] += 1
            return Answer(409)
        self.recorded["key.reveal", "allow"] += 1
        key.uses += 1
        return Answer(200, key.value)

    def fallback(self, key_id: str) -> str | None:
        """The value that calls may fall back to."""
        key = self.keys.get(key_id)
        if key is None or key.previous is None or not key.is_usable(self.moment):
            return None
        return key.previous.value if key.previous.ends > self.moment else None

    def report(self, key_id: str, behind: int) -> tuple[int, str | None]:
        """A provider refused the value in use, or with `behind` one before it.

        Gives the version reported, and what to fall back to.
        """
        key = self.keys.get(key_id)
        if key is None or behind:
            return (1 if key is None else key.version - behind), None
        key.valid = False
        return key.version, self.fallback(key_id)

    def retire(self) -> int:
        """End every grace that is over; gives how many that were."""
        over = [
            key
            for key in self.keys.values()
            if key.previous is not None and key.previous.ends <= self.moment
        ]
        for key in over:
            key.previous = None
        return len(over)

    def listed(self, user: str) -> list[dict[str, Any]]:
        """What a list of keys should show to somebody, newest first."""
        return [
            self.view(key, user) for key in reversed(self.keys.values()) if self.sees(key, user)
        ]

    def sees(self, key: Key, user: str) -> bool:
        """Whether somebody may see a key."""
        return self.refusal(key.id, user, to_see=True) is None

    def view(self, key: Key, user: str) -> dict[str, Any]:
        """How a key should look to somebody; of what the clock alone decides, nothing."""
        long = len(key.value) >= 20
        shown = {
            "id": key.id,
            "userId": key.owner,
            "provider": key.provider,
            "keyName": key.name,
            "keyPrefix": f"{key.value[:7]}...{key.value[-4:]}" if long else "***",
            "usageCount": key.uses,
            "isActive": key.active,
            "isValid": key.valid,
            "metadata": None,
            "expiresAt": None if key.expires_at is None else wire(key.expires_at),
        }
        if user in (ADMINISTRATOR, key.owner):
            return shown
        scope = key.grants[user].scope
        return shown | {"shared": True, "shareScope": scope, "ownerUserId": key.owner}

    def former_values(self) -> Iterator[tuple[str, int]]:
        """The values that are kept beside those in use, by key and version."""
        for key in self.keys.values():
            if key.previous is not None:
                yield key.id, key.previous.version

    def _name_taken(self, key: Key, name: str) -> bool:
        return any(
            (other.owner, other.provider, other.name) == (key.owner, key.provider, name)
            for other in self.keys.values()
            if other.id != key.id
        )

    def _takes(self, value: str) -> bool:
        return value.startswith("sk-sandbox-") and value not in self.withdrawn


def wire(moment: datetime) -> str:
    """A moment as the API shows it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
