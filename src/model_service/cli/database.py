"""Which database a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from model_service.db.embedded import EmbeddedPostgres, running_server
from model_service.db.engine import normalise_url
from model_service.kernel.secret import Secret
from model_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Location:
    """Where the database is; `server` is ours when it is the embedded one."""

    url: Secret[str]
    server: EmbeddedPostgres | None = None


@contextmanager
def located(settings: Settings) -> Iterator[Location]:
    """The configured database; without one, the embedded server while the context is open.

    Raises:
        StartupFault: the URL is malformed, or the embedded server cannot be started.
    """
    if settings.database_url is not None:
        yield Location(normalise_url(settings.database_url))
        return
    with running_server(settings.data_dir) as server:
        yield Location(server.url, server)


@contextmanager
def database(settings: Settings) -> Iterator[Secret[str]]:
    """As `located`; gives only the URL."""
    with located(settings) as location:
        yield location.url
