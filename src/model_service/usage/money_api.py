"""`/api/usage/what-if`: a past period reckoned anew, beside what was stored."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from model_service.http.auth import Access, AskedBy, GuardedRoute, declare
from model_service.http.problem import documented
from model_service.http.wire import (
    Moment,
    MomentIn,
    Money,
    RequestModel,
    ResponseModel,
    Text255,
    UserId,
)
from model_service.kernel.acting import whose
from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.usage.domain import UsageFilter, UsageReader
from model_service.usage.what_if import Share, Targets, WhatIf, what_if


class WhatIfQuery(RequestModel):
    """Which calls are reckoned anew, and at which model's prices."""

    model: Text255
    since: Annotated[MomentIn, Field(alias="from")]
    until: Annotated[MomentIn, Field(alias="to")]
    user_id: UserId | None = None

    def wanted(self, user_id: str | None) -> UsageFilter:
        """The calls, of that user alone where one is given.

        Raises:
            InvalidInput: the period ends before it begins.
        """
        if self.since > self.until:
            raise InvalidInput(errors=[FieldFault("to", "must not be before from")])
        return UsageFilter(user_id=user_id, since=self.since, until=self.until)


class ShareView(ResponseModel):
    """The calls that one model answered, as they were and as they would have been."""

    model: str | None
    requests: int
    unpriced: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_usd: Money
    what_if_cost_usd: Money
    what_if_unpriced: int

    @classmethod
    def of(cls, share: Share) -> "ShareView":
        """For the API, which counts both kinds of cache writes as one."""
        sums = share.sums
        return cls(
            model=share.model,
            requests=sums.requests,
            unpriced=sums.unpriced,
            input_tokens=sums.input_tokens,
            cached_input_tokens=sums.cached_input_tokens,
            cache_write_tokens=sums.cache_write_tokens + sums.cache_write_1h_tokens,
            output_tokens=sums.output_tokens,
            cost_usd=sums.cost,
            what_if_cost_usd=share.would_cost,
            what_if_unpriced=share.unpriced,
        )


class AssumptionView(ResponseModel):
    """What the reckoning takes for granted."""

    code: str
    text: str


class WhatIfView(ResponseModel):
    """What a period cost, and what it would have cost at another model's prices.

    Costs are those of the calls whose price is known; `unpriced` and `whatIfUnpriced` count the
    others. `differenceUsd` is what more it would have cost.
    """

    model: str
    since: Annotated[Moment, Field(alias="from")]
    until: Annotated[Moment, Field(alias="to")]
    requests: int
    unpriced: int
    cost_usd: Money
    what_if_cost_usd: Money
    what_if_unpriced: int
    difference_usd: Money
    price_versions: list[str]
    assumptions: list[AssumptionView]
    data: list[ShareView]

    @classmethod
    def of(cls, outcome: WhatIf) -> "WhatIfView":
        """For the API."""
        return cls(
            model=outcome.target,
            since=outcome.since,
            until=outcome.until,
            requests=outcome.requests,
            unpriced=outcome.unpriced_before,
            cost_usd=outcome.cost,
            what_if_cost_usd=outcome.would_cost,
            what_if_unpriced=outcome.unpriced,
            difference_usd=outcome.would_cost - outcome.cost,
            price_versions=list(outcome.versions),
            assumptions=[
                AssumptionView(code=one.value, text=one.text) for one in outcome.assumptions
            ],
            data=[ShareView.of(share) for share in outcome.shares],
        )


def router(usage: UsageReader, targets: Targets) -> APIRouter:
    """The route. Comes before `/api/usage/{requestId}`."""
    routes = APIRouter(prefix="/api/usage", tags=["Usage"], route_class=GuardedRoute)

    @routes.get(
        "/what-if",
        summary="What a past period would have cost at another model's prices",
        description="`model` is a registered name, or a provider and its model's id such as"
        " `OPENAI/gpt-4o`. Stored costs are not changed. Users, and services for the user they"
        " name, reckon that user's calls alone.",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=declare(Access.USER),
    )
    async def reckon(query: Annotated[WhatIfQuery, Query()], asker: AskedBy) -> WhatIfView:
        wanted = query.wanted(whose(asker, query.user_id))
        return WhatIfView.of(await what_if(usage, targets, query.model, wanted))

    return routes
