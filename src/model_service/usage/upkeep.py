"""The thread beside a journal: it writes it through to the disk, and has the next segment ready."""

import threading
from typing import Final

import structlog

from model_service.usage.journal import Journal

log = structlog.get_logger(__name__)

#: Seconds between two syncs while there is something to sync: what the death of the machine,
#: not that of the process, may cost.
SYNC_INTERVAL: Final = 0.05
#: Rounds to wait after a segment could not be made before trying again.
_ROUNDS_UNTIL_AGAIN: Final = 10


class Upkeep:
    """Syncs a journal and makes room in it, until stopped."""

    def __init__(self, journal: Journal, interval: float = SYNC_INTERVAL) -> None:
        self._journal = journal
        self._interval = interval
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage-journal", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether it does its work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin. Only once."""
        self._thread.start()

    def stop(self) -> None:
        """Sync a last time and end. Waits for that."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        waiting = 0
        while not self._ending.wait(self._interval):
            try:
                self._journal.sync()
                if waiting:
                    waiting -= 1
                elif self._journal.wants_room and not self._journal.allocate():
                    waiting = _ROUNDS_UNTIL_AGAIN
            except Exception as error:  # noqa: BLE001 - the last resort: logged, tried again
                log.error("the journal's upkeep failed", error_type=type(error).__name__)
        self._journal.sync()
