"""The administration APIs against their stand-ins: wire formats, refusals, and taking back."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.kernel.administration import KeyAdministration, Order
from model_service.kernel.errors import (
    AdministrationRefused,
    InvalidInput,
    ProviderUnreachable,
    StartupFault,
)
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.administration.registry import (
    AdministrationUrls,
    administration_addresses,
    administrations,
)
from model_service.providers.egress import EgressPolicy
from model_service.providers.transport import Transport
from model_service.sandbox import Behaviour, Sandbox
from model_service.sandbox.azure_admin import ACCOUNT, SETTINGS
from model_service.sandbox.openai_admin import PROJECT
from model_service.settings import Settings
from model_service.upstreams import administration_urls

ADMIN_KEY = "sk-admin-sandbox-0123456789"
CLIENT_SECRET = "secret~sandbox.0123456789"
NOWHERE = Secret("sk-sandbox-somewhere-else")


def urls(sandbox: Sandbox) -> AdministrationUrls:
    return AdministrationUrls(
        openai_admin=sandbox.openai_admin.base_url,
        azure_management=sandbox.azure_admin.origin,
        azure_login=sandbox.azure_admin.origin,
    )


@pytest_asyncio.fixture(scope="module")
async def transport() -> AsyncIterator[Transport]:
    transport = Transport(EgressPolicy())
    yield transport
    await transport.aclose()


@pytest.fixture
def openai(sandbox: Sandbox, transport: Transport) -> KeyAdministration:
    return administrations(transport, EgressPolicy(), urls(sandbox))[Provider.OPENAI]


@pytest.fixture
def azure(sandbox: Sandbox, transport: Transport) -> KeyAdministration:
    return administrations(transport, EgressPolicy(), urls(sandbox))[Provider.AZURE]


def project(name: str = "one", **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "name": name,
        "target": PROJECT,
        "secret": Secret(ADMIN_KEY),
        "settings": {"projectId": PROJECT},
    }
    return Order(**(fields | changes))


def account(**changes: Any) -> Order:
    fields: dict[str, Any] = {
        "name": "one",
        "target": ACCOUNT,
        "secret": Secret(CLIENT_SECRET),
        "settings": SETTINGS,
    }
    return Order(**(fields | changes))


async def taken(origin: str, header: str, value: str, path: str) -> bool:
    """Whether the inference stand-in takes the key."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{origin}{path}", headers={header: value})
    return answer.status_code == 200


async def test_openai_makes_a_service_account_whose_key_works(
    openai: KeyAdministration, sandbox: Sandbox
) -> None:
    issued = await openai.issue(project("model-service a"), NOWHERE)
    made = sandbox.openai_admin.accounts[issued.reference]
    assert (made.name, made.key) == ("model-service a", issued.value.reveal())
    assert issued.former is None
    bearer = f"Bearer {made.key}"
    assert await taken(sandbox.openai.origin, "authorization", bearer, "/v1/models")
    (request,) = sandbox.openai_admin.requests
    assert (request.method, request.path) == (
        "POST",
        f"/v1/organization/projects/{PROJECT}/service_accounts",
    )
    assert request.json() == {"name": "model-service a"}


async def test_openai_deletes_a_service_account_and_its_key_and_may_be_asked_again(
    openai: KeyAdministration, sandbox: Sandbox
) -> None:
    issued = await openai.issue(project(), NOWHERE)
    for _ in range(2):
        await openai.withdraw(project(), issued.reference, None)
    assert sandbox.openai_admin.accounts == {}
    bearer = f"Bearer {issued.value.reveal()}"
    assert not await taken(sandbox.openai.origin, "authorization", bearer, "/v1/models")


async def test_openai_finds_what_was_made_under_a_name_however_many_there_are(
    openai: KeyAdministration, sandbox: Sandbox
) -> None:
    for number in range(104):
        await openai.issue(project("wanted" if number in (3, 101, 103) else "another"), NOWHERE)
    await openai.withdraw(project("wanted"), None, None)
    names = [made.name for made in sandbox.openai_admin.accounts.values()]
    assert names == ["another"] * 101


async def test_azure_regenerates_the_key_that_is_not_in_use(
    azure: KeyAdministration, sandbox: Sandbox
) -> None:
    before = dict(sandbox.azure_admin.slots)
    issued = await azure.issue(account(), Secret(before["Key1"]))
    after = sandbox.azure_admin.slots
    assert after["Key1"] == before["Key1"]
    assert after["Key2"] == issued.value.reveal() != before["Key2"]
    assert (issued.reference, issued.former) == ("Key2", "Key1")
    again = await azure.issue(account(), issued.value)
    assert (again.reference, again.former) == ("Key1", "Key2")
    for key, works in ((before["Key1"], False), (issued.value.reveal(), True)):
        assert await taken(sandbox.azure.origin, "api-key", key, "/openai/v1/models") is works


async def test_azure_leaves_an_account_alone_whose_keys_it_does_not_know(
    azure: KeyAdministration, sandbox: Sandbox
) -> None:
    before = dict(sandbox.azure_admin.slots)
    with pytest.raises(AdministrationRefused, match="neither key"):
        await azure.issue(account(), NOWHERE)
    await azure.withdraw(account(), "Key1", NOWHERE)
    await azure.withdraw(account(), "Key1", None)
    assert sandbox.azure_admin.slots == before


