"""What a key's `metadata.endpoint` may be, form by form."""

import pytest

from model_service.kernel.errors import InvalidInput
from model_service.kernel.types import Provider
from model_service.providers.egress import EgressPolicy
from model_service.providers.registry import BaseUrls, Providers
from model_service.providers.transport import Transport

PRODUCTION = EgressPolicy.parse(
    "azure-gateway.internal:8443 127.0.0.1:4104 10.20.0.0/16", loopback_allowed=False
)
DEVELOPMENT = EgressPolicy(loopback_allowed=True)
URLS = BaseUrls(
    openai="https://api.openai.com/v1",
    anthropic="https://api.anthropic.com",
    google="https://generativelanguage.googleapis.com",
    ollama="http://localhost:11434",
)


def providers(policy: EgressPolicy) -> Providers:
    return Providers(Transport(policy), policy, URLS)


AZURE_ACCEPTED = {
    "https://my-resource.openai.azure.com": "https://my-resource.openai.azure.com",
    "https://my-resource.openai.azure.com/": "https://my-resource.openai.azure.com",
    "https://MY-Resource.OpenAI.Azure.COM": "https://my-resource.openai.azure.com",
    "HTTPS://my-resource.openai.azure.com/": "https://my-resource.openai.azure.com",
    "https://my-resource.services.ai.azure.com": "https://my-resource.services.ai.azure.com",
    "https://r2.openai.azure.com": "https://r2.openai.azure.com",
    "https://2r.openai.azure.com": "https://2r.openai.azure.com",
    f"https://{'r' * 63}.openai.azure.com": f"https://{'r' * 63}.openai.azure.com",
    "https://azure-gateway.internal:8443": "https://azure-gateway.internal:8443",
    "https://Azure-Gateway.internal:8443/": "https://azure-gateway.internal:8443",
    "http://azure-gateway.internal:8443": "http://azure-gateway.internal:8443",
    "http://127.0.0.1:4104": "http://127.0.0.1:4104",
    "http://127.0.0.1:4104/": "http://127.0.0.1:4104",
    "https://10.20.3.4": "https://10.20.3.4",
    "http://10.20.3.4:8080": "http://10.20.3.4:8080",
}

AZURE_REFUSED = [
    "",
    "my-resource",
    "my-resource.openai.azure.com",
    "//my-resource.openai.azure.com",
    "http://my-resource.openai.azure.com",
    "https://openai.azure.com",
    "https://.openai.azure.com",
    "https://r.openai.azure.com",
    f"https://{'r' * 64}.openai.azure.com",
    "https://-resource.openai.azure.com",
    "https://resource-.openai.azure.com",
    "https://my_resource.openai.azure.com",
    "https://my.resource.openai.azure.com",
    "https://my-resource.openai.azure.com.",
    "https://my-resource.openai.azure.com:443",
    "https://my-resource.openai.azure.com:8443",
    "https://my-resource.openai.azure.com//",
    "https://my-resource.openai.azure.com/openai",
    "https://my-resource.openai.azure.com/openai/v1/",
    "https://my-resource.openai.azure.com?api-version=1",
    "https://my-resource.openai.azure.com#",
    "https://my-resource.openai.azure.com\n",
    " https://my-resource.openai.azure.com",
    "https://user@my-resource.openai.azure.com",
    "https://my-resource.openai.azure.com@example.com",
    "https://my-resource.openai.azure.com.example.com",
    "https://my-resource.openai.azure.com\\.example.com",
    "https://my-resource%2eexample.openai.azure.com",
    "https://my-resource-openai.azure.com",
    "https://my-resource.openai-azure.com",
    "https://my-resource.cognitiveservices.azure.com",
    "https://my-resource.openai.azure.us",
    "https://example.com",
    "https://example.com/my-resource.openai.azure.com",
    "https://my\u212aresource.openai.azure.com",  # the Kelvin sign, whose lower case is "k"
    "https://my-re\u017fource.openai.azure.com",  # the long s, whose upper case is "S"
    "https://azure-gateway.internal",
    "https://azure-gateway.internal:8444",
    "https://azure-gateway.internal:8443/prefix",
    "http://127.0.0.1",
    "http://127.0.0.1:4105",
    "http://127.1:4104",
    "http://0x7f000001:4104",
    "http://localhost:4104",
    "http://10.21.0.1",
    "http://169.254.169.254",
    "https://[::1]:4104",
]

