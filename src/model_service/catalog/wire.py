"""Models on the wire: what a request may say and what an answer shows."""

from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from model_service.catalog.domain import (
    UNSET,
    AvailableModel,
    Model,
    ModelChanges,
    ModelFilter,
    ModelStats,
    NewModel,
    Unset,
)
from model_service.http.wire import (
    Count,
    Flag,
    FreeForm,
    Moment,
    Money,
    NoQuery,
    PageOf,
    PageQuery,
    PositiveCount,
    Price,
    QueryFlag,
    RequestModel,
    ResponseModel,
    Text10k,
    Text255,
    UserId,
)
from model_service.kernel.types import Provider

#: Longest chain of fallbacks; each one is another wait for whoever asked.
MOST_FALLBACKS: Final = 20
MOST_CAPABILITIES: Final = 50


def _unset() -> Unset:
    return UNSET


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("must not contain a name twice")
    return names


Temperature = Annotated[float, Field(strict=True, ge=0, le=2)]
"""0 to 2."""

CapabilityName = Annotated[str, StringConstraints(pattern=r"^[a-z][A-Za-z0-9]{0,63}$")]

CapabilitiesIn = Annotated[
    dict[CapabilityName, Flag | None],
    Field(
        max_length=MOST_CAPABILITIES,
        json_schema_extra={"additionalProperties": False},
        description="What the model can do: streaming, tools, parallelTools, vision, "
        "structuredOutput, reasoning, embeddings and others; null where unknown.",
    ),
]

FallbacksIn = Annotated[
    tuple[Text255, ...],
    Field(
        max_length=MOST_FALLBACKS,
        json_schema_extra={"uniqueItems": True},
        description="Names of other models to try instead, in this order. They need not exist yet.",
    ),
    AfterValidator(_distinct),
]

_NOT_GIVEN = Field(default_factory=_unset)


class CreateModel(RequestModel):
    """A model to be registered."""

    name: Text255
    provider: Provider
    model_id: Text255
    description: Text10k | None = None
    max_tokens: PositiveCount = 4096
    supports_streaming: Flag = True
    default_temperature: Temperature | None = None
    rate_limit_per_minute: Count | None = None
    rate_limit_per_hour: Count | None = None
    rate_limit_per_day: Count | None = None
    input_cost_per_1k_tokens: Price | None = None
    output_cost_per_1k_tokens: Price | None = None
    cached_input_cost_per_1k_tokens: Price | None = None
    cache_write_cost_per_1k_tokens: Price | None = None
    provider_settings: FreeForm | None = None
    is_active: Flag = True
    is_default: Flag = False
    metadata: FreeForm | None = None
    context_window: PositiveCount | None = None
    capabilities: CapabilitiesIn | None = None
    fallbacks: FallbacksIn | None = None

    def to_new(self) -> NewModel:
        """As the domain takes it."""
        return NewModel(**dict(self))


class ChangeModel(RequestModel):
    """Fields to change; null clears one that is optional."""

    name: Annotated[Text255, _NOT_GIVEN]
    provider: Annotated[Provider, _NOT_GIVEN]
    model_id: Annotated[Text255, _NOT_GIVEN]
    description: Annotated[Text10k | None, _NOT_GIVEN]
    max_tokens: Annotated[PositiveCount, _NOT_GIVEN]
    supports_streaming: Annotated[Flag, _NOT_GIVEN]
    default_temperature: Annotated[Temperature | None, _NOT_GIVEN]
    rate_limit_per_minute: Annotated[Count | None, _NOT_GIVEN]
    rate_limit_per_hour: Annotated[Count | None, _NOT_GIVEN]
    rate_limit_per_day: Annotated[Count | None, _NOT_GIVEN]
    input_cost_per_1k_tokens: Annotated[Price | None, _NOT_GIVEN]
    output_cost_per_1k_tokens: Annotated[Price | None, _NOT_GIVEN]
    cached_input_cost_per_1k_tokens: Annotated[Price | None, _NOT_GIVEN]
    cache_write_cost_per_1k_tokens: Annotated[Price | None, _NOT_GIVEN]
    provider_settings: Annotated[FreeForm | None, _NOT_GIVEN]
    is_active: Annotated[Flag, _NOT_GIVEN]
    is_default: Annotated[Flag, _NOT_GIVEN]
    metadata: Annotated[FreeForm | None, _NOT_GIVEN]
    context_window: Annotated[PositiveCount | None, _NOT_GIVEN]
    capabilities: Annotated[CapabilitiesIn | None, _NOT_GIVEN]
    fallbacks: Annotated[FallbacksIn | None, _NOT_GIVEN]

    def to_changes(self) -> ModelChanges:
        """As the domain takes them."""
        return ModelChanges(**dict(self))


class ListModels(PageQuery):
    """Which models to list."""

    provider: Provider | None = None
    is_active: QueryFlag | None = None
    supports_streaming: QueryFlag | None = None

    def wanted(self, names: frozenset[str] | None) -> ModelFilter:
        """As the domain takes it; `names` are those that the caller may see, None for all."""
        return ModelFilter(
            provider=self.provider,
            is_active=self.is_active,
            supports_streaming=self.supports_streaming,
            names=names,
        )


class UserQuery(NoQuery):
    """For which user."""

    user_id: UserId | None = None


class ModelView(ResponseModel):
    """A model. Costs are US dollars for 1,000 tokens."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    provider: Provider
    model_id: str
    description: str | None
    max_tokens: int
    supports_streaming: bool
    default_temperature: float | None
    rate_limit_per_minute: int | None
    rate_limit_per_hour: int | None
    rate_limit_per_day: int | None
    input_cost_per_1k_tokens: Money | None
    output_cost_per_1k_tokens: Money | None
    cached_input_cost_per_1k_tokens: Money | None
    cache_write_cost_per_1k_tokens: Money | None
    provider_settings: dict[str, Any] | None
    is_active: bool
    is_default: bool
    metadata: dict[str, Any] | None
    context_window: int | None
    capabilities: dict[str, bool | None] | None
    fallbacks: list[str] | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, model: Model) -> "ModelView":
        """The view of a model."""
        return cls.model_validate(model)


ModelPage = PageOf[ModelView]


class StatsView(ResponseModel):
    """How many models there are; `defaultModel` is the default's name."""

    total: int
    active: int
    by_provider: dict[Provider, int]
    default_model: str | None

    @classmethod
    def of(cls, stats: ModelStats) -> "StatsView":
        """The view of the counts."""
        return cls(
            total=stats.total,
            active=stats.active,
            by_provider=dict(stats.by_provider),
            default_model=stats.default_name,
        )


class AvailableView(ResponseModel):
    """A model that a provider offers; null where neither it nor the price book says."""

    id: str
    name: str
    description: str | None
    max_tokens: int | None
    supports_streaming: bool | None
    context_window: int | None
    capabilities: dict[str, bool | None] | None

    @classmethod
    def of(cls, available: AvailableModel) -> "AvailableView":
        """The view of an offer, what the provider says before what the book says."""
        offered, facts = available.offered, available.facts
        capabilities = None if facts.capabilities is None else dict(facts.capabilities)
        streaming = offered.supports_streaming
        if streaming is None and capabilities is not None:
            streaming = capabilities.get("streaming")
        return cls(
            id=offered.id,
            name=offered.name,
            description=offered.description,
            max_tokens=offered.max_tokens,
            supports_streaming=streaming,
            context_window=offered.context_window or facts.context_window,
            capabilities=capabilities,
        )
