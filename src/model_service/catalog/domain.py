"""What a model is, and what the slice needs from outside."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from model_service.kernel.audit import Purpose
from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.policy import POLICY, check_policy
from model_service.kernel.provider import OfferedModel
from model_service.kernel.secret import Secret
from model_service.kernel.types import Page, Provider

Document = Mapping[str, Any]
"""A free-form JSON object."""

Capabilities = Mapping[str, bool | None]
"""What a model can do, by name; None where nobody knows."""

#: Tokens a model may give in one answer when its registration does not say.
DEFAULT_MAX_TOKENS: Final = 4096
#: The setting that says where a CUSTOM model is served.
BASE_URL: Final = "baseUrl"
#: The setting that says so by the name of a vendor.
PRESET: Final = "preset"

Presets = Mapping[str, str]
"""Where the known vendors serve their models, by the vendors' names."""

NO_PRESETS: Final[Presets] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """A model to be registered. Costs are US dollars for 1,000 tokens."""

    name: str
    provider: Provider
    model_id: str
    description: str | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    supports_streaming: bool = True
    default_temperature: float | None = None
    rate_limit_per_minute: int | None = None
    rate_limit_per_hour: int | None = None
    rate_limit_per_day: int | None = None
    input_cost_per_1k_tokens: Decimal | None = None
    output_cost_per_1k_tokens: Decimal | None = None
    cached_input_cost_per_1k_tokens: Decimal | None = None
    cache_write_cost_per_1k_tokens: Decimal | None = None
    provider_settings: Document | None = None
    is_active: bool = True
    is_default: bool = False
    metadata: Document | None = None
    context_window: int | None = None
    capabilities: Capabilities | None = None
    fallbacks: tuple[str, ...] | None = None

    @property
    def base_url(self) -> str | None:
        """Where a CUSTOM model is served, if its settings say so themselves."""
        return self._setting(BASE_URL)

    @property
    def preset(self) -> str | None:
        """The vendor that serves a CUSTOM model, if its settings name one."""
        return self._setting(PRESET) if self.provider is Provider.CUSTOM else None

    def served_at(self, presets: Presets) -> str | None:
        """Where a CUSTOM model is served, if its settings say so in either way."""
        preset = self.preset
        return self.base_url if preset is None else presets.get(preset)

    def check(self, presets: Presets = NO_PRESETS) -> None:
        """Refuse what no single field's type can tell to be wrong.

        Raises:
            InvalidInput: it falls back on itself, its policy is no good, or what says where a
                CUSTOM model is served is not.
        """
        faults = []
        if self.name in (self.fallbacks or ()):
            faults.append(FieldFault("fallbacks", "must not contain the model's own name"))
        settings = self.provider_settings or {}
        if settings.get(POLICY) is not None:
            faults += check_policy(settings[POLICY])
        if self.provider is Provider.CUSTOM and BASE_URL in settings:
            fault = _base_url_fault(self.base_url)
            if fault:
                faults.append(FieldFault(f"providerSettings.{BASE_URL}", fault))
        if self.provider is Provider.CUSTOM and PRESET in settings:
            if BASE_URL in settings:
                fault = f"must not be given beside {BASE_URL}"
                faults.append(FieldFault(f"providerSettings.{PRESET}", fault))
            elif self.preset not in presets:
                fault = f"must be one of {', '.join(sorted(presets))}"
                faults.append(FieldFault(f"providerSettings.{PRESET}", fault))
        if faults:
            raise InvalidInput(errors=faults)

    def _setting(self, name: str) -> str | None:
        value = (self.provider_settings or {}).get(name)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(NewModel):
    """A registered model."""

    id: UUID
    created_at: datetime
    updated_at: datetime

    @classmethod
    def register(cls, new: NewModel, *, id: UUID, now: datetime) -> "Model":  # noqa: A002
        """The entity that a registration becomes."""
        given = {field.name: getattr(new, field.name) for field in fields(NewModel)}
        return cls(id=id, created_at=now, updated_at=now, **given)


