"""The seam through which use cases make one unit of what several parts store."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Transactions(Protocol):
    """Gives units of work: what is stored within one is stored whole or not at all."""

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """A unit, or the one that is under way in this task already.

        Raises:
            DatabaseUnavailable: it cannot be begun, or not be committed.
            AuditUnavailable: it holds audit events that cannot be recorded.
        """
        ...
