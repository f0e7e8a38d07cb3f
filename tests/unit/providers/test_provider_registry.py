"""The registry's rows, the operator's addresses, and what the docs say of both."""

import ast
from pathlib import Path

import pytest

import model_service.providers
from model_service.kernel.errors import StartupFault
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.base import NO_KEY
from model_service.providers.egress import EgressPolicy
from model_service.providers.registry import SPECS, BaseUrls, Providers
from model_service.providers.transport import Transport
from tests.unit.providers.provider_fakes import KEY, SILENCE, answering, http, providers_at

PACKAGE = Path(model_service.providers.__file__).parent

SOUND = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com",
    "ollama": "http://localhost:11434",
}
POLICY = EgressPolicy()


def providers_with(**urls: str) -> Providers:
    return Providers(Transport(POLICY), POLICY, BaseUrls(**(SOUND | urls)))


def test_every_provider_has_a_row() -> None:
    assert SPECS.keys() == set(Provider)


def test_a_key_of_every_provider_has_somewhere_to_go() -> None:
    for spec in SPECS.values():
        assert spec.base_url_variable or spec.base_url or spec.endpoint_rule


def test_a_key_that_cannot_be_asked_about_anywhere_has_a_form() -> None:
    for spec in SPECS.values():
        if spec.validates_keys and not (spec.base_url_variable or spec.base_url):
            assert spec.key_format is not None


def test_a_star_is_a_key_only_where_none_is_needed() -> None:
    for spec in SPECS.values():
        assert bool(spec.credential(Secret(NO_KEY))) is spec.needs_key
        assert len(spec.credential(KEY)) == 1
        assert spec.credential(None) == ()


def test_origins_are_where_providers_are_without_their_paths() -> None:
    origins = providers_with(openai="https://Gateway.example.com:8443/openai/v1/").origins()
    assert origins[Provider.OPENAI] == "https://gateway.example.com:8443"
    assert origins[Provider.OLLAMA] == "http://localhost:11434"
    assert {Provider.AZURE, Provider.CUSTOM}.isdisjoint(origins)


@pytest.mark.parametrize("name", list(SOUND))
@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "ftp://api.example.com",
        "https://user:made-up-password@api.example.com",
        "https://api.example.com/?key=made-up-password",
        "http://169.254.169.254",
        "https://0x7f.1",
    ],
)
def test_a_malformed_address_is_a_startup_fault_that_names_its_variable(
    name: str, url: str
) -> None:
    with pytest.raises(StartupFault) as fault:
        providers_with(**{name: url})
    (sentence,) = fault.value.faults
    assert sentence.startswith(f"{name.upper()}_BASE_URL is malformed: ")
    assert "made-up-password" not in sentence


def test_all_malformed_addresses_are_named_at_once() -> None:
    with pytest.raises(StartupFault) as fault:
        providers_with(openai="", ollama="localhost")
    assert [sentence.split()[0] for sentence in fault.value.faults] == [
        "OPENAI_BASE_URL",
        "OLLAMA_BASE_URL",
    ]


@pytest.mark.parametrize("status", [200, 301, 401, 404, 429, 500])
async def test_a_provider_that_answers_anything_is_reachable(status: int) -> None:
    async with answering(http(status)) as server, providers_at(server) as providers:
        assert await providers.reachable(Provider.OPENAI) is Verdict.VALID
    assert server.targets == ["HEAD /"]


async def test_a_provider_that_is_silent_or_away_is_not_reachable() -> None:
    async with (
        answering(SILENCE) as server,
        providers_at(server, validation_seconds=0.1) as providers,
    ):
        assert await providers.reachable(Provider.GOOGLE) is Verdict.TIMEOUT
    async with providers_at(server) as providers:
        assert await providers.reachable(Provider.GOOGLE) is Verdict.UNREACHABLE


async def test_a_provider_without_an_address_cannot_be_reached_for() -> None:
    async with answering(b"") as server, providers_at(server) as providers:
        with pytest.raises(KeyError):
            await providers.reachable(Provider.AZURE)


@pytest.mark.parametrize("path", sorted((PACKAGE / "dialects").glob("*.py")), ids=lambda p: p.stem)
def test_dialects_do_not_import_one_another(path: Path) -> None:
    imported = {
        node.module or ""
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    assert not any("dialects" in module for module in imported)
