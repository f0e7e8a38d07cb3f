"""The routes of rotation. No answer holds a value."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from model_service.http.auth import Access, AskedBy, GuardedRoute, declare
from model_service.http.problem import documented
from model_service.http.wire import Moment, MomentIn, RequestModel, ResponseModel, Text255
from model_service.kernel.errors import Forbidden
from model_service.keys.api import KeyView, SecretValue
from model_service.keys.doorkeeper import Doorkeeper
from model_service.keys.ownership import Action
from model_service.keys.rotation import LONGEST_PERIOD, RotationService, Wish
from model_service.keys.rotation_domain import (
    LONGEST_GRACE,
    Expiry,
    Mode,
    Overview,
    Policy,
    Step,
    StepState,
    StoredVersion,
)

GraceSeconds = Annotated[int, Field(strict=True, ge=0, le=int(LONGEST_GRACE.total_seconds()))]
"""How long the old value stays usable, in seconds: 0 to 30 days."""


class RotateKey(RequestModel):
    """A new value for a key; without `expiresAt` it expires when it did, with null never."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    api_key: SecretValue
    grace_seconds: GraceSeconds | None = None
    expires_at: MomentIn | None = None


class SetPolicy(RequestModel):
    """When and how a key is to be rotated. What is left out is not set."""

    mode: Mode
    every_days: Annotated[int, Field(strict=True, ge=1, le=LONGEST_PERIOD)] | None = None
    grace_seconds: GraceSeconds | None = None
    credential_id: UUID | None = None
    target: Text255 | None = None


class PolicyView(ResponseModel):
    """The policy of a key; `reason` says why an automatic rotation failed or is not possible."""

    mode: Mode
    every_days: int | None
    grace_seconds: int | None
    credential_id: UUID | None
    target: str | None
    due_at: Moment | None
    retry_at: Moment | None
    reason: str | None

    @classmethod
    def of(cls, policy: Policy) -> "PolicyView":
        """The view of a policy."""
        grace = policy.grace
        return cls(
            mode=policy.mode,
            every_days=policy.every_days,
            grace_seconds=None if grace is None else int(grace.total_seconds()),
            credential_id=policy.credential_id,
            target=policy.target,
            due_at=policy.due_at,
            retry_at=policy.retry_at,
            reason=policy.reason,
        )


class RetiringView(ResponseModel):
    """The value before the present one, which stays usable until `retire_at`."""

    model_config = ConfigDict(from_attributes=True)

    key_version: Annotated[int, Field(validation_alias="version")]
    key_prefix: str
    retire_at: Moment | None

    @classmethod
    def of(cls, version: StoredVersion) -> "RetiringView":
        """The view of a retiring value."""
        return cls.model_validate(version)


class StepView(ResponseModel):
    """One step of a rotation: what became of the value of a version, when and why."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    rotation_id: UUID
    key_version: Annotated[int, Field(validation_alias="version")]
    state: StepState
    automatic: bool
    reason: str | None
    at: Moment

    @classmethod
    def of(cls, step: Step) -> "StepView":
        """The view of a step."""
        return cls.model_validate(step)


class RotationView(ResponseModel):
    """How the rotation of a key stands; `history` has its newest steps, newest first.

    `state` is `active` (nothing is under way), `pending`, `retiring`, `revoked`, or `manual`:
    automatic rotation is wished for, and `reason` says why somebody has to rotate by hand.
    """

    key_id: UUID
    key_version: int
    state: str
    reason: str | None
    policy: PolicyView | None
    rotated_at: Moment | None
    retiring: RetiringView | None
    history: list[StepView]

    @classmethod
    def of(cls, overview: Overview) -> "RotationView":
        """The view of a key's rotation."""
        policy, retiring = overview.policy, overview.retiring
        return cls(
            key_id=overview.key.id,
            key_version=overview.key.key_version,
            state=overview.state,
            reason=overview.reason,
            policy=None if policy is None else PolicyView.of(policy),
            rotated_at=overview.rotated_at,
            retiring=None if retiring is None else RetiringView.of(retiring),
            history=[StepView.of(step) for step in overview.history],
        )


def router(rotation: RotationService, doorkeeper: Doorkeeper) -> APIRouter:
    """The routes under `/api/api-keys/{key_id}` that are about rotation."""
    routes = APIRouter(prefix="/api/api-keys", tags=["API keys"], route_class=GuardedRoute)
    user = declare(Access.USER)

    @routes.post(
        "/{key_id}/rotate",
        response_model=KeyView,
        summary="Check a new value with the provider and put it in use",
        responses=documented(400, 401, 403, 404, 409, 413, 503),
        openapi_extra=user,
    )
    async def rotate(key_id: UUID, body: RotateKey, asker: AskedBy) -> KeyView:
        await doorkeeper.admit(asker, Action.ROTATE, key_id)
        seconds = body.grace_seconds
        grace = None if seconds is None else timedelta(seconds=seconds)
        expiry = Expiry(body.expires_at) if "expires_at" in body.model_fields_set else None
        return KeyView.of(await rotation.rotate(key_id, body.api_key, grace, expiry))

    @routes.get(
        "/{key_id}/rotation",
        response_model=RotationView,
        summary="A key's rotation: policy, state and history",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=user,
    )
    async def overview(key_id: UUID, asker: AskedBy) -> RotationView:
        await doorkeeper.admit(asker, Action.ROTATE, key_id)
        return RotationView.of(await rotation.overview(key_id))

    @routes.put(
        "/{key_id}/rotation-policy",
        response_model=RotationView,
        summary="Set when and how a key is to be rotated",
        responses=documented(400, 401, 403, 404, 413, 503),
        openapi_extra=user,
    )
    async def put_policy(key_id: UUID, body: SetPolicy, asker: AskedBy) -> RotationView:
        await doorkeeper.admit(asker, Action.ROTATE, key_id)
        if body.mode is Mode.AUTOMATIC and not asker.is_administrator:
            # It works with administrative credentials, which belong to no user.
            raise Forbidden("Only an administrator may have a key rotated automatically")
        seconds = body.grace_seconds
        wish = Wish(
            mode=body.mode,
            every_days=body.every_days,
            grace=None if seconds is None else timedelta(seconds=seconds),
            credential_id=body.credential_id,
            target=body.target,
        )
        return RotationView.of(await rotation.put_policy(key_id, wish))

    return routes
