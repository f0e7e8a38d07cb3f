"""The commands and their options. What they do is imported when they are called."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from model_service import __version__
from model_service.cli import billing_commands, money_commands, usage_commands


def build() -> typer.Typer:
    """The command tree."""
    app = typer.Typer(
        name="model-service",
        help="LLM models and provider API keys in one place, and one door to call them through.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for command in (serve, migrate, doctor, sandbox, demo):
        app.command()(command)
    app.command(name="import")(import_earlier)
    app.add_typer(_secret())
    app.add_typer(_audit())
    app.add_typer(_tokens())
    app.add_typer(billing_commands.group())
    app.add_typer(money_commands.prices())
    usage = money_commands.usage()
    usage_commands.add_to(usage)
    app.add_typer(usage)
    return app


def _secret() -> typer.Typer:
    group = typer.Typer(
        name="secret", help="The master secret and the keyring's terms.", no_args_is_help=True
    )
    group.command(name="status")(secret_status)
    group.command(name="rotate")(secret_rotate)
    return group


def _audit() -> typer.Typer:
    group = typer.Typer(
        name="audit",
        help="The audit trail: check it, take it out, shorten it.",
        no_args_is_help=True,
    )
    group.command(name="verify")(audit_verify)
    group.command(name="export")(audit_export)
    group.command(name="prune")(audit_prune)
    return group


def _tokens() -> typer.Typer:
    group = typer.Typer(
        name="tokens", help="Access tokens: make, list, revoke.", no_args_is_help=True
    )
    group.command(name="create")(tokens_create)
    group.command(name="list")(tokens_list)
    group.command(name="revoke")(tokens_revoke)
    return group


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """LLM models and provider API keys in one place, and one door to call them through."""


def serve() -> None:
    """Run the service: check everything, migrate the database, then listen."""
    from model_service.cli.serve import run

    run()


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when there is something to do.")
    ] = False,
) -> None:
    """Bring the database to this release's schema."""
    from model_service.cli.migrate import run

    run(check=check)


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Findings as one JSON document.")] = False,
) -> None:
    """Check configuration, database, keyring, clock, disk and providers; say what to do."""
    from model_service.cli.doctor import run

    run(as_json=json)


