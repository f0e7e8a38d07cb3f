"""What is asked of the services about keys, and how hypothesis thinks of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from hypothesis import strategies as st

from tests.faults.lifecycle_model import (
    ADMINISTRATOR,
    ASKERS,
    USERS,
    Answer,
    Asker,
    Grant,
    Key,
    Model,
    wire,
)

Body = dict[str, Any]
#: Who asks, where it depends on the key.
OWNER: Final = "owner"
MOST_KEYS: Final = 5
#: Deleted keys that are still asked for.
GHOSTS: Final = 2
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class State:
    """Makes concrete what was drawn: nothing that is drawn depends on what there is."""

    def __init__(self, model: Callable[[], Model]) -> None:
        self._model = model
        self._values = 0

    @property
    def model(self) -> Model:
        """The model as it is."""
        return self._model()

    def key(self, number: int) -> str:
        """A key that there is, or was, or never was."""
        living, gone = list(self.model.keys), self.model.deleted[-GHOSTS:]
        found = living if living and number < MOST_KEYS else gone or living or [str(uuid4())]
        return found[number % len(found)]

    def user(self, who: str, key_id: str) -> str:
        """Who asks: the key's owner, or somebody named."""
        key = self.model.keys.get(key_id)
        return who if who != OWNER else USERS[0] if key is None else key.owner

    def value(self, kind: str, key_id: str | None) -> str:
        """A value to send: one that the key has or had, or one never sent before."""
        key = self.model.keys.get(key_id or "")
        if key is not None and kind == "present":
            return key.value
        if key is not None and kind == "former" and key.previous is not None:
            return key.previous.value
        self._values += 1
        return f"{'wrong' if kind == 'refused' else 'sk-sandbox'}-{self._values:024d}"

    def moment(self, end: timedelta | None) -> datetime | None:
        """When something is to end."""
        return None if end is None else self.model.moment + end


@dataclass(frozen=True)
class Request:
    """What is asked of a service; `expected` is what the model makes of it."""

    asker: Asker
    method: str
    path: str
    body: Body | None
    expected: Callable[[Model, Body], Answer]


@dataclass(frozen=True)
class Create:
    """Store a key; asked for by its owner or an administrator."""

    owner: str
    by_administrator: bool
    provider: str
    name: str
    value: str
    end: timedelta | None

    def request(self, state: State) -> Request:
        value, ends = state.value(self.value, None), state.moment(self.end)

        def expected(model: Model, answer: Body) -> Answer:
            key = Key(answer.get("id", ""), self.owner, self.provider, self.name, value, ends)
            return Answer(model.create(key))

        body = {
            "userId": self.owner,
            "provider": self.provider,
            "keyName": self.name,
            "apiKey": value,
            "expiresAt": None if ends is None else wire(ends),
        }
        asker = Asker(ADMINISTRATOR if self.by_administrator else self.owner, internal=False)
        return Request(asker, "POST", "", body, expected)


@dataclass(frozen=True)
class Rotate:
    """Put another value in use."""

    user: str
    value: str
    grace: timedelta | None

    def request(self, state: State, key_id: str) -> Request:
        user, value = state.user(self.user, key_id), state.value(self.value, key_id)
        grace = None if self.grace is None else int(self.grace.total_seconds())
        return Request(
            Asker(user, internal=False),
            "POST",
            f"/{key_id}/rotate",
            {"apiKey": value, "graceSeconds": grace},
            lambda model, _: Answer(model.rotate(key_id, user, value, self.grace)),
        )


@dataclass(frozen=True)
class Change:
    """Change the name, the state or the end of a key."""

    user: str
    field: str
    to: Any

    def request(self, state: State, key_id: str) -> Request:
        user = state.user(self.user, key_id)
        to = state.moment(self.to) if self.field == "expires_at" else self.to
        wired = wire(to) if isinstance(to, datetime) else to
        return Request(
            Asker(user, internal=False),
            "PUT",
            f"/{key_id}",
            {{"name": "keyName", "active": "isActive"}.get(self.field, "expiresAt"): wired},
            lambda model, _: Answer(model.update(key_id, user, {self.field: to})),
        )


