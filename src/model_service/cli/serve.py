"""`model-service serve`: one process, or a supervisor with several workers on one socket."""

import asyncio
import gc
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

import structlog
import typer
import uvloop

from model_service import __version__
from model_service.app import build, configure_logging, load_settings
from model_service.cli.database import Location, located
from model_service.db.engine import display_host
from model_service.db.migrate import migrate
from model_service.http.server import GRACE, bind, limit_resources, make_server
from model_service.kernel.errors import ServiceError, StartupFault
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.service import Service
from model_service.settings import Settings

log = structlog.get_logger(__name__)

#: A worker that dies younger than this, in seconds, did not start properly.
YOUNG = 10.0
#: So many young deaths in a row stop the service: something is wrong with all of them.
MAX_YOUNG_DEATHS = 5


class _Stop(Exception):
    """SIGTERM or SIGINT arrived."""


def run() -> None:
    """Check everything, bring the database up to date, then serve until told to stop."""
    settings = load_settings()
    redactor = configure_logging(settings)
    limit_resources()
    with _stopping_cleanly(), located(settings) as location:
        if settings.workers == 1:
            uvloop.run(_start_and_serve(settings, location, redactor))
        else:
            _supervise(settings, location.url, redactor)


async def _start_and_serve(settings: Settings, location: Location, redactor: Redactor) -> None:
    await migrate(location.url)
    service = await build(settings, location.url, redactor)
    try:
        listener = bind(settings.host, settings.port)
        _announce(settings, location.url)
        await _serve(service, listener, location)
    finally:
        await service.close()
        log.info("stopped")


async def _serve(service: Service, listener: socket.socket, location: Location) -> None:
    # What exists now lives as long as the process: the collector need not look at it again,
    # which would hold up every request for tens of milliseconds each time.
    gc.collect()
    gc.freeze()
    # What one call makes is mostly gone with it, without the collector's help: it looks seldom.
    gc.set_threshold(50_000, 20, 20)
    await service.watch.enter()
    service.start()
    watch = asyncio.create_task(location.server.keep_running()) if location.server else None
    try:
        await make_server(service.app, service.protocol).serve(sockets=[listener])
    finally:
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch


async def _check(settings: Settings, url: Secret[str], redactor: Redactor) -> None:
    """What a worker will do, done once before any is started, so that faults show once."""
    await migrate(url)
    service = await build(settings, url, redactor)
    await service.close()


def _supervise(settings: Settings, url: Secret[str], redactor: Redactor) -> None:
    uvloop.run(_check(settings, url, redactor))
    listener = bind(settings.host, settings.port)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="model-service-metrics-") as metrics:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics

        def start() -> BaseProcess:
            worker = context.Process(target=_work, args=(listener,), name="worker")
            worker.start()
            return worker

        workers = {start(): time.monotonic() for _ in range(settings.workers)}
        _announce(settings, url)
        try:
            young_deaths = 0
            while young_deaths < MAX_YOUNG_DEATHS:
                wait([worker.sentinel for worker in workers])
                for worker in [w for w in workers if w.exitcode is not None]:
                    age = time.monotonic() - workers.pop(worker)
                    young_deaths = young_deaths + 1 if age < YOUNG else 0
                    log.error("a worker died; starting another", pid=worker.pid)
                    workers[start()] = time.monotonic()
            raise StartupFault("the workers do not stay alive; see the lines above")
        finally:
            # The workers close theirs: whoever connects now is refused, and does not wait in vain.
            listener.close()
            _end(list(workers))


def _work(listener: socket.socket) -> None:
    """One worker process. It reads its own settings: secrets are not sent between processes."""
    try:
        settings = load_settings()
        redactor = configure_logging(settings)
        limit_resources()
        with _stopping_cleanly(), located(settings) as location:
            uvloop.run(_serve_on(listener, settings, location, redactor))
    except ServiceError as error:
        log.error("a worker cannot start", reason=error.message)
        sys.exit(1)


async def _serve_on(
    listener: socket.socket, settings: Settings, location: Location, redactor: Redactor
) -> None:
    service = await build(settings, location.url, redactor)
    try:
        await _serve(service, listener, location)
    finally:
        await service.close()


def _end(workers: list[BaseProcess]) -> None:
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + GRACE + 5
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join()


@contextmanager
def _stopping_cleanly() -> Iterator[None]:
    """SIGTERM and SIGINT end the block instead of the process, so that everything is closed."""

    def stop(_: int, __: FrameType | None) -> None:
        raise _Stop

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except (_Stop, asyncio.CancelledError):
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(settings: Settings, url: Secret[str]) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    where = display_host(url) if settings.database_url else "embedded PostgreSQL"
    log.info(
        "listening" if settings.workers == 1 else "listening; workers are starting",
        url=address,
        version=__version__,
        environment=settings.environment.value,
        database=where,
        workers=settings.workers,
    )
    if settings.is_production:
        return
    secrets = settings.data_dir / "secrets.env"
    typer.echo(
        f"""
  Model Service {__version__} in DEVELOPMENT mode at {address}
    - every program on this machine may manage models and keys without a credential
    - requests from other machines and from web pages are refused
    - generated secrets: {secrets} (keep a copy: without it no stored key opens)
    - API documentation: {address}/api/docs
  For anything but development set ENVIRONMENT=production; see the README.
""",
        err=True,
    )
