"""Who writes where: each process has a directory of its own, and its lock says that it lives."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model_service.kernel.types import uuid7_text

_LOCK: Final = "lock"
#: Where segments are put that nobody can read whole.
DAMAGED: Final = "damaged"
#: Ends the name of a directory that is being deleted.
_GONE: Final = ".gone"


@dataclass(slots=True)
class Holding:
    """A directory that this process holds the lock of."""

    path: Path
    _lock: int

    @classmethod
    def new(cls, root: Path) -> "Holding":
        """A new directory below `root`, which is made if need be. Raises OSError."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Under the lock of all: nobody must take the directory for that of a dead process
        # before its own lock is held.
        with _all(root):
            path = root / uuid7_text()
            path.mkdir(mode=0o700)
            return cls(path, _locked(path / _LOCK))

    def release(self) -> None:
        """Let go of it: whatever is in it may be taken over."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __del__(self) -> None:
        # One that was found for somebody who no longer waits for it must not stay held.
        self.release()

    def keep_damaged(self, segment: Path) -> None:
        """Put a segment where nobody deletes it, for whoever can make sense of it. OSError."""
        damaged = self.path.parent / DAMAGED
        damaged.mkdir(mode=0o700, exist_ok=True)
        segment.replace(damaged / f"{self.path.name}-{segment.name}")

    def remove(self) -> None:
        """Delete it, and let go. Raises OSError."""
        # At one blow: with some of its segments gone, calls would look cut that are not.
        gone = self.path.with_name(f"{self.path.name}{_GONE}")
        with _all(self.path.parent):
            self.path.rename(gone)
            self.release()
        shutil.rmtree(gone, ignore_errors=True)


def take_over(root: Path, skip: frozenset[str] = frozenset()) -> Holding | None:
    """The oldest directory whose owner is dead, now held by this process; None without one.

    `skip` are names not to take. Raises OSError.
    """
    if not root.is_dir():
        return None
    with _all(root):
        for path in sorted(root.iterdir()):
            if not path.is_dir() or path.name == DAMAGED or path.name in skip:
                continue
            if path.suffix == _GONE:
                shutil.rmtree(path, ignore_errors=True)  # whoever began with that died over it
                continue
            try:
                return Holding(path, _locked(path / _LOCK))
            except BlockingIOError:
                continue  # its owner lives
    return None


def _locked(path: Path) -> int:
    """A descriptor that holds a file's lock. Raises BlockingIOError when somebody else does."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(lock)
        raise
    return lock


@contextmanager
def _all(root: Path) -> Iterator[None]:
    """The lock of whoever makes, takes over or deletes directories; each holds it for moments."""
    lock = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