@dataclass(frozen=True)
class Share:
    """Grant a key to somebody."""

    user: str
    grantee: str
    scope: str
    limited: bool
    end: timedelta | None

    def request(self, state: State, key_id: str) -> Request:
        user, ends = state.user(self.user, key_id), state.moment(self.end)

        def expected(model: Model, answer: Body) -> Answer:
            grant = Grant(answer.get("id", ""), self.grantee, self.scope, self.limited, ends)
            return Answer(model.share(key_id, user, grant))

        body = {
            "granteeUserId": self.grantee,
            "scope": self.scope,
            "models": ["a-model"] if self.limited else None,
            "expiresAt": None if ends is None else wire(ends),
        }
        asker = Asker(user, internal=False)
        return Request(asker, "POST", f"/{key_id}/shares", body, expected)


@dataclass(frozen=True)
class Revoke:
    """Take a grant back, or one that there is not."""

    user: str
    grantee: str

    def request(self, state: State, key_id: str) -> Request:
        user, key = state.user(self.user, key_id), state.model.keys.get(key_id)
        grant = None if key is None else key.grants.get(self.grantee)
        share_id = str(uuid4()) if grant is None else grant.id
        return Request(
            Asker(user, internal=False),
            "DELETE",
            f"/{key_id}/shares/{share_id}",
            None,
            lambda model, _: Answer(model.revoke(key_id, user, share_id)),
        )


@dataclass(frozen=True)
class Delete:
    """Remove a key."""

    user: str

    def request(self, state: State, key_id: str) -> Request:
        user = state.user(self.user, key_id)
        return Request(
            Asker(user, internal=False),
            "DELETE",
            f"/{key_id}",
            None,
            lambda model, _: Answer(model.delete(key_id, user)),
        )


@dataclass(frozen=True)
class Validate:
    """Ask the provider about a key again."""

    user: str

    def request(self, state: State, key_id: str) -> Request:
        user = state.user(self.user, key_id)
        return Request(
            Asker(user, internal=False),
            "POST",
            f"/{key_id}/validate",
            None,
            lambda model, _: Answer(model.validate(key_id, user)),
        )


@dataclass(frozen=True)
class Decrypt:
    """Ask for a value."""

    asker: Asker

    def request(self, state: State, key_id: str) -> Request:
        return Request(
            self.asker,
            "GET",
            f"/{key_id}/decrypt",
            None,
            lambda model, _: model.decrypt(key_id, self.asker),
        )


Wish = Rotate | Change | Share | Revoke | Delete | Validate | Decrypt
"""What somebody does with a key that there is, or was."""

numbers = st.integers(0, MOST_KEYS + GHOSTS - 1)
users = st.sampled_from(USERS)
people = st.sampled_from((OWNER, OWNER, OWNER, ADMINISTRATOR, *USERS))
names = st.sampled_from(("first", "second"))
#: Some ends are moments to which the clock is set, one is past.
ends = st.sampled_from((None, HOUR, DAY, -HOUR))
values = st.sampled_from(("new", "new", "new", "refused", "present", "former"))
graces = st.sampled_from((None, timedelta(0), HOUR))

creations = st.builds(
    Create,
    users,
    st.booleans(),
    st.sampled_from(("OPENAI", "ANTHROPIC", "GOOGLE")),
    names,
    values,
    ends,
)
rotations = st.builds(Rotate, people, values, graces)
changes = st.one_of(
    st.builds(Change, people, st.just("name"), names),
    st.builds(Change, people, st.just("active"), st.booleans()),
    st.builds(Change, people, st.just("expires_at"), ends),
)
shares = st.builds(Share, people, users, st.sampled_from(("use", "reveal")), st.booleans(), ends)
revocations = st.builds(Revoke, people, users)
deletions = st.builds(Delete, people)
validations = st.builds(Validate, people)
reveals = st.builds(Decrypt, st.sampled_from(ASKERS))
wishes = st.one_of(
    rotations, rotations, changes, shares, revocations, deletions, validations, reveals
)
