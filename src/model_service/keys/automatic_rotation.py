"""Rotating keys by themselves, where the provider's administration API gives out keys.

    begun      written down: from here on the provider may know of something it has to forget
    asked      the provider made a key; only this process knows it
    stored     the new value is kept, sealed, beside the old one, which is still in use
    confirmed  the provider takes the new value
    swapped    the new value is in use, the old one in its grace; later `withdrawal` takes it back

A process may end at any of these points. Until `stored` nothing is lost but what the provider
made, which goes by a name that was written down; from `stored` on whoever comes next goes on.
At no point is there a moment without a working value in use.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import structlog

from model_service.kernel.administration import IssuedKey, Order
from model_service.kernel.errors import (
    AdministrationRefused,
    ChangedMeanwhile,
    IntegrityFailure,
    InvalidInput,
    NotFound,
    ProviderUnreachable,
)
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock, uuid7
from model_service.kernel.unit import Transactions
from model_service.keys.admin_credentials import AdminCredentials
from model_service.keys.domain import KeyStore, ProviderKey, SealedKey, check_value
from model_service.keys.exchange import Exchange
from model_service.keys.issue_store import Issue, SqlIssueStore
from model_service.keys.reminders import Reminders
from model_service.keys.rotation_domain import (
    DEFAULT_GRACE,
    Expiry,
    IssueState,
    Policy,
    Rotation,
    RotationStore,
    StepState,
    automatic_providers,
)
from model_service.keys.rotation_journal import Journal
from model_service.keys.verification import Verifier

log = structlog.get_logger(__name__)

#: How long a process may work on one value before another takes over. Far longer than all its
#: requests together may take.
LEASE: Final = timedelta(minutes=5)
#: How long a new value may be unknown to its provider: Azure needs minutes to spread one.
PATIENCE: Final = timedelta(minutes=30)
#: Until such a value is asked about again.
AGAIN: Final = timedelta(minutes=1)
#: Until a rotation that failed is tried again.
RETRY: Final = timedelta(hours=1)
#: Rotations begun or resumed in one step: a bound, so that a step ends.
MOST: Final = 50
#: Of what was made and came too late to be a version of its key.
NO_VERSION: Final = 0


class Point(StrEnum):
    """Where a process may end; tests end it there."""

    BEGUN = "begun"
    ASKED = "asked"
    STORED = "stored"
    CONFIRMED = "confirmed"
    SWAPPED = "swapped"
    CLAIMED = "claimed"
    TAKEN_BACK = "taken_back"


@dataclass(frozen=True, slots=True)
class AutomaticParts:
    """What automatic rotation and withdrawal are made of.

    `at` is told of each point that is reached, `on_value` of each value that is in this process.
    """

    transactions: Transactions
    keys: KeyStore
    open_value: Callable[[SealedKey], Secret[str]]
    store: RotationStore
    issues: SqlIssueStore
    journal: Journal
    exchange: Exchange
    verifier: Verifier
    credentials: AdminCredentials
    reminders: Reminders
    clock: Clock
    on_value: Callable[[str], None]
    at: Callable[[Point], None] = lambda _: None


class AutomaticRotation:
    """Begins the rotations that are due and finishes those that were begun.

    May run in every worker at once: each rotation is one worker's for as long as its lease lasts.
    """

    def __init__(self, parts: AutomaticParts) -> None:
        self._p = parts

    async def step(self) -> int:
        """Do what is to be done now; gives how many rotations that were.

        Raises:
            AuditUnavailable, DatabaseUnavailable: what was begun is finished by a later step.
        """
        done = 0
        while done < MOST and await self._resume_next():
            done += 1
        while done < MOST and await self._begin_next():
            done += 1
        return done

    async def _resume_next(self) -> bool:
        now = self._p.clock.now()
        issue = await self._p.issues.claim_coming(now, now + LEASE)
        if issue is None:
            return False
        key = await self._p.keys.get(issue.key_id)
        if key is None:
            await self._p.issues.advance(issue, IssueState.WITHDRAWING, claimed_until=now)
        elif issue.state is IssueState.REQUESTED:
            await self._give_up(issue, key, "cut off before the new value was stored", retry_at=0)
        else:
            await self._confirm(issue, key)
        return True

    async def _begin_next(self) -> bool:
        p, now = self._p, self._p.clock.now()
        await p.credentials.get_ready()
        async with p.transactions.transaction():
            due = await p.issues.next_due(now, sorted(automatic_providers()))
            if due is None:
                return False
            key, policy = due
            try:
                issue, order = await self._plan(key, policy)
            except (AdministrationRefused, NotFound, IntegrityFailure) as error:
                await self._hold(policy, error.message, manual=True)
                return True
            await p.issues.add(issue)
            await p.journal.begin(_rotation(issue, key))
        p.at(Point.BEGUN)
        await self._obtain(issue, key, order)
        return True

    async def _plan(self, key: ProviderKey, policy: Policy) -> tuple[Issue, Order]:
        """What to ask for, and with which credential. Raises AdministrationRefused, NotFound."""
        p, now = self._p, self._p.clock.now()
        credential, secret = await p.credentials.find(key.provider, policy.credential_id, hold=True)
        administration = p.credentials.administration(key.provider)
        target = administration.target(credential.settings, policy.target, key.endpoint)
        shared = administration.shared_endpoints(key.endpoint)
        if shared is not None and await p.issues.others_at(key.id, key.provider, shared, target):
            raise AdministrationRefused(
                "Another stored key is for the same account and would stop working; rotate by hand"
            )
        issue = Issue(
            id=uuid7(),
            key_id=key.id,
            rotation_id=uuid7(),
            version=key.key_version + 1,
            provider=key.provider,
            credential_id=credential.id,
            target=target,
            state=IssueState.REQUESTED,
            claimed_until=now + LEASE,
            created_at=now,
        )
        return issue, Order(issue.name, target, secret, credential.settings)

    async def _obtain(self, issue: Issue, key: ProviderKey, order: Order) -> None:
        """Have the new value made, keep it, and go on with it."""
        p = self._p
        administration = p.credentials.administration(issue.provider)
        try:
            issued = await administration.issue(order, await self._current(key))
            p.at(Point.ASKED)
            p.on_value(issued.value.reveal())
            check_value(issue.provider, issued.value)
        except ProviderUnreachable as error:
            # It may be made all the same, a little later.
            await self._give_up(issue, key, error.message, settle=LEASE)
            return
        except (AdministrationRefused, IntegrityFailure, InvalidInput) as error:
            await self._give_up(issue, key, error.message, manual=True)
            return
        except (ChangedMeanwhile, NotFound) as error:
            await self._give_up(issue, key, error.message, retry_at=0)
            return
        kept = await self._keep(issue, issued)
        if kept is None:
            await self._undo(issue, order, issued)
            return
        p.at(Point.STORED)
        if kept.state is IssueState.ISSUED:
            await self._confirm(kept, key)

    async def _current(self, key: ProviderKey) -> Secret[str]:
        """The value in use. Raises ChangedMeanwhile, NotFound, IntegrityFailure."""
        found = await self._p.keys.get_sealed([key.id])
        if not found:
            raise NotFound("No such key")
        if found[0].key.key_version != key.key_version:
            raise ChangedMeanwhile
        value = self._p.open_value(found[0])
        self._p.on_value(value.reveal())
        return value

    async def _keep(self, issue: Issue, issued: IssuedKey) -> Issue | None:
        """Store the new value beside the old one; None when this process came too late."""
        p, now = self._p, self._p.clock.now()
        async with p.transactions.transaction():
            key = await p.store.lock(issue.key_id)
            fits = key is not None and key.key_version == issue.version - 1
            to = IssueState.ISSUED if fits else IssueState.WITHDRAWING
            claim = now + LEASE if fits else now
            changes = {"reference": issued.reference, "former": issued.former}
            if not await p.issues.advance(issue, to, claimed_until=claim, **changes):
                return None
            if key is not None and fits:
                await p.store.keep_pending(p.exchange.sealed_next(key, issued.value))
        return replace(issue, state=to, reference=issued.reference, former=issued.former)

    async def _undo(self, issue: Issue, order: Order, issued: IssuedKey) -> None:
        """Take back what came too late: another process has taken over and does not know of it.

        It is written down first, so that it is found when this fails.
        """
        p, now = self._p, self._p.clock.now()
        late = replace(
            issue,
            id=uuid7(),
            version=NO_VERSION,
            state=IssueState.WITHDRAWING,
            reference=issued.reference,
            claimed_until=now + LEASE,
            created_at=now,
        )
        await p.issues.add(late)
        try:
            administration = p.credentials.administration(issue.provider)
            await administration.withdraw(order, issued.reference, issued.value)
        except (AdministrationRefused, ProviderUnreachable) as error:
            log.warning(
                "a value that came too late could not be taken back",
                key_id=str(issue.key_id),
                reason=error.message,
            )
            await p.issues.advance(late, IssueState.WITHDRAWING, claimed_until=now)
            return
        await p.issues.remove(late)

    async def _confirm(self, issue: Issue, key: ProviderKey) -> None:
        """Ask the provider about the new value and, when it takes it, put it in use."""
        p, now = self._p, self._p.clock.now()
        pending = [
            version
            for version in await p.store.openable(key.id)
            if (version.version, version.state) == (issue.version, StepState.PENDING)
        ]
        if not pending or key.key_version != issue.version - 1:
            await self._give_up(issue, key, ChangedMeanwhile().message, retry_at=0)
            return
        try:
            value = p.exchange.opened(key, pending[0])
        except IntegrityFailure as error:
            # Nobody will ever open it; the value in use stays, and another is made.
            await self._give_up(issue, key, error.message)
            return
        p.on_value(value.reveal())
        verdict = await p.verifier.ask(key.provider, value, key.endpoint)
        if verdict is Verdict.VALID:
            p.at(Point.CONFIRMED)
            await self._put_in_use(issue, key, value)
        elif now - issue.created_at < PATIENCE:
            await p.issues.advance(issue, IssueState.ISSUED, claimed_until=now + AGAIN)
        else:
            reason = f"the provider does not take the value it made ({verdict.value})"
            await self._give_up(issue, key, reason)

    async def _put_in_use(self, issue: Issue, key: ProviderKey, value: Secret[str]) -> None:
        p, now = self._p, self._p.clock.now()
        policy = await p.store.policy(key.id)
        grace = policy.grace if policy is not None else None
        grace = DEFAULT_GRACE if grace is None else grace
        try:
            async with p.transactions.transaction():
                present = await p.store.lock(key.id)
                if not await p.issues.advance(issue, IssueState.IN_USE, claimed_until=now):
                    raise ChangedMeanwhile
                if issue.former is not None:
                    await p.issues.adopt(_former(issue, key, now))
                expiry = None if present is None else _expiry(present, now + grace)
                await p.exchange.swap(_rotation(issue, key), value, grace, expiry)
        except (ChangedMeanwhile, NotFound) as error:
            await self._give_up(issue, key, error.message, retry_at=0)
            return
        p.at(Point.SWAPPED)

    async def _give_up(
        self,
        issue: Issue,
        key: ProviderKey,
        reason: str,
        *,
        manual: bool = False,
        settle: timedelta = timedelta(0),
        retry_at: int | None = None,
    ) -> None:
        """Leave the key as it is and have whatever was made taken back, after `settle`.

        `retry_at` 0 lets the rotation begin anew as soon as that is done, else after an hour.
        """
        p, now = self._p, self._p.clock.now()
        async with p.transactions.transaction():
            present = await p.store.lock(issue.key_id)
            going = IssueState.WITHDRAWING
            if not await p.issues.advance(issue, going, claimed_until=now + settle):
                return  # somebody else has finished with it
            if present is None:
                return
            await p.journal.failed(_rotation(issue, key), reason, issue.version)
            await p.store.drop_pending(issue.key_id)
            policy = await p.store.policy(issue.key_id)
            if policy is not None and retry_at is None:
                await self._hold(policy, reason, manual=manual)
        log.warning("an automatic rotation failed", key_id=str(issue.key_id), reason=reason)

    async def _hold(self, policy: Policy, reason: str, *, manual: bool) -> None:
        """Say why the key is not rotated, and try again later."""
        now = self._p.clock.now()
        held = replace(policy, reason=reason, manual=manual, retry_at=now + RETRY)
        await self._p.store.put_policy(held, now)


def _rotation(issue: Issue, key: ProviderKey) -> Rotation:
    return Rotation(issue.rotation_id, key, automatic=True)


def _expiry(key: ProviderKey, end: datetime) -> Expiry | None:
    """What becomes of a key's expiry when the provider has made a new value.

    One that comes before the `end` of the old value's grace was about that value: the new one
    does not expire. A later one is somebody's decision about the key, and stays.
    """
    return Expiry(None) if key.expires_at is not None and key.expires_at <= end else None


def _former(issue: Issue, key: ProviderKey, now: datetime) -> Issue:
    """The value that is replaced, as something the provider can take back too."""
    return replace(
        issue,
        id=uuid7(),
        version=key.key_version,
        state=IssueState.IN_USE,
        reference=issue.former,
        former=None,
        created_at=now,
    )
