"""Settings: from the environment and `.env`, checked whole before anything starts.

Every fault is collected, so that an operator mends all of them in one go.
"""

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from model_service.kernel.errors import StartupFault
from model_service.kernel.secret import Secret
from model_service.secrets_file import read_or_make

#: SECURITY: the master secret's least length, in characters.
ENCRYPTION_SECRET_LENGTH = 32
#: The least length of the tokens that guard routes in production, in characters.
TOKEN_LENGTH = 16

# What documentation, this one included, prints where a secret belongs.
_PLACEHOLDER = re.compile(
    r"change[-_ ]?me|your[-_ ]|placeholder|example|replace[-_ ]|insert[-_ ]|<.*>|\.\.\.|xxxx|todo"
    r"|^(.)\1+$|^(?:0123456789|1234567890)+\d*$|^(?:secret|password)\d*$",
    re.IGNORECASE,
)


class Environment(StrEnum):
    """Which of the two modes the service runs in."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


def _as_secret(value: object) -> object:
    return Secret(value) if isinstance(value, str) else value


SecretText = Annotated[
    Secret[str],
    BeforeValidator(_as_secret),
    PlainSerializer(lambda _: "**********", return_type=str),
]
"""A secret of the settings: read as text, shown as a mask."""


class Settings(BaseSettings):
    """Everything an operator can set. Names are the environment variables', in lower case."""

    model_config = SettingsConfigDict(
        frozen=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
    )

    environment: Annotated[
        Environment,
        BeforeValidator(lambda v: v.strip().lower() if isinstance(v, str) else v),
        Field(description="`development` or `production`"),
    ] = Environment.DEVELOPMENT
    node_env: Annotated[
        Environment | None,
        BeforeValidator(lambda v: v.strip().lower() if isinstance(v, str) else v),
        Field(description="the same under the name that Node.js uses; `ENVIRONMENT` wins"),
    ] = None
    port: Annotated[int, Field(ge=1, le=65535, description="port to listen on")] = 3004
    host: Annotated[
        str,
        Field(description="address to listen on; 127.0.0.1 in development, 0.0.0.0 in production"),
    ] = ""
    database_url: Annotated[
        SecretText | None,
        Field(description="PostgreSQL URL (`postgresql://...`); unset: the embedded server"),
    ] = None
    data_dir: Annotated[Path, Field(description="embedded database and generated secrets")] = Path(
        ".data"
    )
    encryption_secret: Annotated[
        SecretText | None,
        Field(description="master secret, at least 32 characters; generated once in development"),
    ] = None
    encryption_secret_file: Annotated[
        Path | None, Field(description="file that holds `ENCRYPTION_SECRET`, instead of it")
    ] = None
    encryption_secret_previous: Annotated[
        SecretText | None, Field(description="the old master secret, during rotation")
    ] = None
    encryption_secret_previous_file: Annotated[
        Path | None, Field(description="file that holds `ENCRYPTION_SECRET_PREVIOUS`")
    ] = None
    key_wrapper: Annotated[
        Literal["scrypt", "transit", "kms"],
        BeforeValidator(lambda v: v.strip().lower() if isinstance(v, str) else v),
        Field(
            description="what wraps the keyring: `ENCRYPTION_SECRET` (`scrypt`), Vault Transit"
            " (`transit`) or AWS KMS (`kms`)"
        ),
    ] = "scrypt"
    vault_addr: Annotated[
        str | None, Field(description="origin of Vault or OpenBao; http on loopback alone")
    ] = None
    vault_token_file: Annotated[
        Path | None, Field(description="file with Vault's token, read anew for each request")
    ] = None
    vault_namespace: Annotated[str | None, Field(description="namespace in Vault")] = None
    vault_cacert: Annotated[
        Path | None, Field(description="authorities that Vault's certificate is checked against")
    ] = None
    vault_transit_mount: Annotated[str, Field(description="where Transit is mounted")] = "transit"
    vault_transit_key: Annotated[
        str | None, Field(description="name of the Transit key that wraps the keyring")
    ] = None
    aws_kms_key_id: Annotated[
        str | None, Field(description="ARN, id or alias of the KMS key that wraps the keyring")
    ] = None
    aws_region: Annotated[
        str | None, Field(description="region of that key; unset: the ARN's, or the profile's")
    ] = None
    aws_kms_endpoint_url: Annotated[
        str | None, Field(description="another endpoint of KMS, such as one in a VPC")
    ] = None
    internal_secret: Annotated[
        SecretText | None,
        Field(description="guards decrypt; generated once in development"),
    ] = None
    internal_secret_previous: Annotated[
        SecretText | None, Field(description="the old internal secret, accepted beside the new")
    ] = None
    admin_token: Annotated[
        SecretText | None,
        Field(description="bootstrap administrator token; required in production"),
    ] = None
    auth_failures_per_minute: Annotated[
        int,
        Field(ge=1, le=100_000, description="failed attempts to authenticate, from one address"),
    ] = 10
    validations_per_minute: Annotated[
        int,
        Field(ge=1, le=100_000, description="keys checked with providers, for one user or address"),
    ] = 30
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(lambda v: v.strip().lower() if isinstance(v, str) else v),
        Field(description="JSON lines in production, readable lines in development"),
    ] = "info"
    workers: Annotated[int, Field(ge=1, le=64, description="server processes")] = 1
    usage_months_kept: Annotated[
        int,
        Field(
            ge=1,
            le=1200,
            description="months, the current one too, that single calls are kept in the list of"
            " usage; their sums stay",
        ),
    ] = 13
    openai_base_url: Annotated[str, Field(description="OpenAI's API, with its version")] = (
        "https://api.openai.com/v1"
    )
    anthropic_base_url: Annotated[str, Field(description="Anthropic's API")] = (
        "https://api.anthropic.com"
    )
    google_base_url: Annotated[str, Field(description="Google's Gemini API")] = (
        "https://generativelanguage.googleapis.com"
    )
    ollama_base_url: Annotated[str, Field(description="Ollama's API")] = "http://localhost:11434"
    # Never derived from the address of inference: an admin key must not go to a gateway that
    # somebody put before that.
    openai_admin_base_url: Annotated[
        str, Field(description="OpenAI's administration API, with its version")
    ] = "https://api.openai.com/v1"
    azure_management_base_url: Annotated[str, Field(description="Azure's management API")] = (
        "https://management.azure.com"
    )
    azure_login_base_url: Annotated[
        str, Field(description="where tokens for Azure's management API are had")
    ] = "https://login.microsoftonline.com"
    stripe_api_key: Annotated[
        SecretText | None,
        Field(description="secret key of Stripe, to tell it what accounts use; unset: it is not"),
    ] = None
    stripe_api_key_file: Annotated[
        Path | None, Field(description="file that holds `STRIPE_API_KEY`, instead of it")
    ] = None
    stripe_base_url: Annotated[str, Field(description="Stripe's API, without its version")] = (
        "https://api.stripe.com"
    )
    stripe_meter_event: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_.-]{1,100}$",
            description="event name of the meter at Stripe; its values are millionths of a dollar",
        ),
    ] = "model_service_usage"
    upstream_allowed_hosts: Annotated[
        str,
        Field(
            description="`host:port` or CIDR list that user-set endpoints may reach even though"
            " private"
        ),
    ] = ""

    @property
    def is_production(self) -> bool:
        """Whether credentials are required on every route but health."""
        return self.environment is Environment.PRODUCTION


