"""The routes of provider keys. No response type has a field for a key's value or ciphertext."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from model_service.http.auth import Access, AskedBy, GuardedRoute, declare
from model_service.http.problem import documented
from model_service.http.wire import (
    Flag,
    FreeForm,
    Moment,
    MomentIn,
    NoQuery,
    PageOf,
    PageQuery,
    QueryFlag,
    RequestModel,
    ResponseModel,
    Text255,
    UserId,
)
from model_service.kernel.acting import whose
from model_service.kernel.audit import Purpose
from model_service.kernel.errors import FieldFault, Forbidden, InvalidInput
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import ENDPOINT, KeyFilter, NewKey, ProviderKey
from model_service.keys.doorkeeper import Doorkeeper
from model_service.keys.holdings import Holdings
from model_service.keys.ownership import Action
from model_service.keys.service import KeyService
from model_service.keys.shares import HeldKey, ShareScope


def _as_secret(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return Secret(value)


SecretValue = Annotated[
    Secret[str],
    BeforeValidator(_as_secret),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": 512, "format": "password"},
        mode="validation",
    ),
]
"""A key's value on its way in; from here on it cannot print itself."""


class CreateKey(RequestModel):
    """A key to be stored."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    user_id: UserId
    provider: Provider
    key_name: Text255
    api_key: SecretValue
    metadata: FreeForm | None = None
    expires_at: MomentIn | None = None

    @property
    def names_host(self) -> bool:
        """Whether it leads calls to a host of the caller's choice (SECURITY.md, Egress, 1)."""
        named = self.metadata is not None and self.metadata.get(ENDPOINT) is not None
        return named and self.provider in (Provider.CUSTOM, Provider.OLLAMA)

    def to_new(self) -> NewKey:
        """What is to be stored."""
        return NewKey(
            user_id=self.user_id,
            provider=self.provider,
            key_name=self.key_name,
            value=self.api_key,
            metadata=self.metadata,
            expires_at=self.expires_at,
        )


class ChangeKey(RequestModel):
    """What may be changed of a key; null clears `metadata` and `expiresAt`."""

    key_name: Annotated[Text255, Field(default=None)]
    is_active: Annotated[Flag, Field(default=None)]
    metadata: FreeForm | None = None
    expires_at: MomentIn | None = None
    api_key: Annotated[Any, Field(default=None, exclude=True, deprecated=True)]


class ListKeys(PageQuery):
    """Which keys to list."""

    user_id: UserId | None = None
    provider: Provider | None = None
    is_active: QueryFlag | None = None
    is_valid: QueryFlag | None = None


class CreateOptions(NoQuery):
    """How to store a key."""

    validate_: Annotated[QueryFlag, Field(alias="validate")] = True


class OwnerQuery(NoQuery):
    """Whose keys."""

    user_id: UserId | None = None


class KeyView(ResponseModel):
    """A key as the API shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    user_id: str
    provider: Provider
    key_name: str
    key_prefix: str
    last_used_at: Moment | None
    usage_count: int
    is_active: bool
    is_valid: bool
    metadata: dict[str, Any] | None
    created_at: Moment
    updated_at: Moment
    expires_at: Moment | None
    validated_at: Moment | None

    @classmethod
    def of(cls, key: ProviderKey) -> "KeyView":
        """The view of a key."""
        return cls.model_validate(key)


class SharedKeyView(KeyView):
    """A key as somebody sees it who has it by a grant; `userId` is its owner's."""

    shared: Literal[True] = True
    share_scope: ShareScope
    owner_user_id: str


AnyKeyView = SharedKeyView | KeyView


def view_of(held: HeldKey) -> AnyKeyView:
    """The view of a key for who has it so."""
    view = KeyView.of(held.key)
    if held.share is None:
        return view
    return SharedKeyView(
        **view.model_dump(), share_scope=held.share.scope, owner_user_id=held.share.owner_user_id
    )


class KeyValue(ResponseModel):
    """A key's value. The only answer that carries one."""

    key: str


KeyPage = PageOf[AnyKeyView]


def router(keys: KeyService, holdings: Holdings, doorkeeper: Doorkeeper) -> APIRouter:
    """The routes under `/api/api-keys`. Whoever asks for one key passes the doorkeeper first."""
    routes = APIRouter(prefix="/api/api-keys", tags=["API keys"], route_class=GuardedRoute)
    # The fixed paths come first, or `/{key_id}` would take them for identifiers.
    _add_collection_routes(routes, keys, holdings)
    _add_reading_routes(routes, holdings, doorkeeper)
    _add_changing_routes(routes, keys, doorkeeper)
    return routes


