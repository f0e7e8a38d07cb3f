"""Which database a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager

from model_service.db.embedded import running
from model_service.db.engine import normalise_url
from model_service.kernel.secret import Secret
from model_service.settings import Settings


@contextmanager
def database(settings: Settings) -> Iterator[Secret[str]]:
    """The configured database's URL; without one, the embedded server's while it is open.

    Raises:
        StartupFault: the URL is malformed, or the embedded server cannot be started.
    """
    if settings.database_url is not None:
        yield normalise_url(settings.database_url)
        return
    with running(settings.data_dir) as url:
        yield url