def load(env_file: Path | None = Path(".env")) -> Settings:
    """The checked settings; in development, missing secrets are generated once.

    Raises:
        StartupFault: with one sentence for each thing that is wrong, never a value.
    """
    settings, faults = _read(env_file, generate=True)
    if faults:
        raise StartupFault(*faults)
    return settings


def examine(env_file: Path | None = Path(".env")) -> tuple[Settings, list[str]]:
    """The settings as far as they hold, and one sentence for each thing that is wrong.

    Makes nothing: secrets that were not generated yet are None.
    """
    return _read(env_file, generate=False)


def secret_faults(settings: Settings, new: Secret[str]) -> list[str]:
    """What a service would complain of that was started with `new` as ENCRYPTION_SECRET."""
    faults: list[str] = []
    changed = {"encryption_secret": new, "encryption_secret_previous": None}
    _check_strength(settings.model_copy(update=changed), faults)
    return faults


def _read(env_file: Path | None, *, generate: bool) -> tuple[Settings, list[str]]:
    settings, faults = _parse(env_file)
    # Whatever names ENVIRONMENT, a file too, wins over a NODE_ENV that some shell has set.
    if settings.node_env is not None and "environment" not in settings.model_fields_set:
        settings = settings.model_copy(update={"environment": settings.node_env})
    settings = _with_secret_files(settings, faults)
    settings = _with_host(settings, faults)
    if settings.is_production:
        _check_presence(settings, faults)
    elif not (generate and faults):
        try:
            settings = _with_generated_secrets(settings, generate=generate)
        except StartupFault as fault:
            faults.extend(fault.faults)
    _check_wrapping(settings, faults)
    _check_strength(settings, faults)
    return settings, faults


