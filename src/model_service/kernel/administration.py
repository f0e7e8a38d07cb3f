"""Providers' administration APIs, as far as this service has keys made and taken back there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from model_service.kernel.secret import Secret

AdminSettings = Mapping[str, str]
"""What an administrative credential needs beside its secret, as ids of tenants and projects."""


@dataclass(frozen=True, slots=True)
class Order:
    """One piece of work at an administration API.

    `name` is what an issued key is known by there, unique to one rotation. `target` is where
    keys are made: a project of OpenAI's, an account of Azure's.
    """

    name: str
    target: str
    secret: Secret[str] = field(repr=False)
    settings: AdminSettings


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that a provider made.

    `reference` is what it is taken back by. `former` is the reference of the value it takes
    the place of, where the provider knows that one: then that one can be taken back as well.
    """

    value: Secret[str]
    reference: str
    former: str | None = None


class KeyAdministration(Protocol):
    """One provider's administration API.

    Whatever asks the provider raises `AdministrationRefused` when asking again is of no use
    before somebody has done something, and `ProviderUnreachable` when it may be later.
    """

    @property
    def origin(self) -> str:
        """Where secrets are sent. A credential stored for another origin is not used."""
        ...

    def checked_settings(self, settings: AdminSettings) -> AdminSettings:
        """The settings, complete and well-formed. Raises `InvalidInput`."""
        ...

    def target(self, settings: AdminSettings, wished: str | None, endpoint: str | None) -> str:
        """Where a key with that endpoint is to be made. Raises `AdministrationRefused`."""
        ...

    def fits(self, settings: AdminSettings, target: str) -> bool:
        """Whether a credential with these settings may turn out to be for that target.

        Where they do not tell, `check` does.
        """
        ...

    def shared_endpoints(self, endpoint: str | None) -> tuple[str, ...] | None:
        """Endpoints whose keys may stop working when a key for this one is made or taken back.

        None: no key gets in another's way.
        """
        ...

    async def check(self, order: Order) -> None:
        """Find out whether the credential may do what it is for. Changes nothing.

        One that cannot see the order's target is refused.
        """
        ...

    async def issue(self, order: Order, current: Secret[str]) -> IssuedKey:
        """Have a new key made beside `current`, which goes on working."""
        ...

    async def withdraw(
        self, order: Order, reference: str | None, value: Secret[str] | None
    ) -> None:
        """Take back what was issued; doing so again is harmless.

        Without a reference, because nobody was told it, whatever has the order's name is taken
        back. `value` is the one that must work no more, where it is still known.
        """
        ...
