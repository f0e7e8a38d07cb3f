"""Who runs a command, as the audit trail is to name them."""

import getpass
import os
import socket
from contextlib import suppress

from model_service.kernel.caller import Caller


def author() -> str:
    """`<account>@<host>`, as far as the operating system tells."""
    return f"{_account()}@{socket.gethostname()}"


def operator() -> Caller:
    """Whoever runs this command, as the author of what it does."""
    return Caller(f"operator:{author()}")


def _account() -> str:
    with suppress(KeyError, OSError):  # an account without a name
        return getpass.getuser()
    return str(os.getuid())