def sandbox(
    port: Annotated[
        int, typer.Option(min=1, max=65528, help="Base port; the stand-ins take the next seven.")
    ] = 4100,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve stand-ins of the providers, to try everything without an account."""
    from model_service.sandbox import server

    server.run(host, port, typer.echo)


def demo(
    sandbox_port: Annotated[
        int, typer.Option(min=1, max=65528, help="Base port of the stand-ins.")
    ] = 4100,
) -> None:
    """Run the service against the sandbox, with a few models and keys to try."""
    from model_service.cli.demo import run

    run(sandbox_port)


def import_earlier(
    source: Annotated[
        str, typer.Option("--from", help="PostgreSQL URL of the earlier service's database.")
    ],
    secret_file: Annotated[
        Path, typer.Option("--secret-file", help="File holding its ENCRYPTION_SECRET.")
    ],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Read, decrypt and check everything, store no row."),
    ] = False,
) -> None:
    """Take over models and keys from the earlier service; may be run again after an abort."""
    from model_service.cli.import_earlier import run

    run(source, secret_file, dry_run=dry_run)


def secret_status(
    json: Annotated[bool, typer.Option("--json", help="The status as one JSON document.")] = False,
) -> None:
    """Show which secrets open the keyring, which instances use which, and terms with records."""
    from model_service.cli.secret import status

    status(as_json=json)


def secret_rotate(
    stage: Annotated[
        bool, typer.Option("--stage", help="Make a new secret open the keyring, beside the old.")
    ] = False,
    finalize: Annotated[
        bool,
        typer.Option("--finalize", help="Delete the old one, once no running instance uses it."),
    ] = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Take the staged one back, run with the old one.")
    ] = False,
    term: Annotated[
        bool, typer.Option("--term", help="Seal new records under a new data key.")
    ] = False,
    compromised: Annotated[
        bool,
        typer.Option(
            "--compromised",
            help="The secret leaked: with a new one, as --stage; then, when every instance was"
            " restarted, without: encrypt everything anew and list the keys to replace.",
        ),
    ] = False,
    new_secret_file: Annotated[
        Path | None, typer.Option("--new-secret-file", help="File holding the new secret.")
    ] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="Make the new secret, and print it this once.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="With --compromised: the list as one JSON document.")
    ] = False,
) -> None:
    """Take one step in replacing the master secret or the data key; exactly one is to be named."""
    from model_service.cli.secret import Step, rotate

    wanted = {
        Step.STAGE: stage,
        Step.FINALIZE: finalize,
        Step.ABANDON: abandon,
        Step.TERM: term,
        Step.COMPROMISED: compromised,
    }
    steps = [step for step, is_wanted in wanted.items() if is_wanted]
    if len(steps) != 1:
        names = ", ".join(step.value for step in wanted)
        raise typer.BadParameter(f"name one of {names}")
    if (new_secret_file or generate) and steps[0] not in (Step.STAGE, Step.COMPROMISED):
        raise typer.BadParameter(f"{steps[0].value} takes no new secret")
    rotate(steps[0], new_secret_file=new_secret_file, generate=generate, as_json=json)


def audit_verify(
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", help="An earlier export: shows whether the end was cut off since."
        ),
    ] = None,
) -> None:
    """Check records, checkpoints and stored ciphertexts; exit 2 naming the first that is wrong."""
    from model_service.cli.audit import verify

    verify(checkpoint)


def audit_export(
    since: Annotated[
        str | None, typer.Option("--from", help="ISO 8601 time; from the beginning without it.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="ISO 8601 time; up to now without it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; standard output without it.")
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", help="File for the public key; standard error without it."),
    ] = None,
) -> None:
    """Write whole signed segments as JSON lines, which anybody can check with the public key."""
    from model_service.cli.audit import export

    export(since, until, out, public_key)


def audit_prune(
    before: Annotated[
        str, typer.Option("--before", help="ISO 8601 time; what is younger is kept.")
    ],
    export: Annotated[
        Path,
        typer.Option("--export", help="What `audit export` wrote; what it does not hold is kept."),
    ],
) -> None:
    """Remove whole segments that an export holds; a signed anchor says where the trail begins."""
    from model_service.cli.audit import prune

    prune(before, export)


def tokens_create(
    role: Annotated[str, typer.Option(help="admin, service or user.")],
    user: Annotated[
        str | None, typer.Option("--user", help="Whose token it is; for the role user.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Limit it to this model; may be repeated.")
    ] = None,
    route: Annotated[
        list[str] | None,
        typer.Option(help="Limit it to this scope, as keys:read; may be repeated."),
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(help="ISO 8601 time from which it is good for nothing.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="All about it as one JSON document.")
    ] = False,
) -> None:
    """Make a token and print it: this once, alone on standard output."""
    from model_service.cli.tokens import create

    wanted: dict[str, object] = {
        "role": role, "userId": user, "label": label, "expiresAt": expires_at
    }  # fmt: skip
    scopes = {"models": model, "routes": route}
    if model or route:
        wanted["scopes"] = {name: names for name, names in scopes.items() if names}
    create({name: value for name, value in wanted.items() if value is not None}, as_json=json)


def tokens_list(
    user: Annotated[str | None, typer.Option("--user", help="Only this user's.")] = None,
    json: Annotated[bool, typer.Option("--json", help="All of them as one JSON document.")] = False,
) -> None:
    """List tokens, newest first, without their text."""
    from model_service.cli.tokens import show

    show(user, as_json=json)


def tokens_revoke(
    token_id: Annotated[UUID, typer.Argument(help="The token's id, as `tokens list` shows it.")],
) -> None:
    """Revoke a token: every running instance refuses it within a second."""
    from model_service.cli.tokens import revoke

    revoke(token_id)
