"""The command line. Each command has a module; an expected fault is a sentence, not a traceback."""

import sys

import typer

from model_service.cli import commands
from model_service.kernel.errors import DatabaseUnavailable, ServiceError, StartupFault

#: Exit status of a command that met a fault it could name.
FAULT = 1


def main() -> None:
    """Run the command named by the arguments."""
    app = commands.build()
    try:
        app(standalone_mode=True)
    except StartupFault as fault:
        _complain(*fault.faults)
    except DatabaseUnavailable as error:
        _complain(f"{error.message}; see `model-service doctor`")
    except ServiceError as error:
        _complain(error.message)
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(*sentences: str) -> None:
    for sentence in sentences:
        typer.echo(f"model-service: {sentence}", err=True)
    sys.exit(FAULT)