async def test_azure_takes_a_value_back_wherever_it_is_and_may_be_asked_again(
    azure: KeyAdministration, sandbox: Sandbox
) -> None:
    before = dict(sandbox.azure_admin.slots)
    for _ in range(2):
        await azure.withdraw(account(), "Key1", Secret(before["Key2"]))
    assert sandbox.azure_admin.slots["Key1"] == before["Key1"]
    assert not await taken(sandbox.azure.origin, "api-key", before["Key2"], "/openai/v1/models")


async def test_a_credential_that_may_is_told_from_one_that_may_not(
    openai: KeyAdministration, azure: KeyAdministration
) -> None:
    await openai.check(project())
    await azure.check(account())
    for wrong in (
        openai.check(project(secret=NOWHERE)),
        openai.check(project(secret=Secret("sk-admin-sandbox-restricted-1"))),
        openai.check(project(target="proj_other")),
        openai.issue(project(target="proj_other"), NOWHERE),
        azure.check(account(secret=Secret("another~secret"))),
        azure.check(account(settings={**SETTINGS, "tenantId": "elsewhere"})),
        azure.issue(account(target="another-account"), NOWHERE),
        azure.issue(account(settings={**SETTINGS, "subscriptionId": "none"}), NOWHERE),
    ):
        with pytest.raises(AdministrationRefused) as refusal:
            await wrong
        assert "sk-" not in refusal.value.message
        assert "secret~" not in refusal.value.message


@pytest.mark.parametrize(
    "behaviour", [Behaviour.LIMITED, Behaviour.BROKEN, Behaviour.HTML, Behaviour.REDIRECT]
)
async def test_an_api_that_is_not_well_is_unreachable_rather_than_refusing(
    openai: KeyAdministration, azure: KeyAdministration, sandbox: Sandbox, behaviour: Behaviour
) -> None:
    for stand_in in sandbox.administrations:
        stand_in.always = behaviour
    for attempt in (
        openai.issue(project(), NOWHERE),
        openai.withdraw(project(), "svc_acct_1", None),
        openai.withdraw(project(), None, None),
        azure.issue(account(), NOWHERE),
        azure.withdraw(account(), None, NOWHERE),
    ):
        with pytest.raises(ProviderUnreachable):
            await attempt


async def test_an_error_that_repeats_the_secret_is_not_repeated(
    openai: KeyAdministration, sandbox: Sandbox
) -> None:
    sandbox.openai_admin.always = Behaviour.ECHO
    with pytest.raises(AdministrationRefused) as refusal:
        await openai.check(project())
    assert ADMIN_KEY not in str(refusal.value)


async def test_administrative_secrets_reach_no_inference_host(
    openai: KeyAdministration, azure: KeyAdministration, sandbox: Sandbox
) -> None:
    await openai.issue(project(), NOWHERE)
    await azure.issue(account(), Secret(sandbox.azure_admin.slots["Key1"]))
    assert not sandbox.openai.requests
    assert not sandbox.azure.requests


@pytest.mark.parametrize(
    ("provider", "settings", "fields"),
    [
        (Provider.OPENAI, {}, {"settings.projectId"}),
        (Provider.OPENAI, {"projectId": "../x"}, {"settings.projectId"}),
        (Provider.OPENAI, {"projectId": "p", "x": "y"}, {"settings.x"}),
        (Provider.AZURE, {"tenantId": "t", "clientId": "c"},
         {"settings.subscriptionId", "settings.resourceGroup"}),
        (Provider.AZURE, {**SETTINGS, "accountName": "a/b"}, {"settings.accountName"}),
        (Provider.AZURE, {**SETTINGS, "tenantId": "t?x=1"}, {"settings.tenantId"}),
    ],
)  # fmt: skip
def test_settings_that_cannot_stand_in_a_path_are_refused(
    sandbox: Sandbox,
    transport: Transport,
    provider: Provider,
    settings: dict[str, str],
    fields: set[str],
) -> None:
    administration = administrations(transport, EgressPolicy(), urls(sandbox))[provider]
    with pytest.raises(InvalidInput) as refusal:
        administration.checked_settings(settings)
    assert {fault.field for fault in refusal.value.errors} == fields


def test_azures_account_is_the_one_its_endpoint_names(azure: KeyAdministration) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "accountName"}
    endpoint = "https://one.openai.azure.com"
    assert azure.target(settings, None, endpoint) == "one"
    assert azure.target(settings, "two", endpoint) == "two"
    assert azure.shared_endpoints(endpoint) == (endpoint, "https://one.services.ai.azure.com")
    with pytest.raises(AdministrationRefused, match="target"):
        azure.target(settings, None, "https://gateway.example")


def test_azures_key_without_an_endpoint_has_no_target_whatever_is_wished(
    azure: KeyAdministration,
) -> None:
    with pytest.raises(AdministrationRefused, match="without an endpoint"):
        azure.target(SETTINGS, "two", None)


def test_an_admin_key_never_follows_the_address_of_inference() -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        openai_base_url="https://gateway.example/v1",
    )
    address = administration_addresses(administration_urls(settings), EgressPolicy())[
        "OPENAI_ADMIN_BASE_URL"
    ]
    assert (address.origin, address.path_prefix) == ("https://api.openai.com", "/v1")


def test_addresses_that_are_none_are_all_named() -> None:
    given = AdministrationUrls("nowhere", "ftp://x", "https://u:p@host")
    with pytest.raises(StartupFault) as fault:
        administration_addresses(given, EgressPolicy())
    assert [text.split()[0] for text in fault.value.faults] == [
        "AZURE_MANAGEMENT_BASE_URL",
        "AZURE_LOGIN_BASE_URL",
        "OPENAI_ADMIN_BASE_URL",
    ]
