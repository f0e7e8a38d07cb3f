"""Access tokens: what finding one costs on the request path."""

import statistics
import time
from collections.abc import Callable
from functools import partial

from bench import report
from model_service.access.directory import TokenDirectory
from model_service.access.domain import Token, TokenHasher, TokenStore, mint
from model_service.kernel.principal import EVERYTHING, Role
from model_service.kernel.secret import Secret
from model_service.kernel.types import SystemClock, uuid7

_ROUNDS, _CALLS = 5, 20_000


class _NoStore:
    """A directory that is asked for known tokens alone never needs its store."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"the request path asked the database: {name}")


def token_check(store: TokenStore | None = None) -> str:
    """Microseconds for the hash alone, and for the whole check among few and many tokens."""
    hasher, clock = TokenHasher(Secret(bytes(32))), SystemClock()
    rows = []
    for count in (10, 100_000):
        directory = TokenDirectory(store or _NoStore(), hasher, clock, age=lambda: 0.0)  # type: ignore[arg-type]
        text = b""
        for _ in range(count):
            token_id = uuid7()
            text = mint(token_id).reveal().encode()
            digest = hasher.digest(text)
            directory.put(Token(token_id, digest, Role.USER, "ada", None, EVERYTHING, clock.now()))
        if directory.find(text) is None:
            raise RuntimeError("a token that was put in is not found")
        hash_alone = _microseconds(partial(hasher.digest, text))
        whole = _microseconds(partial(directory.find, text))
        rows.append([f"{count:,}", f"{hash_alone:.1f}", f"{whole:.1f}"])
    return (
        "Microseconds to hash a token, and to find whose it is; no database is asked.\n\n"
        + report.table(["tokens", "hash alone", "whole check"], rows)
    )


def _microseconds(call: Callable[[], object]) -> float:
    rounds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for _ in range(_CALLS):
            call()
        rounds.append((time.perf_counter() - started) / _CALLS * 1e6)
    return statistics.median(rounds)
