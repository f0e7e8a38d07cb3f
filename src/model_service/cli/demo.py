"""`model-service demo`: the service against the sandbox, with models and keys to try."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import typer

from model_service.app import load_settings
from model_service.calling import LOCAL_USER
from model_service.cli import serve
from model_service.kernel.errors import StartupFault
from model_service.sandbox.server import Sandbox

_WAIT = 30.0

MODELS: tuple[dict[str, Any], ...] = (
    {"name": "gpt", "provider": "OPENAI", "modelId": "gpt-5.5", "isDefault": True,
     "fallbacks": ["claude"]},
    {"name": "claude", "provider": "ANTHROPIC", "modelId": "claude-sonnet-5"},
    {"name": "gemini", "provider": "GOOGLE", "modelId": "gemini-3.8-flash"},
    {"name": "gpt-on-azure", "provider": "AZURE", "modelId": "gpt-4.1"},
    {"name": "llama", "provider": "OLLAMA", "modelId": "llama3.2"},
    {"name": "cut-short", "provider": "OPENAI", "modelId": "fault-cut"},
    {"name": "embeddings", "provider": "OPENAI", "modelId": "text-embedding-3-small"},
)  # fmt: skip
KEY = "sk-sandbox-demo-0123456789abcdef"
USER = "demo"
#: `USER` shows how users are told apart; calls without a token are for the other.
USERS = (USER, LOCAL_USER)


def run(sandbox_port: int) -> None:
    """Serve on the sandbox until stopped. The demo's data stays apart from the service's own."""
    os.environ.setdefault("DATA_DIR", str(Path(".data") / "demo"))
    with _sandbox(sandbox_port) as environment:
        os.environ.update(environment)
        settings = load_settings()
        address = f"http://127.0.0.1:{settings.port}"
        threading.Thread(target=_seed, args=(address, environment), daemon=True).start()
        serve.run()


@contextmanager
def _sandbox(port: int) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "model_service", "sandbox", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own module
    try:
        sandbox = Sandbox()
        for offset, stand_in in enumerate(sandbox.everything, start=1):
            stand_in.origin = f"http://127.0.0.1:{port + offset}"
        _wait_for(f"{sandbox.openai.base_url}/models", process)
        yield sandbox.environment()
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes] | None" = None) -> None:
    deadline = time.monotonic() + _WAIT
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise StartupFault("the sandbox ended at once; is its port taken? See --sandbox-port")
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - loopback http
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise StartupFault(f"nothing answers at {url}")


def _seed(address: str, environment: dict[str, str]) -> None:
    _wait_for(f"{address}/api/health")
    azure = {"endpoint": "http://" + environment["UPSTREAM_ALLOWED_HOSTS"]}
    for user, provider in product(USERS, ("OPENAI", "ANTHROPIC", "GOOGLE", "AZURE", "OLLAMA")):
        key = {"userId": user, "provider": provider, "keyName": "demo", "apiKey": KEY}
        _post(f"{address}/api/api-keys", key | ({"metadata": azure} if provider == "AZURE" else {}))
    # After the keys, so that whoever sees a model can call it.
    for model in MODELS:
        _post(f"{address}/api/models", model)
    users = " and ".join(USERS)
    typer.echo(
        f"""  The demo is ready: {len(MODELS)} models, and keys of the users {users}. Try
    curl {address}/api/models
    curl '{address}/api/api-keys?userId={USER}'
    curl {address}/v1/models
    curl {address}/v1/chat/completions -H 'content-type: application/json' \\
      -d '{{"model": "claude", "messages": [{{"role": "user", "content": "Hello"}}]}}'
""",
        err=True,
    )


def _post(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(  # noqa: S310 - loopback http
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        urllib.request.urlopen(request, timeout=15).close()  # noqa: S310 - loopback http
    except urllib.error.HTTPError as error:
        if error.code != 409:  # 409: there since the last demo
            typer.echo(f"  the demo could not make {url}: {error.code}", err=True)
