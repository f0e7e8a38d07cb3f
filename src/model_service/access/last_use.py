"""When tokens were last used: noted now and then for all of them, never on a request's way."""

import asyncio
from typing import Final

import structlog

from model_service.access.directory import TokenDirectory
from model_service.access.domain import TokenStore
from model_service.kernel.errors import DatabaseUnavailable

log = structlog.get_logger(__name__)

#: Seconds between notes; so old may `lastUsedAt` be.
INTERVAL: Final = 10.0
#: Tokens noted in one statement.
BATCH: Final = 1000


class LastUse:
    """Notes the uses that the directory has seen. A job: see `background`."""

    def __init__(self, directory: TokenDirectory, store: TokenStore) -> None:
        self._directory = directory
        self._store = store

    async def step(self) -> None:
        """Note what was used since the last time; what cannot be stored is kept."""
        self._directory.forget_expired()
        uses = sorted(self._directory.take_uses().items())
        while uses:
            try:
                await self._store.note_uses(dict(uses[:BATCH]))
            except DatabaseUnavailable:
                log.warning("uses of tokens were not noted; again later", count=len(uses))
                self._directory.give_back_uses(dict(uses))
                return
            del uses[:BATCH]

    async def run(self) -> None:
        """Note uses every few seconds, until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                await self.step()
        finally:
            await self.step()