ANY_ACCEPTED = {
    "https://openrouter.ai/api/v1": "https://openrouter.ai/api/v1",
    "https://OpenRouter.ai/API/v1/": "https://openrouter.ai/API/v1",
    "https://api.groq.com:443/openai/v1": "https://api.groq.com/openai/v1",
    "https://llm.example.com:8443": "https://llm.example.com:8443",
    "https://1.1.1.1/v1": "https://1.1.1.1/v1",
    "https://[2606:4700::1111]/v1": "https://[2606:4700::1111]/v1",
    "http://10.20.3.4:11434": "http://10.20.3.4:11434",
    "http://127.0.0.1:4104/v1/": "http://127.0.0.1:4104/v1",
}

ANY_REFUSED = [
    "",
    "llm.example.com/v1",
    "ftp://llm.example.com",
    "http://llm.example.com/v1",
    "http://localhost:11434",
    "http://127.0.0.1:11434",
    "https://127.0.0.1",
    "https://10.21.0.1/v1",
    "https://192.168.1.10",
    "https://[::1]",
    "https://[::ffff:127.0.0.1]",
    "https://169.254.169.254",
    "https://2130706433",
    "https://user:made-up@llm.example.com/v1",
    "https://llm.example.com/v1?key=made-up",
    "https://llm.example.com/v1#part",
    "https://llm.example.com/a/../b",
    "https://llm.example.com/%2e%2e",
    "https://llm.example.com/v1\r\nx-injected: yes",
]


@pytest.fixture(scope="module")
def production() -> Providers:
    return providers(PRODUCTION)


@pytest.mark.parametrize(("given", "stored"), AZURE_ACCEPTED.items())
def test_azure_takes_resources_and_what_the_operator_opened(
    production: Providers, given: str, stored: str
) -> None:
    assert production.checked_endpoint(Provider.AZURE, given) == stored
    assert production.checked_endpoint(Provider.AZURE, stored) == stored


@pytest.mark.parametrize("given", AZURE_REFUSED)
def test_azure_refuses_everything_else(production: Providers, given: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        production.checked_endpoint(Provider.AZURE, given)
    (fault,) = refusal.value.errors
    assert fault.field == "metadata.endpoint"
    assert not given or given not in fault.message


@pytest.mark.parametrize("provider", [Provider.CUSTOM, Provider.OLLAMA])
@pytest.mark.parametrize(("given", "stored"), ANY_ACCEPTED.items())
def test_custom_and_ollama_take_what_the_egress_policy_lets_through(
    production: Providers, provider: Provider, given: str, stored: str
) -> None:
    assert production.checked_endpoint(provider, given) == stored
    assert production.checked_endpoint(provider, stored) == stored


@pytest.mark.parametrize("provider", [Provider.CUSTOM, Provider.OLLAMA])
@pytest.mark.parametrize("given", ANY_REFUSED)
def test_custom_and_ollama_refuse_what_it_does_not(
    production: Providers, provider: Provider, given: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        production.checked_endpoint(provider, given)
    assert [fault.field for fault in refusal.value.errors] == ["metadata.endpoint"]


@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.ANTHROPIC, Provider.GOOGLE])
@pytest.mark.parametrize("given", ["https://api.openai.com/v1", "https://example.com", ""])
def test_keys_of_providers_with_one_address_name_none(
    production: Providers, provider: Provider, given: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        production.checked_endpoint(provider, given)
    (fault,) = refusal.value.errors
    assert "the operator sets" in fault.message


@pytest.mark.parametrize("provider", [Provider.AZURE, Provider.CUSTOM, Provider.OLLAMA])
@pytest.mark.parametrize(
    "given", ["http://127.0.0.1:4104", "http://localhost:4104", "http://azure.localhost:1"]
)
def test_loopback_is_open_in_development(provider: Provider, given: str) -> None:
    assert providers(DEVELOPMENT).checked_endpoint(provider, given) == given


@pytest.mark.parametrize("given", ["http://127.0.0.1:1/x", "http://192.168.0.1", "https://e.com"])
def test_azure_is_no_wider_in_development_than_loopback(given: str) -> None:
    with pytest.raises(InvalidInput):
        providers(DEVELOPMENT).checked_endpoint(Provider.AZURE, given)
