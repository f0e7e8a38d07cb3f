"""The routes of webhooks, for administrators alone."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from model_service.http.auth import Access, GuardedRoute, declare
from model_service.http.paging import CursorPage, CursorQuery, page_of
from model_service.http.problem import documented
from model_service.http.wire import NoQuery
from model_service.webhooks.service import WebhookService
from model_service.webhooks.wire import (
    ChangeWebhook,
    CreateWebhook,
    DeliveryView,
    TestView,
    WebhookView,
    WebhookWithSecret,
)


def router(webhooks: WebhookService) -> APIRouter:
    """The routes under `/api/webhooks`."""
    routes = APIRouter(prefix="/api/webhooks", tags=["Webhooks"], route_class=GuardedRoute)
    _add_management_routes(routes, webhooks)
    _add_secret_routes(routes, webhooks)
    _add_delivery_routes(routes, webhooks)
    return routes


def _add_management_routes(routes: APIRouter, webhooks: WebhookService) -> None:
    administrator = declare(Access.ADMINISTRATOR)

    @routes.get(
        "",
        summary="List webhooks, newest first",
        responses=documented(400, 401, 403, 503),
        openapi_extra=administrator,
    )
    async def list_webhooks(query: Annotated[CursorQuery, Query()]) -> CursorPage[WebhookView]:
        found = await webhooks.page(query.before_id(), query.limit + 1)
        return page_of(found, query.limit, WebhookView.of, lambda webhook: webhook.id)

    @routes.get(
        "/{webhook_id}",
        summary="One webhook, without its secret",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def get_webhook(webhook_id: UUID, _: Annotated[NoQuery, Query()]) -> WebhookView:
        return WebhookView.of(await webhooks.get(webhook_id))

    @routes.put(
        "/{webhook_id}",
        summary="Change some fields of a webhook",
        responses=documented(400, 401, 403, 404, 413, 503),
        openapi_extra=administrator,
    )
    async def change_webhook(
        webhook_id: UUID, body: ChangeWebhook, _: Annotated[NoQuery, Query()]
    ) -> WebhookView:
        return WebhookView.of(await webhooks.change(webhook_id, body.to_changes()))

    @routes.delete(
        "/{webhook_id}",
        status_code=204,
        response_class=Response,
        summary="Remove a webhook, its pending deliveries and its log",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def delete_webhook(webhook_id: UUID, _: Annotated[NoQuery, Query()]) -> None:
        await webhooks.delete(webhook_id)


def _add_secret_routes(routes: APIRouter, webhooks: WebhookService) -> None:
    administrator = declare(Access.ADMINISTRATOR)

    @routes.post(
        "",
        status_code=201,
        summary="Tell a receiver of events from now on",
        description="The answer has the secret that signs what is sent; it is shown this once.",
        responses=documented(400, 401, 403, 413, 503),
        openapi_extra=administrator,
    )
    async def create_webhook(
        body: CreateWebhook, _: Annotated[NoQuery, Query()], response: Response
    ) -> WebhookWithSecret:
        created = await webhooks.create(body.to_new())
        response.headers["cache-control"] = "no-store"
        return WebhookWithSecret.revealing(created)

    @routes.post(
        "/{webhook_id}/rotate-secret",
        summary="Sign with a new secret",
        description="For 24 hours the one before signs too. The new one is shown this once.",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def rotate_webhook_secret(
        webhook_id: UUID, _: Annotated[NoQuery, Query()], response: Response
    ) -> WebhookWithSecret:
        rotated = await webhooks.rotate_secret(webhook_id)
        response.headers["cache-control"] = "no-store"
        return WebhookWithSecret.revealing(rotated)


def _add_delivery_routes(routes: APIRouter, webhooks: WebhookService) -> None:
    administrator = declare(Access.ADMINISTRATOR)

    @routes.post(
        "/{webhook_id}/test",
        summary="Send a webhook.test event now, once, and see what comes of it",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def try_webhook(webhook_id: UUID, _: Annotated[NoQuery, Query()]) -> TestView:
        event_id, attempt = await webhooks.test(webhook_id)
        return TestView.of(event_id, attempt)

    @routes.get(
        "/{webhook_id}/deliveries",
        summary="What was sent to a webhook, newest event first, and what came of each attempt",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def list_deliveries(
        webhook_id: UUID, query: Annotated[CursorQuery, Query()]
    ) -> CursorPage[DeliveryView]:
        found = await webhooks.deliveries(webhook_id, query.before_id(), query.limit + 1)
        return page_of(found, query.limit, DeliveryView.of, lambda delivery: delivery.event_id)
