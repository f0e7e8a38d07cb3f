"""Running the service's commands as an operator does: in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from model_service.kernel.secret import Secret
from model_service.settings import Settings

#: Seconds a command may take on a busy machine.
PATIENCE = 60


def start(
    *arguments: str, directory: Path, environment: dict[str, str] | None = None
) -> "subprocess.Popen[str]":
    """A command under way, in an empty environment but for what is given."""
    return subprocess.Popen(
        [sys.executable, "-m", "model_service", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    *arguments: str, directory: Path, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """A command that has ended."""
    process = start(*arguments, directory=directory, environment=environment)
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def production(settings: Settings, database_url: Secret[str]) -> dict[str, str]:
    """The environment that means these settings."""
    secrets = {
        "ENCRYPTION_SECRET": settings.encryption_secret,
        "INTERNAL_SECRET": settings.internal_secret,
        "ADMIN_TOKEN": settings.admin_token,
        "DATABASE_URL": database_url,
    }
    return {
        "ENVIRONMENT": "production",
        "HOST": "127.0.0.1",
        "DATA_DIR": str(settings.data_dir),
        "OPENAI_BASE_URL": settings.openai_base_url,
        "ANTHROPIC_BASE_URL": settings.anthropic_base_url,
        "GOOGLE_BASE_URL": settings.google_base_url,
        "OLLAMA_BASE_URL": settings.ollama_base_url,
        "UPSTREAM_ALLOWED_HOSTS": settings.upstream_allowed_hosts,
    } | {name: secret.reveal() for name, secret in secrets.items() if secret is not None}
