"""Serving the stand-ins: ports, the ledger, the switches, misbehaviour, and the end."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from model_service.kernel.errors import StartupFault
from model_service.kernel.types import Provider
from model_service.sandbox import Behaviour, Sandbox, serve
from model_service.sandbox.keys import KeyRule
from model_service.sandbox.stand_in import LEDGER_LENGTH, MAX_BODY_BYTES, StandIn

KEYED = [Provider.OPENAI, Provider.ANTHROPIC, Provider.GOOGLE, Provider.AZURE]
ALL = [*KEYED, Provider.OLLAMA]
LISTING = {
    Provider.OPENAI: "/v1/models",
    Provider.ANTHROPIC: "/v1/models",
    Provider.GOOGLE: "/v1beta/models",
    Provider.AZURE: "/openai/v1/models",
    Provider.OLLAMA: "/api/tags",
}
# Longer than any answer here takes, far shorter than a request that is never answered.
PROMPTLY = 5.0


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def served() -> AsyncIterator[Sandbox]:
    async with serve() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(served: Sandbox) -> Sandbox:
    served.clear()
    return served


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=PROMPTLY) as client:
        yield client


def listen(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


@pytest.fixture
def base_port() -> int:
    """A port after which seven others are free."""
    for base in range(21000, 29000, 8):
        try:
            with contextlib.ExitStack() as stack:
                for offset in range(1, 8):
                    stack.enter_context(listen(base + offset))
        except OSError:
            continue  # somebody else's
        return base
    raise AssertionError("no seven free ports in a row")


def question(stand_in: StandIn, key: str) -> httpx.Request:
    """The listing, asked for with the key wherever this provider looks for it."""
    headers = {
        "authorization": f"Bearer {key}",
        "x-api-key": key,
        "x-goog-api-key": key,
        "api-key": key,
        "anthropic-version": "2023-06-01",
    }
    return httpx.Request("GET", stand_in.origin + LISTING[stand_in.provider], headers=headers)


@pytest.mark.parametrize("provider", ALL)
async def test_one_rule_of_keys_holds_everywhere(
    sandbox: Sandbox, http: httpx.AsyncClient, provider: Provider
) -> None:
    answer = await http.send(question(sandbox.of(provider), "sk-sandbox-1"))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("behaviour", "statuses"),
    [
        (Behaviour.RESTRICTED, [403, 403, 403, 403]),
        (Behaviour.LIMITED, [429, 429, 429, 429]),
        (Behaviour.BROKEN, [500, 529, 503, 500]),
        (Behaviour.HTML, [502, 502, 502, 502]),
        (Behaviour.ECHO, [401, 401, 400, 401]),
        (Behaviour.REDIRECT, [302, 302, 302, 302]),
    ],
)
async def test_a_word_in_the_key_makes_each_stand_in_misbehave(
    sandbox: Sandbox, http: httpx.AsyncClient, behaviour: Behaviour, statuses: list[int]
) -> None:
    key = f"sk-sandbox-{behaviour}-1"
    answers = [await http.send(question(sandbox.of(provider), key)) for provider in KEYED]
    assert [answer.status_code for answer in answers] == statuses


@pytest.mark.parametrize("provider", ALL)
async def test_being_limited_says_when_to_come_back(
    sandbox: Sandbox, http: httpx.AsyncClient, provider: Provider
) -> None:
    stand_in = sandbox.of(provider)
    stand_in.always = Behaviour.LIMITED
    answer = await http.send(question(stand_in, "any"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize("provider", ALL)
async def test_an_echoing_provider_repeats_the_whole_key(
    sandbox: Sandbox, http: httpx.AsyncClient, provider: Provider
) -> None:
    stand_in = sandbox.of(provider)
    stand_in.always = Behaviour.ECHO
    answer = await http.send(question(stand_in, "sk-sandbox-echo-canary"))
    assert "sk-sandbox-echo-canary" in answer.text
    assert answer.headers["x-echoed-key"] == "sk-sandbox-echo-canary"


async def test_a_redirecting_provider_points_at_the_metadata_service(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    answer = await http.send(question(sandbox.openai, "sk-sandbox-redirect"))
    assert answer.headers["location"].startswith("http://169.254.169.254/")


async def test_a_proxy_in_between_answers_in_html(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    answer = await http.send(question(sandbox.google, "sk-sandbox-html"))
    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>502 Bad Gateway</h1>" in answer.text


@pytest.mark.parametrize("provider", ALL)
async def test_a_provider_that_is_down_answers_nothing_but_503(
    sandbox: Sandbox, http: httpx.AsyncClient, provider: Provider
) -> None:
    stand_in = sandbox.of(provider)
    stand_in.down = True
    assert (await http.send(question(stand_in, "sk-sandbox-1"))).status_code == 503
    stand_in.down = False
    assert (await http.send(question(stand_in, "sk-sandbox-1"))).status_code == 200


async def test_the_ledger_holds_what_the_provider_saw(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    url = f"{sandbox.anthropic.origin}/v1/messages?a=1&a=2"
    await http.post(url, json={"model": "m"}, headers={"x-api-key": "sk-sandbox-1"})
    (request,) = sandbox.anthropic.requests
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert request.query.getlist("a") == ["1", "2"]
    assert request.headers["X-API-Key"] == "sk-sandbox-1"
    assert request.json() == {"model": "m"}
    assert "sk-sandbox-1" not in repr(request)


async def test_the_ledger_forgets_its_oldest_entries(sandbox: Sandbox) -> None:
    assert sandbox.openai.requests.maxlen == LEDGER_LENGTH


async def test_clearing_forgets_requests_and_resets_switches(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await http.send(question(sandbox.openai, "sk-sandbox-1"))
    sandbox.openai.always = Behaviour.HTML
    sandbox.openai.down = True
    sandbox.clear()
    assert not sandbox.openai.requests
    assert (await http.send(question(sandbox.openai, "sk-sandbox-1"))).status_code == 200


async def test_answers_are_dated(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    answer = await http.send(question(sandbox.openai, "sk-sandbox-1"))
    assert answer.headers["date"].endswith(" GMT")


async def test_a_body_beyond_all_bounds_is_refused(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)
    answer = await http.post(f"{sandbox.anthropic.origin}/v1/messages", content=body)
    assert answer.status_code == 413
    assert sandbox.anthropic.requests[0].body == b""


async def test_a_silent_key_is_never_answered_and_the_end_does_not_wait_for_it() -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        async with serve() as sandbox:
            held = [
                asyncio.create_task(http.send(question(sandbox.of(provider), "sk-sandbox-silent")))
                for provider in KEYED
            ]
            for provider in KEYED:
                await asyncio.wait_for(sandbox.of(provider).arrived(), PROMPTLY)
            assert not any(task.done() for task in held)
            ended = asyncio.get_running_loop().time()
        took = asyncio.get_running_loop().time() - ended
        outcomes = await asyncio.gather(*held, return_exceptions=True)
    assert took < 1.0
    assert all(isinstance(outcome, httpx.TransportError) for outcome in outcomes)


async def test_a_client_that_gives_up_on_silence_ends_the_request(sandbox: Sandbox) -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        held = asyncio.create_task(http.send(question(sandbox.openai, "sk-sandbox-silent")))
        await asyncio.wait_for(sandbox.openai.arrived(), PROMPTLY)
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        answer = await http.send(question(sandbox.openai, "sk-sandbox-1"))
    assert answer.status_code == 200


async def test_a_fixed_base_port_gives_fixed_ports_on_loopback(base_port: int) -> None:
    async with serve(base_port=base_port) as sandbox:
        origins = [stand_in.origin for stand_in in sandbox.everything]
    assert origins == [f"http://127.0.0.1:{base_port + offset}" for offset in range(1, 8)]


async def test_a_taken_port_is_a_startup_fault_that_frees_the_others(base_port: int) -> None:
    with listen(base_port + 3), pytest.raises(StartupFault, match=f"port {base_port + 3}"):
        async with serve(base_port=base_port):
            raise AssertionError("listens on a port that is taken")
    for offset in (1, 2):
        listen(base_port + offset).close()


async def test_serving_leaves_the_signal_handlers_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serve():
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert during == before


async def test_the_environment_leads_the_service_here(sandbox: Sandbox) -> None:
    environment = sandbox.environment()
    assert environment["OPENAI_BASE_URL"] == f"{sandbox.openai.origin}/v1"
    assert environment["GOOGLE_BASE_URL"] == sandbox.google.origin
    assert environment["UPSTREAM_ALLOWED_HOSTS"] == sandbox.azure.origin.removeprefix("http://")


def test_a_provider_without_a_stand_in_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Sandbox().of(Provider.CUSTOM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_announces_itself_and_stops_at_a_signal(number: signal.Signals) -> None:
    script = (
        "from model_service.sandbox import run\n"
        "run('127.0.0.1', 0, lambda line: print(line, flush=True))\n"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not (lines and lines[-1].startswith("# Keys that make them misbehave")):
            lines.append(process.stdout.readline())
        settings = dict(line.strip().split("=", 1) for line in lines if not line.startswith("#"))
        origin = settings["ANTHROPIC_BASE_URL"].removeprefix("http://")
        host, _, port = origin.partition(":")
        with socket.create_connection((host, int(port))) as held:
            silent = "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: sk-sandbox-silent\r\n\r\n"
            held.sendall(silent.encode())
            process.send_signal(number)
            assert process.wait(timeout=PROMPTLY) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("behaviour", [None, *Behaviour])
def test_sample_keys_are_taken_and_mean_what_they_say(behaviour: Behaviour | None) -> None:
    for rule in (KeyRule(), KeyRule("sk-ant-sandbox-"), KeyRule("AIzaSandbox", 39)):
        key = rule.sample(behaviour)
        assert rule.accepts(key)
        assert rule.behaviour(key) is behaviour
        assert len(key) == rule.length or rule.length is None


@pytest.mark.parametrize("key", ["", "sk-", "sk-proj-1", "AIzaSandbox-short", "xsk-sandbox-1"])
def test_keys_of_elsewhere_are_not_taken(key: str) -> None:
    assert not KeyRule("AIzaSandbox", 39).accepts(key)