def _parse(env_file: Path | None) -> tuple[Settings, list[str]]:
    """The settings as given; a value that is no good is named and replaced by its default."""
    sound: dict[str, object] = {}
    faults: list[str] = []
    while True:
        try:
            return Settings(_env_file=env_file, **sound), faults  # type: ignore[arg-type,call-arg]
        except ValidationError as error:
            for fault in error.errors(include_input=False, include_url=False):
                faults.append(_sentence(fault["loc"], fault["msg"]))
                name = str(fault["loc"][0])
                sound[name] = Settings.model_fields[name.lower()].default


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0]).upper() if location else "settings"
    return f"{name}: {message[0].lower()}{message[1:]}"


def _with_secret_files(settings: Settings, faults: list[str]) -> Settings:
    for name in ("encryption_secret", "encryption_secret_previous", "stripe_api_key"):
        file, shown = getattr(settings, f"{name}_file"), name.upper()
        if file is None:
            continue
        if getattr(settings, name) is not None:
            faults.append(f"set {shown} or {shown}_FILE, not both")
            continue
        try:
            text = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{shown}_FILE cannot be read: {type(error).__name__}: {file}")
            continue
        settings = settings.model_copy(update={name: Secret(text)})
    return settings


def _with_host(settings: Settings, faults: list[str]) -> Settings:
    if not settings.host:
        host = "0.0.0.0" if settings.is_production else "127.0.0.1"  # noqa: S104 - behind a proxy
        return settings.model_copy(update={"host": host})
    if not settings.is_production and not _is_loopback(settings.host):
        faults.append(
            f"HOST={settings.host} would open development mode, which asks for no credential, to"
            " the network; unset HOST or set ENVIRONMENT=production"
        )
    return settings


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _check_presence(settings: Settings, faults: list[str]) -> None:
    wanted = {
        "INTERNAL_SECRET": settings.internal_secret,
        "ADMIN_TOKEN": settings.admin_token,
    }
    if settings.key_wrapper == "scrypt":
        wanted = {"ENCRYPTION_SECRET": settings.encryption_secret, **wanted}
    faults.extend(
        f"{name} is required in production; make one with `openssl rand -hex 32`"
        for name, value in wanted.items()
        if value is None
    )


def _check_wrapping(settings: Settings, faults: list[str]) -> None:
    needed: dict[str, dict[str, object]] = {
        "scrypt": {},
        "transit": {
            "VAULT_ADDR": settings.vault_addr,
            "VAULT_TOKEN_FILE": settings.vault_token_file,
            "VAULT_TRANSIT_KEY": settings.vault_transit_key,
        },
        "kms": {"AWS_KMS_KEY_ID": settings.aws_kms_key_id},
    }
    faults.extend(
        f"{name} is required with KEY_WRAPPER={settings.key_wrapper}"
        for name, value in needed[settings.key_wrapper].items()
        if value is None
    )


def _check_strength(settings: Settings, faults: list[str]) -> None:
    given = {
        "ENCRYPTION_SECRET": settings.encryption_secret,
        "ENCRYPTION_SECRET_PREVIOUS": settings.encryption_secret_previous,
        "INTERNAL_SECRET": settings.internal_secret,
        "INTERNAL_SECRET_PREVIOUS": settings.internal_secret_previous,
        "ADMIN_TOKEN": settings.admin_token,
        "STRIPE_API_KEY": settings.stripe_api_key,
    }
    values = {name: secret.reveal() for name, secret in given.items() if secret is not None}
    for name, value in values.items():
        master = name.startswith("ENCRYPTION")
        least = ENCRYPTION_SECRET_LENGTH if master else TOKEN_LENGTH
        if len(value) < least and (master or settings.is_production):
            faults.append(f"{name} must be at least {least} characters long")
        elif settings.is_production and _PLACEHOLDER.search(value):
            faults.append(f"{name} is a placeholder; make one with `openssl rand -hex 32`")
        if not (value.isascii() and value.isprintable()) and not master:
            faults.append(f"{name} must be printable ASCII, because it travels in a header")
    names = sorted(values)
    faults.extend(
        f"{first} and {second} must differ"
        for index, first in enumerate(names)
        for second in names[index + 1 :]
        if values[first] == values[second]
    )


def _with_generated_secrets(settings: Settings, *, generate: bool) -> Settings:
    """Fill in what is missing from `DATA_DIR/secrets.env`, made once with mode 0600."""
    file = settings.data_dir / "secrets.env"
    missing = [
        name for name in ("encryption_secret", "internal_secret") if getattr(settings, name) is None
    ]
    if not missing or not (generate or file.exists()):
        return settings
    stored = read_or_make(file)
    absent = [name.upper() for name in missing if name not in stored]
    if absent:
        raise StartupFault(
            f"{file} lacks {' and '.join(absent)}; restore the file from a backup, or set the"
            " variable"
        )
    return settings.model_copy(update={name: Secret(stored[name]) for name in missing})
