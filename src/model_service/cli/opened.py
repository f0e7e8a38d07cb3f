"""The service, opened for a command: on a database that is migrated, as the operator."""

import asyncio
from collections.abc import Awaitable, Callable

from model_service.app import build, load_settings
from model_service.cli.console import log_to_stderr
from model_service.cli.database import database
from model_service.cli.operator import operator
from model_service.db.migrate import migrate, schema_state
from model_service.kernel.caller import set_caller
from model_service.kernel.errors import StartupFault
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.service import Service
from model_service.settings import Settings

Work = Callable[[Service], Awaitable[None]]


def with_service(work: Work) -> None:
    """Do something with the service, without anything going on beside it.

    Raises:
        StartupFault: a setting does not hold, or the database is at another migration.
    """
    settings = load_settings()
    redactor = log_to_stderr(settings)
    with database(settings) as url:
        asyncio.run(_inside(settings, url, redactor, work))


async def _inside(settings: Settings, url: Secret[str], redactor: Redactor, work: Work) -> None:
    state = await schema_state(url)
    if state == "empty":
        await migrate(url)
    elif state != "current":
        raise StartupFault("the database is at another migration; see `model-service migrate`")
    set_caller(operator())
    service = await build(settings, url, redactor)
    try:
        await work(service)
    finally:
        await service.close()
