"""Automatic rotation against the stand-ins of OpenAI and Azure."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from model_service.db.uow import Database
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.admin_credentials import AdminCredential, NewAdminCredential
from model_service.keys.domain import ProviderKey
from model_service.keys.rotation import Wish
from model_service.keys.rotation_domain import Mode, Overview
from model_service.providers.administration.registry import AdministrationUrls, administrations
from model_service.providers.egress import EgressPolicy
from model_service.providers.registry import BaseUrls, Providers
from model_service.providers.transport import Transport
from model_service.sandbox import Sandbox
from model_service.sandbox.azure_admin import SETTINGS
from model_service.sandbox.openai_admin import PROJECT
from model_service.vault.keyring import Keyring
from tests.rotation import Bench

CREDENTIALS = {
    Provider.OPENAI: NewAdminCredential(
        Provider.OPENAI, "test", {"projectId": PROJECT}, Secret("sk-admin-sandbox-0123456789")
    ),
    Provider.AZURE: NewAdminCredential(
        Provider.AZURE, "test", SETTINGS, Secret("secret~sandbox.0123456789")
    ),
}


@asynccontextmanager
async def bench_on(sandbox: Sandbox, database: Database, keyring: Keyring) -> AsyncIterator[Bench]:
    """Rotation against the stand-ins: of inference for asking about values, of administration."""
    environment = sandbox.environment()
    policy = EgressPolicy.parse(environment["UPSTREAM_ALLOWED_HOSTS"], loopback_allowed=False)
    transport = Transport(policy)
    gate = Providers(
        transport,
        policy,
        BaseUrls(
            openai=sandbox.openai.base_url,
            anthropic=sandbox.anthropic.base_url,
            google=sandbox.google.base_url,
            ollama=sandbox.ollama.base_url,
        ),
    )
    known = administrations(
        transport,
        policy,
        AdministrationUrls(
            openai_admin=sandbox.openai_admin.base_url,
            azure_management=sandbox.azure_admin.origin,
            azure_login=sandbox.azure_admin.origin,
        ),
    )
    yield Bench(database, keyring, gate=gate, administrations=known)
    await transport.aclose()


async def due_key(bench: Bench, sandbox: Sandbox, provider: Provider) -> ProviderKey:
    """A key that is rotated every 30 days and was not for 30 days, without a credential."""
    key = await automatic_key(bench, sandbox, provider, credential=False)
    bench.clock.advance(days=30)
    return key


async def credential(bench: Bench, provider: Provider) -> AdminCredential:
    """An administrative credential that the stand-in takes."""
    return await bench.credentials.add(CREDENTIALS[provider])


async def automatic_key(
    bench: Bench, sandbox: Sandbox, provider: Provider, *, credential: bool = True
) -> ProviderKey:
    """A key that is rotated every 30 days, with an administrative credential for it."""
    if provider is Provider.OPENAI:
        key = await bench.key("sk-sandbox-brought-by-hand")
    else:
        key = await bench.key(
            sandbox.azure_admin.slots["Key1"],
            provider=provider,
            metadata={"endpoint": sandbox.azure.origin},
        )
    if credential:
        await bench.credentials.add(CREDENTIALS[provider])
    await bench.service.put_policy(
        key.id, Wish(mode=Mode.AUTOMATIC, every_days=30, grace=timedelta(hours=1))
    )
    return key


async def work(bench: Bench) -> None:
    """One round of every job, as a worker's clock brings it about."""
    await bench.retirer.step()
    await bench.parts.withdrawals.step()
    await bench.parts.automatic.step()


async def works(bench: Bench, key: ProviderKey) -> bool:
    """Whether the provider takes the value that is in use."""
    verdict = await bench.gate.validate(key.provider, Secret(await bench.value(key)), key.endpoint)
    return bool(verdict is Verdict.VALID)


async def unchanged(bench: Bench, key: ProviderKey) -> Overview:
    """The overview of a key that has version 1 in use and nothing beside it."""
    overview = await bench.service.overview(key.id)
    assert overview.key.key_version == 1
    assert overview.retiring is None
    assert await bench.stored_versions(key) == []
    assert await works(bench, key)
    return overview
