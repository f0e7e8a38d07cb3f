"""Who a piece of work is done for, known wherever it is done without being handed through."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The author of a request, as the audit trail names it.

    `actor` is `administrator:<token id>`, `administrator` for the bootstrap token,
    `service:<token id>`, `user:<user id>`, `internal`, `anonymous`, `operator:<account>@<host>`
    for commands, or `system` for what the service does by itself. `on_behalf_of` is the user
    a service or an administrator named. `client` is the peer's address.
    """

    actor: str
    on_behalf_of: str | None = None
    request_id: str | None = None
    client: str | None = None


SYSTEM = Caller("system")

_current: ContextVar[Caller] = ContextVar("caller", default=SYSTEM)


def current_caller() -> Caller:
    """Whose request this task is answering; `SYSTEM` outside of any."""
    return _current.get()


def set_caller(caller: Caller) -> None:
    """Say whose request this task answers from now on. Each request has a task of its own."""
    _current.set(caller)
