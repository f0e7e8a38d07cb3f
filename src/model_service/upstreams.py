"""What the settings say about addresses, and the providers reached at them."""

from collections.abc import Mapping
from typing import Final

from model_service.db.engine import normalise_url
from model_service.kernel.errors import StartupFault
from model_service.providers.administration.registry import (
    AdministrationUrls,
    administration_addresses,
)
from model_service.providers.call_endpoints import CallEndpoints
from model_service.providers.egress import EgressPolicy
from model_service.providers.probing import Probe
from model_service.providers.registry import BaseUrls, Providers, operator_addresses
from model_service.providers.transport import Transport
from model_service.providers.vendors import VENDORS, Vendor
from model_service.settings import Settings


def address_faults(settings: Settings) -> list[str]:
    """What is wrong with the addresses in the settings."""

    def database() -> None:
        if settings.database_url is not None:
            normalise_url(settings.database_url)

    def providers() -> None:
        # With no rule of the policy in the way: that one is checked by itself.
        operator_addresses(_base_urls(settings), EgressPolicy((), loopback_allowed=True))

    def administration() -> None:
        administration_addresses(
            administration_urls(settings), EgressPolicy((), loopback_allowed=True)
        )

    def allowed_hosts() -> None:
        EgressPolicy.parse(settings.upstream_allowed_hosts, loopback_allowed=True)

    faults: list[str] = []
    for check in (database, providers, administration, allowed_hosts):
        try:
            check()
        except StartupFault as fault:
            faults.extend(fault.faults)
    return faults


#: Connections to one provider: as many as calls may be under way.
MAX_CONNECTIONS: Final = 10_000


def build_providers(
    settings: Settings, vendors: Mapping[str, Vendor] = VENDORS
) -> tuple[Providers, Transport]:
    """The providers over one transport. `vendors` are the presets of CUSTOM keys.

    Raises:
        StartupFault: a base URL or the list of allowed hosts is malformed.
    """
    policy = policy_of(settings)
    transport = Transport(policy, max_connections_per_origin=MAX_CONNECTIONS)
    return Providers(transport, policy, _base_urls(settings), vendors=vendors), transport


def call_endpoints(settings: Settings) -> CallEndpoints:
    """Where calls go.

    Raises:
        StartupFault: a base URL or the list of allowed hosts is malformed.
    """
    policy = policy_of(settings)
    return CallEndpoints(operator_addresses(_base_urls(settings), policy), policy)


def probe(settings: Settings, transport: Transport) -> Probe:
    """What asks providers for a sign of life.

    Raises:
        StartupFault: a base URL or the list of allowed hosts is malformed.
    """
    policy = policy_of(settings)
    return Probe(transport, policy, operator_addresses(_base_urls(settings), policy))


def policy_of(settings: Settings) -> EgressPolicy:
    """Where upstream calls may go.

    Raises:
        StartupFault: the list of allowed hosts is malformed.
    """
    return EgressPolicy.parse(
        settings.upstream_allowed_hosts, loopback_allowed=not settings.is_production
    )


def administration_urls(settings: Settings) -> AdministrationUrls:
    """Where the settings say that the providers' administration APIs are."""
    return AdministrationUrls(
        openai_admin=settings.openai_admin_base_url,
        azure_management=settings.azure_management_base_url,
        azure_login=settings.azure_login_base_url,
    )


def _base_urls(settings: Settings) -> BaseUrls:
    return BaseUrls(
        openai=settings.openai_base_url,
        anthropic=settings.anthropic_base_url,
        google=settings.google_base_url,
        ollama=settings.ollama_base_url,
    )
