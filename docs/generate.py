"""Write the documents that follow from the code: settings, commands, routes, translation and such.

    python docs/generate.py            write them
    python docs/generate.py --check    write nothing; exit 1 and name those that are stale

What is written depends on the code alone: not on the environment, the terminal, a database
or the network.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from conformance import conformance_page
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from tables import NOTE, table
from translation import translation_page
from typer.main import get_command

from model_service import __version__
from model_service.app import Opened, assemble
from model_service.cli import commands
from model_service.db.engine import create_engine
from model_service.db.notices import Notices
from model_service.db.uow import Database
from model_service.http.auth import Access, GuardedRoute
from model_service.http.documentation import openapi
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.settings import Settings

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- settings:begin -->", "<!-- settings:end -->"


def main(root: Path, arguments: Sequence[str]) -> int:
    """Write the documents below `root`, or with `--check` compare; gives the exit status."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 2
    stale = [
        (path, text)
        for path, text in documents((root / "README.md").read_text()).items()
        if not (root / path).exists() or (root / path).read_text() != text
    ]
    for path, text in stale:
        if arguments:
            sys.stderr.write(f"{path} is stale; run `make docs`\n")
        else:
            (root / path).write_text(text)
            sys.stdout.write(f"wrote {path}\n")
    return 1 if arguments and stale else 0


def documents(readme: str) -> dict[str, str]:
    """Every document by its path, `README.md` with its table put in place of the old one."""
    app = described_application()
    document = openapi(app, version=__version__)
    return {
        "README.md": _between_markers(readme, settings_table()),
        "docs/settings.md": settings_page(),
        "docs/cli.md": cli_page(),
        "docs/routes.md": routes_page(app),
        "docs/translation.md": translation_page(),
        "docs/conformance.md": conformance_page(),
        "docs/openapi.json": json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
        + "\n",
    }


def described_application() -> FastAPI:
    """The application in production mode, for looking at its routes; it cannot serve any."""
    settings = Settings.model_construct()
    url = Secret("postgresql://nowhere/none")
    nowhere = Database(create_engine(url))
    return assemble(settings, nowhere, Notices(url), cast("Opened", _Nothing()), Redactor()).app


class _Nothing:
    """What the master secret opens, where there is none."""

    keyring = audit_keys = token_hasher = None


def settings_table() -> str:
    """One row for each setting: variable, default, meaning."""
    rows = [
        (_code(*_variables(name, field)), _default(field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return table(("variable", "default", "meaning"), rows)


def settings_page() -> str:
    """`docs/settings.md`."""
    return f"""{NOTE}

# Settings

Read from the environment, then from the file `.env` in the working directory. An empty variable
counts as unset. What is wrong is reported together, by name and never by value, and the service
does not start until it is mended. [.env.example](../.env.example) lists the same variables.

{settings_table()}
In development, `ENCRYPTION_SECRET` and `INTERNAL_SECRET` are made once and kept in
`DATA_DIR/secrets.env` with mode 0600. In production nothing is made up.
"""


def cli_page() -> str:
    """`docs/cli.md`."""
    tree = get_command(commands.build())
    context = tree.make_context("model-service", [], resilient_parsing=True)
    parts = [f"{NOTE}\n\n# Command line\n\n{tree.help}\n"]
    parts += _options_table(tree, context)
    for command, inner in _commands(tree, context):
        usage = " ".join([inner.command_path, *command.collect_usage_pieces(inner)])
        name = inner.command_path.partition(" ")[2]
        parts.append(f"## {name}\n\n    {usage}\n\n{command.help}\n")
        parts += _options_table(command, inner)
    parts.append(
        "A command that meets a fault it can name says so in a sentence on standard error and exits"
        " with\nstatus 1. Wrong usage exits with status 2, and `import` with status 3 when it left"
        " rows out.\n"
    )
    return "\n".join(parts)


def _commands(group: Any, context: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - as below
    """Every command that does something, with its context, those of groups in their place."""
    for name, command in group.commands.items():
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        if hasattr(command, "commands"):
            yield from _commands(command, inner)
        else:
            yield command, inner


def routes_page(app: FastAPI) -> str:
    """`docs/routes.md`."""
    rows = sorted(_route_rows(app), key=lambda row: (row[1].strip("`"), row[0]))
    listed = table(("method", "path", "access", "scope", "what it does", "statuses"), rows)
    return f"""{NOTE}

# Routes

Requests and answers in full are in [openapi.json](openapi.json), which a running service gives at
`/api/openapi.json` and shows at `/api/docs`.

Access: **open** is anybody; **user** is whoever shows a credential, for what belongs to him;
**service** is a token of role service, the internal secret, or an administrator;
**administrator** is the `ADMIN_TOKEN` or a token of role admin; **internal** is the internal
secret, which being administrator does not replace; **auditor** is an administrator or a token with
that scope. A token with `scopes.routes` reaches the routes of the scopes it names.
[access.md](access.md) says more. 429 is for whoever failed to authenticate too often. Any route
may also answer 500, which carries a request id and nothing else.

The routes that agents call, below `/v1`, `/v1beta` and `/openai`, are in
[gateway.md](gateway.md#routes): they are no part of this API and not in its document.

{listed}"""


def _route_rows(app: FastAPI) -> Iterator[tuple[str, ...]]:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, GuardedRoute):
            raise TypeError(f"the route {route} declares no access")
        success = route.status_code or HTTPStatus.OK
        statuses = {int(success), *(int(status) for status in route.responses)}
        if route.access is not Access.OPEN:
            statuses |= {HTTPStatus.UNAUTHORIZED.value, HTTPStatus.TOO_MANY_REQUESTS.value}
        summary = route.summary or route.name.replace("_", " ").capitalize()
        shown = ", ".join(str(status) for status in sorted(statuses))
        for method in sorted(context.methods or ()):
            scope = _code(route.rule.permission.value) if route.rule.permission else ""
            yield method, _code(context.path or ""), route.access.value, scope, summary, shown


def _variables(name: str, field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [name.upper()]


def _default(field: FieldInfo) -> str:
    value = field.default.value if isinstance(field.default, Enum) else field.default
    return "" if value is None or value == "" else _code(str(value))


def _options_table(command: Any, context: Any) -> list[str]:  # noqa: ANN401 - Typer's, private
    """The table, or nothing for a command without options."""
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [(_code(names), " ".join(text.split())) for names, text in records if names != "--help"]
    return [table(("option", "meaning"), rows)] if rows else []


def _code(*words: str) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _between_markers(text: str, content: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{content}{END}{after}"


if __name__ == "__main__":
    sys.exit(main(ROOT, sys.argv[1:]))
