"""The administration APIs there are, each at the address the operator set."""

from collections.abc import Mapping
from dataclasses import dataclass

from model_service.kernel.administration import KeyAdministration
from model_service.kernel.errors import EgressRefused, StartupFault
from model_service.kernel.types import Provider
from model_service.providers.administration.azure import AzureAdministration
from model_service.providers.administration.openai import OpenAIAdministration
from model_service.providers.egress import EgressPolicy, vetted_endpoint
from model_service.providers.endpoint import Endpoint
from model_service.providers.transport import Transport


@dataclass(frozen=True, slots=True)
class AdministrationUrls:
    """Where the operator says the administration APIs are. None is derived from another."""

    openai_admin: str
    azure_management: str
    azure_login: str


def administrations(
    transport: Transport, policy: EgressPolicy, urls: AdministrationUrls
) -> Mapping[Provider, KeyAdministration]:
    """Every administration API there is.

    Raises:
        StartupFault: with a sentence for each address that is malformed.
    """
    found = administration_addresses(urls, policy)
    return {
        Provider.OPENAI: OpenAIAdministration(transport, found["OPENAI_ADMIN_BASE_URL"]),
        Provider.AZURE: AzureAdministration(
            transport, found["AZURE_MANAGEMENT_BASE_URL"], found["AZURE_LOGIN_BASE_URL"]
        ),
    }


def administration_addresses(
    urls: AdministrationUrls, policy: EgressPolicy
) -> Mapping[str, Endpoint]:
    """The addresses, by the environment variables' names.

    Raises:
        StartupFault: with a sentence for each that is malformed.
    """
    given = {
        "AZURE_MANAGEMENT_BASE_URL": urls.azure_management,
        "AZURE_LOGIN_BASE_URL": urls.azure_login,
        "OPENAI_ADMIN_BASE_URL": urls.openai_admin,
    }
    addresses: dict[str, Endpoint] = {}
    faults: list[str] = []
    for variable, url in given.items():
        try:
            addresses[variable] = vetted_endpoint(url, policy, trusted=True)
        except EgressRefused as error:
            faults.append(f"{variable} is malformed: {error.message}")
    if faults:
        raise StartupFault(*faults)
    return addresses
