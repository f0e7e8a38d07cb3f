"""The routes of models."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Response

from model_service.catalog.domain import Model, ModelFilter
from model_service.catalog.service import ModelService
from model_service.catalog.wire import (
    AvailableView,
    ChangeModel,
    CreateModel,
    ListModels,
    ModelPage,
    ModelView,
    StatsView,
    UserQuery,
)
from model_service.http.auth import Access, AskedBy, GuardedRoute, Permission, Principal, declare
from model_service.http.problem import documented
from model_service.http.wire import NoQuery
from model_service.kernel.acting import where_values_leave, whose
from model_service.kernel.audit import AuditEvent, Decision, Denials
from model_service.kernel.errors import Forbidden, NotFound
from model_service.kernel.types import Provider


def router(models: ModelService, denials: Denials) -> APIRouter:
    """The routes under `/api/models`; `denials` hears of models that a token may not see."""
    sight = _Sight(models, denials)
    routes = APIRouter(prefix="/api/models", tags=["Models"], route_class=GuardedRoute)
    # The fixed paths come first, or `/{model_id}` would take them for identifiers.
    _add_collection_routes(routes, models, sight)
    _add_provider_routes(routes, models)
    _add_model_routes(routes, models, sight)
    return routes


def _add_collection_routes(routes: APIRouter, models: ModelService, sight: "_Sight") -> None:
    @routes.post(
        "",
        status_code=201,
        summary="Register a model",
        responses=documented(400, 401, 403, 409, 413, 503),
        openapi_extra=declare(Access.ADMINISTRATOR),
    )
    async def create_model(
        body: CreateModel, _: Annotated[NoQuery, Query()], asker: AskedBy
    ) -> ModelView:
        _check_name(asker, body.name)
        return ModelView.of(await models.create(body.to_new()))

    @routes.get(
        "",
        summary="List models: the default first, then the newest first",
        description="An array, or with any of page, pageSize and limit one page of it.",
        responses=documented(400, 401, 403, 503),
        openapi_extra=declare(Access.USER),
    )
    async def list_models(
        query: Annotated[ListModels, Query()], asker: AskedBy
    ) -> list[ModelView] | ModelPage:
        page, wanted = query.asked(), query.wanted(asker.scopes.models)
        if page is None:
            return [ModelView.of(model) for model in await models.list_all(wanted)]
        found, total = await models.list_page(wanted, page)
        return ModelPage(
            data=[ModelView.of(model) for model in found],
            total=total,
            page=page.number,
            limit=page.limit,
        )

    @routes.get(
        "/default",
        summary="The active default model",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=declare(Access.USER),
    )
    async def get_default_model(_: Annotated[NoQuery, Query()], asker: AskedBy) -> ModelView:
        return ModelView.of(await sight.check(asker, await models.get_default()))

    @routes.get(
        "/stats",
        summary="How many models there are",
        responses=documented(400, 401, 403, 503),
        openapi_extra=declare(Access.USER),
    )
    async def get_model_stats(_: Annotated[NoQuery, Query()], asker: AskedBy) -> StatsView:
        return StatsView.of(await models.stats(ModelFilter(names=asker.scopes.models)))


def _add_provider_routes(routes: APIRouter, models: ModelService) -> None:
    @routes.get(
        "/provider/{provider}",
        summary="List the models of one provider",
        responses=documented(400, 401, 403, 503),
        openapi_extra=declare(Access.USER),
    )
    async def list_models_of_provider(
        provider: Provider, _: Annotated[NoQuery, Query()], asker: AskedBy
    ) -> list[ModelView]:
        wanted = ModelFilter(provider=provider, names=asker.scopes.models)
        found = await models.list_all(wanted)
        return [ModelView.of(model) for model in found]

    @routes.get(
        "/providers/{provider}/available-models",
        summary="What a provider offers to a user's key, by name",
        description="Asked live and remembered for five minutes. Needs userId, save for OLLAMA.",
        responses=documented(400, 401, 403, 404, 409, 503),
        openapi_extra=declare(Access.USER),
    )
    async def list_available_models(
        provider: Provider, query: Annotated[UserQuery, Query()], asker: AskedBy
    ) -> list[AvailableView]:
        # OLLAMA asks for no key, so a service need not say whose it would be.
        keyless = provider is Provider.OLLAMA and query.user_id is None
        user_id = None if keyless else whose(asker, query.user_id)
        offered = await models.available(provider, user_id, asker.scopes.models)
        return [AvailableView.of(model) for model in offered]


def _add_model_routes(routes: APIRouter, models: ModelService, sight: "_Sight") -> None:
    @routes.get(
        "/{model_id}",
        response_model=ModelView,
        summary="One model",
        description="With userId and a valid x-internal-secret the answer has one field more: "
        "apiKey, that user's active key for the provider, or null. Giving it counts as a use. "
        "Without the secret userId is ignored.",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=declare(Access.USER),
    )
    async def get_model(
        model_id: UUID, query: Annotated[UserQuery, Query()], asker: AskedBy
    ) -> Response | ModelView:
        model = await sight.get(asker, model_id)
        if query.user_id is None or not asker.internal:
            return ModelView.of(model)
        if not asker.scopes.permit(Permission.KEYS_REVEAL):
            raise Forbidden("The token's scopes do not allow this")
        whose(where_values_leave(asker), query.user_id)
        model, key = await models.get_with_key(model_id, query.user_id)
        # Not a field of any type: a value that prints itself is made here and nowhere else.
        document = ModelView.of(model).model_dump(mode="json", by_alias=True)
        document["apiKey"] = None if key is None else key.reveal()
        return Response(
            orjson.dumps(document),
            media_type="application/json",
            headers={"cache-control": "no-store"},
        )

    @routes.put(
        "/{model_id}",
        summary="Change some fields of a model",
        responses=documented(400, 401, 403, 404, 409, 413, 503),
        openapi_extra=declare(Access.ADMINISTRATOR),
    )
    async def change_model(
        model_id: UUID, body: ChangeModel, _: Annotated[NoQuery, Query()], asker: AskedBy
    ) -> ModelView:
        await sight.get(asker, model_id)
        if "name" in body.model_fields_set:
            _check_name(asker, body.name)
        return ModelView.of(await models.update(model_id, body.to_changes()))

    @routes.delete(
        "/{model_id}",
        status_code=204,
        response_class=Response,
        summary="Remove a model",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=declare(Access.ADMINISTRATOR),
    )
    async def delete_model(model_id: UUID, _: Annotated[NoQuery, Query()], asker: AskedBy) -> None:
        await sight.get(asker, model_id)
        await models.delete(model_id)


@dataclass(frozen=True, slots=True)
class _Sight:
    """What tokens that are limited to models see; nobody changes or removes what he does not."""

    models: ModelService
    denials: Denials

    async def get(self, asker: Principal, model_id: UUID) -> Model:
        """The model. Raises `NotFound`: there is none, or not for this token."""
        try:
            model = await self.models.get(model_id)
        except NotFound:
            raise await self._hidden(asker, model_id) from None
        return await self.check(asker, model)

    async def check(self, asker: Principal, model: Model) -> Model:
        """The model, if the token may see it. Raises `NotFound`: it may not."""
        if not asker.scopes.allow_model(model.name):
            raise await self._hidden(asker, model.id)
        return model

    async def _hidden(self, asker: Principal, model_id: UUID) -> NotFound:
        if asker.scopes.models is not None:  # from others nothing is hidden
            await self.denials.note(
                AuditEvent(
                    type="auth.denied",
                    decision=Decision.DENY,
                    subject=f"model:{model_id}",
                    reason="no_such_model_for_them",
                )
            )
        return NotFound("No such model")


def _check_name(asker: Principal, name: str) -> None:
    if not asker.scopes.allow_model(name):
        raise Forbidden("The token's scopes do not allow a model of that name")