def _add_collection_routes(routes: APIRouter, keys: KeyService, holdings: Holdings) -> None:
    user = declare(Access.USER)

    @routes.post(
        "",
        status_code=201,
        response_model=KeyView,
        summary="Check a key with its provider and store it encrypted",
        responses=documented(400, 401, 403, 409, 413, 503),
        openapi_extra=user,
    )
    async def create(
        body: CreateKey, options: Annotated[CreateOptions, Query()], asker: AskedBy
    ) -> KeyView:
        whose(asker, body.user_id)
        if not options.validate_ and not asker.is_administrator:
            raise Forbidden("Only an administrator may store a key unvalidated")
        if body.names_host and not asker.is_administrator:
            raise Forbidden(
                f"Only an administrator may say where a key of provider '{body.provider}' is used"
            )
        return KeyView.of(await keys.create(body.to_new(), validate=options.validate_))

    @routes.get(
        "",
        response_model=list[AnyKeyView] | KeyPage,
        summary="List keys, newest first: a user's own and those shared with it",
        description="userId is required, unless a user asks, whose own id it then is, or an "
        "administrator, who without it gets every user's keys.",
        responses=documented(400, 401, 403, 503),
        openapi_extra=user,
    )
    async def list_keys(
        query: Annotated[ListKeys, Query()], asker: AskedBy
    ) -> list[AnyKeyView] | KeyPage:
        owner = whose(asker, query.user_id)
        wanted = KeyFilter(owner, query.provider, query.is_active, query.is_valid)
        page = query.asked()
        views = [view_of(held) for held in await holdings.list(wanted, page)]
        if page is None:
            return views
        total = await holdings.count(wanted)
        return KeyPage(data=views, total=total, page=page.number, limit=page.limit)

    @routes.get(
        "/provider/{provider}",
        response_model=list[AnyKeyView],
        summary="List keys of one provider, newest first",
        responses=documented(400, 401, 403, 503),
        openapi_extra=user,
    )
    async def list_by_provider(
        provider: Provider, query: Annotated[OwnerQuery, Query()], asker: AskedBy
    ) -> list[AnyKeyView]:
        wanted = KeyFilter(whose(asker, query.user_id), provider)
        return [view_of(held) for held in await holdings.list(wanted, None)]


def _add_reading_routes(routes: APIRouter, holdings: Holdings, doorkeeper: Doorkeeper) -> None:
    @routes.get(
        "/{key_id}",
        response_model=AnyKeyView,
        summary="One key, without its value",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=declare(Access.USER),
    )
    async def get(key_id: UUID, _: Annotated[NoQuery, Query()], asker: AskedBy) -> AnyKeyView:
        return view_of(await doorkeeper.admit(asker, Action.SEE, key_id))

    @routes.get(
        "/{key_id}/decrypt",
        response_model=KeyValue,
        summary="A key's value; counts as a use",
        description="With x-user-id only when that user owns the key or has a grant of it with "
        "the scope reveal.",
        responses=documented(400, 401, 403, 404, 409, 503),
        openapi_extra=declare(Access.INTERNAL),
    )
    async def decrypt(
        key_id: UUID, _: Annotated[NoQuery, Query()], response: Response, asker: AskedBy
    ) -> KeyValue:
        held = await doorkeeper.admit_to_value(asker, key_id)
        value = await holdings.reveal(held, Purpose.DECRYPT)
        response.headers["cache-control"] = "no-store"
        return KeyValue(key=value.reveal())


def _add_changing_routes(routes: APIRouter, keys: KeyService, doorkeeper: Doorkeeper) -> None:
    user = declare(Access.USER)

    @routes.post(
        "/{key_id}/validate",
        response_model=KeyView,
        summary="Ask the provider about a key again",
        responses=documented(400, 401, 403, 404, 409, 503),
        openapi_extra=user,
    )
    async def validate(key_id: UUID, _: Annotated[NoQuery, Query()], asker: AskedBy) -> KeyView:
        await doorkeeper.admit(asker, Action.VALIDATE, key_id)
        return KeyView.of(await keys.validate(key_id))

    @routes.put(
        "/{key_id}",
        response_model=KeyView,
        summary="Change a key's name, state, metadata or expiry",
        responses=documented(400, 401, 403, 404, 409, 413, 503),
        openapi_extra=user,
    )
    async def change(
        key_id: UUID, body: ChangeKey, _: Annotated[NoQuery, Query()], asker: AskedBy
    ) -> KeyView:
        await doorkeeper.admit(asker, Action.CHANGE, key_id)
        if "api_key" in body.model_fields_set:
            message = f"cannot be changed here; use POST /api/api-keys/{key_id}/rotate"
            raise InvalidInput(errors=[FieldFault("apiKey", message)])
        changes = {name: getattr(body, name) for name in body.model_fields_set}
        return KeyView.of(await keys.change(key_id, changes))

    @routes.delete(
        "/{key_id}",
        status_code=204,
        response_class=Response,
        summary="Remove a key and its ciphertext, and end every grant of it",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=user,
    )
    async def delete(key_id: UUID, _: Annotated[NoQuery, Query()], asker: AskedBy) -> None:
        await doorkeeper.admit(asker, Action.DELETE, key_id)
        await keys.delete(key_id)
