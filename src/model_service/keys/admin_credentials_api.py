"""The routes of administrative credentials. No answer holds a secret."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from model_service.http.auth import Access, GuardedRoute, declare
from model_service.http.problem import documented
from model_service.http.wire import Moment, RequestModel, ResponseModel, Text255
from model_service.kernel.types import Provider
from model_service.keys.admin_credentials import (
    AdminCredential,
    AdminCredentials,
    NewAdminCredential,
)
from model_service.keys.api import SecretValue

_Settings = Annotated[dict[Text255, Text255], Field(max_length=16)]


class CreateAdminCredential(RequestModel):
    """An administrative credential: an admin key of OpenAI's, a client secret of Azure's.

    `settings`: for OPENAI `projectId`; for AZURE `tenantId`, `clientId`, `subscriptionId`,
    `resourceGroup` and, where it is for one account only, `accountName`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    provider: Provider
    secret: SecretValue
    settings: _Settings
    label: Text255 | None = None


class AdminCredentialView(ResponseModel):
    """An administrative credential as the API shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    provider: Provider
    label: str | None
    settings: dict[str, str]
    created_at: Moment

    @classmethod
    def of(cls, credential: AdminCredential) -> "AdminCredentialView":
        """The view of a credential."""
        return cls.model_validate(credential)


def router(credentials: AdminCredentials) -> APIRouter:
    """The routes under `/api/provider-admin-credentials`."""
    routes = APIRouter(
        prefix="/api/provider-admin-credentials",
        tags=["Administrative credentials"],
        route_class=GuardedRoute,
    )
    administrator = declare(Access.ADMINISTRATOR)

    @routes.post(
        "",
        status_code=201,
        response_model=AdminCredentialView,
        summary="Check an administrative credential with its provider and store it sealed",
        responses=documented(400, 401, 403, 413, 503),
        openapi_extra=administrator,
    )
    async def create(body: CreateAdminCredential) -> AdminCredentialView:
        new = NewAdminCredential(body.provider, body.label, body.settings, body.secret)
        return AdminCredentialView.of(await credentials.add(new))

    @routes.get(
        "",
        response_model=list[AdminCredentialView],
        summary="List administrative credentials, newest first",
        responses=documented(401, 403, 503),
        openapi_extra=administrator,
    )
    async def list_credentials() -> list[AdminCredentialView]:
        return [AdminCredentialView.of(credential) for credential in await credentials.list()]

    @routes.delete(
        "/{credential_id}",
        status_code=204,
        response_class=Response,
        summary="Forget an administrative credential",
        responses=documented(400, 401, 403, 404, 409, 503),
        openapi_extra=administrator,
    )
    async def delete(credential_id: UUID) -> None:
        await credentials.delete(credential_id)

    return routes