class Unset(Enum):
    """The mark of a field that a change leaves alone, which is not the same as null."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChanges:
    """A change of some fields: UNSET leaves one alone, None clears an optional one."""

    name: str | Unset = UNSET
    provider: Provider | Unset = UNSET
    model_id: str | Unset = UNSET
    description: str | Unset | None = UNSET
    max_tokens: int | Unset = UNSET
    supports_streaming: bool | Unset = UNSET
    default_temperature: float | Unset | None = UNSET
    rate_limit_per_minute: int | Unset | None = UNSET
    rate_limit_per_hour: int | Unset | None = UNSET
    rate_limit_per_day: int | Unset | None = UNSET
    input_cost_per_1k_tokens: Decimal | Unset | None = UNSET
    output_cost_per_1k_tokens: Decimal | Unset | None = UNSET
    cached_input_cost_per_1k_tokens: Decimal | Unset | None = UNSET
    cache_write_cost_per_1k_tokens: Decimal | Unset | None = UNSET
    provider_settings: Document | Unset | None = UNSET
    is_active: bool | Unset = UNSET
    is_default: bool | Unset = UNSET
    metadata: Document | Unset | None = UNSET
    context_window: int | Unset | None = UNSET
    capabilities: Capabilities | Unset | None = UNSET
    fallbacks: tuple[str, ...] | Unset | None = UNSET

    def given(self) -> dict[str, Any]:
        """The fields to change, with their new values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not UNSET}

    def applied_to(self, model: Model) -> Model:
        """The model as it is after the change."""
        return replace(model, **self.given())


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFilter:
    """Which models to list; None means any."""

    provider: Provider | None = None
    is_active: bool | None = None
    supports_streaming: bool | None = None
    names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ModelStats:
    """How many models there are, and which one is the default."""

    total: int
    active: int
    by_provider: Mapping[Provider, int]
    default_name: str | None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is publicly known of a model; None where nothing is."""

    context_window: int | None = None
    capabilities: Capabilities | None = None


@dataclass(frozen=True, slots=True)
class AvailableModel:
    """A model that a provider offers, with what else is known of it."""

    offered: OfferedModel
    facts: ModelFacts


Revision = Callable[[Model], ModelChanges]
"""Given the model as it is stored, what to change of it. May raise to change nothing."""


class ModelStore(Protocol):
    """Where models are kept. At most one of them is the default, whatever runs at once."""

    async def add(self, model: Model) -> Model:
        """Store a new model. Raises `AlreadyExists` when its name is taken."""
        ...

    async def adopt(self, model: Model) -> Model:
        """Store a model from elsewhere; it stays the default only if there is none yet.

        Raises `AlreadyExists` when its name or id is taken.
        """
        ...

    async def get(self, model_id: UUID) -> Model | None:
        """The model of that id."""
        ...

    async def get_default(self) -> Model | None:
        """The default model, if it is active."""
        ...

    async def list_all(self, wanted: ModelFilter, *, most: int) -> list[Model]:
        """The first `most` models: the default first, then the newest first."""
        ...

    async def list_page(self, wanted: ModelFilter, page: Page) -> tuple[list[Model], int]:
        """One page in the same order, and how many models there are on all pages."""
        ...

    async def stats(self, wanted: ModelFilter) -> ModelStats:
        """The counts, all of one moment."""
        ...

    async def update(
        self, model_id: UUID, revise: Revision, *, now: datetime, claims_default: bool
    ) -> Model | None:
        """Change a model while nobody else does; None when there is none of that id.

        `claims_default` says beforehand whether `revise` may make it the default. Raises
        `AlreadyExists` when the new name is taken.
        """
        ...

    async def step_down(self, keep: UUID, now: datetime) -> list[Model]:
        """Have no other model than `keep` be the default; gives which was. Before a claim to it."""
        ...

    async def delete(self, model_id: UUID) -> bool:
        """Remove a model; False when there was none."""
        ...


class ActiveKey(Protocol):
    """A user's key that may be used now, without its value."""

    @property
    def id(self) -> UUID:
        """Which key."""
        ...

    @property
    def key_version(self) -> int:
        """Changes whenever the value does."""
        ...

    @property
    def is_valid(self) -> bool:
        """Whether the provider accepted it when it was last asked."""
        ...

    @property
    def endpoint(self) -> str | None:
        """The endpoint that the key is for, where the provider has no common one."""
        ...

    @property
    def share_id(self) -> UUID | None:
        """The grant by which the user has it; None for its own."""
        ...

    @property
    def models(self) -> Collection[str] | None:
        """The names of the models that the user may use it for; None for all."""
        ...


class ProviderKeys(Protocol):
    """The users' keys, as far as models concern them."""

    async def find_to_use(self, user_id: str, provider: Provider) -> ActiveKey | None:
        """The user's best active key for a provider, own or shared, whose value stays inside."""
        ...

    async def find_to_reveal(
        self, user_id: str, provider: Provider, model: str
    ) -> ActiveKey | None:
        """The user's best active key for a provider whose value may be given out for the model."""
        ...

    async def reveal(self, held: ActiveKey, purpose: Purpose) -> Secret[str]:
        """The key's value; recorded and counted as a use before it is given.

        Raises `NotFound`, `KeyInactive` or `Forbidden` when it went away meanwhile.
        """
        ...

    async def refused(self, held: ActiveKey) -> Secret[str] | None:
        """The provider does not take the key's value: which one to try once instead.

        Noted and announced the first time. None when there is none.
        """
        ...

    async def fallback(self, held: ActiveKey) -> Secret[str] | None:
        """The value to use for a key that is known to be refused; None when there is none."""
        ...


class ModelLister(Protocol):
    """Asks providers which models they offer."""

    async def list_models(
        self, provider: Provider, key: Secret[str] | None, endpoint: str | None
    ) -> Sequence[OfferedModel]:
        """Every model that the provider offers to the holder of the key.

        `endpoint` is the key's own; None means the operator's address for the provider.

        Raises:
            KeyRefused: the provider does not take the key.
            ProviderUnreachable: it did not answer, or not usefully; the message names the
                provider and the verdict.
            UpstreamError: no answer came at all.
        """
        ...


class ModelBook(Protocol):
    """What is publicly known of models. `load` comes before everything else."""

    async def load(self) -> None:
        """Read the book, unless it is read. It is large: this takes a moment, off the loop."""
        ...

    def facts(self, provider: Provider, model_id: str, base_url: str | None = None) -> ModelFacts:
        """What is known of a model; `base_url` tells which vendor a CUSTOM model is of."""
        ...


def _base_url_fault(url: str | None) -> str | None:
    """What is wrong with a base URL's form. Where it leads is checked when it is used."""
    if url is None:
        return "must be a string"
    if any(character <= " " or character in "\\\x7f" for character in url):
        return "must not contain spaces, control characters or backslashes"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a valid URL"
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return "must be an http or https URL with a host"
    if "@" in parts.netloc:
        return "must not contain a user name or password"
    if "#" in url:
        return "must not contain a fragment"
    return None
