"""The routes of provider keys. No response type has a field for a key's value or ciphertext."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from model_service.http.auth import Access, GuardedRoute, declare
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
from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import KeyFilter, NewKey, ProviderKey
from model_service.keys.service import KeyService


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


class KeyValue(ResponseModel):
    """A key's value. The only answer that carries one."""

    key: str


KeyPage = PageOf[KeyView]


def router(keys: KeyService) -> APIRouter:
    """The routes under `/api/api-keys`."""
    routes = APIRouter(prefix="/api/api-keys", tags=["API keys"], route_class=GuardedRoute)
    administrator = declare(Access.ADMINISTRATOR)

    @routes.post(
        "",
        status_code=201,
        response_model=KeyView,
        summary="Check a key with its provider and store it encrypted",
        responses=documented(400, 401, 403, 409, 413, 503),
        openapi_extra=administrator,
    )
    async def create(body: CreateKey, options: Annotated[CreateOptions, Query()]) -> KeyView:
        new = NewKey(
            user_id=body.user_id,
            provider=body.provider,
            key_name=body.key_name,
            value=body.api_key,
            metadata=body.metadata,
            expires_at=body.expires_at,
        )
        return KeyView.of(await keys.create(new, validate=options.validate_))

    async def listed(wanted: KeyFilter, query: PageQuery) -> list[KeyView] | KeyPage:
        page = query.asked()
        views = [KeyView.of(key) for key in await keys.list(wanted, page)]
        if page is None:
            return views
        return KeyPage(
            data=views, total=await keys.count(wanted), page=page.number, limit=page.limit
        )

    @routes.get(
        "",
        response_model=list[KeyView] | KeyPage,
        summary="List keys, newest first",
        responses=documented(400, 401, 403, 503),
        openapi_extra=administrator,
    )
    async def list_keys(query: Annotated[ListKeys, Query()]) -> list[KeyView] | KeyPage:
        wanted = KeyFilter(query.user_id, query.provider, query.is_active, query.is_valid)
        return await listed(wanted, query)

    @routes.get(
        "/provider/{provider}",
        response_model=list[KeyView],
        summary="List keys of one provider, newest first",
        responses=documented(400, 401, 403, 503),
        openapi_extra=administrator,
    )
    async def list_by_provider(
        provider: Provider, query: Annotated[OwnerQuery, Query()]
    ) -> list[KeyView]:
        found = await keys.list(KeyFilter(query.user_id, provider), None)
        return [KeyView.of(key) for key in found]

    @routes.get(
        "/{key_id}",
        response_model=KeyView,
        summary="One key, without its value",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def get(key_id: UUID) -> KeyView:
        return KeyView.of(await keys.get(key_id))

    @routes.get(
        "/{key_id}/decrypt",
        response_model=KeyValue,
        summary="A key's value; counts as a use",
        responses=documented(400, 401, 404, 409, 503),
        openapi_extra=declare(Access.INTERNAL),
    )
    async def decrypt(key_id: UUID, response: Response) -> KeyValue:
        value = await keys.reveal(key_id)
        response.headers["cache-control"] = "no-store"
        return KeyValue(key=value.reveal())

    @routes.post(
        "/{key_id}/validate",
        response_model=KeyView,
        summary="Ask the provider about a key again",
        responses=documented(400, 401, 403, 404, 409, 503),
        openapi_extra=administrator,
    )
    async def validate(key_id: UUID) -> KeyView:
        return KeyView.of(await keys.validate(key_id))

    @routes.put(
        "/{key_id}",
        response_model=KeyView,
        summary="Change a key's name, state, metadata or expiry",
        responses=documented(400, 401, 403, 404, 409, 413, 503),
        openapi_extra=administrator,
    )
    async def change(key_id: UUID, body: ChangeKey) -> KeyView:
        if "api_key" in body.model_fields_set:
            message = f"cannot be changed here; use POST /api/api-keys/{key_id}/rotate"
            raise InvalidInput(errors=[FieldFault("apiKey", message)])
        changes = {name: getattr(body, name) for name in body.model_fields_set}
        return KeyView.of(await keys.change(key_id, changes))

    @routes.delete(
        "/{key_id}",
        status_code=204,
        response_class=Response,
        summary="Remove a key and its ciphertext",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def delete(key_id: UUID) -> None:
        await keys.delete(key_id)

    return routes
