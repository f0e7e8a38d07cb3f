"""What `model-service secret` prints: how far a rotation is, and which keys to replace."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import typer
from rich.table import Table
from sqlalchemy import exists, func, or_, select, tuple_

from model_service.cli.console import printable
from model_service.db.tables import api_keys, keyring_terms, keyring_wraps
from model_service.db.uow import Database
from model_service.http.wire import format_moment
from model_service.kernel.keyring import LEAKED, KeyringStatus, TermState, TermStatus

#: Keys read at a time.
_BATCH: Final = 1_000
#: Keys carry the time of the machine that stored them, terms that of the database; and whoever
#: was storing a key when its term was retired did so a moment later.
_CLOCKS_DIFFER: Final = timedelta(minutes=10)

_COLUMNS: Final = {
    "id": api_keys.c.id,
    "userId": api_keys.c.user_id,
    "provider": api_keys.c.provider,
    "keyName": api_keys.c.key_name,
    "keyPrefix": api_keys.c.key_prefix,
    "keyVersion": api_keys.c.key_version,
}


def status_document(status: KeyringStatus) -> dict[str, Any]:
    """The status as `--json` prints it."""
    return {
        "wraps": [
            {
                "id": wrap.wrap_id,
                "kind": wrap.kind,
                "createdAt": _moment(wrap.created_at),
                "newest": wrap is status.wraps[-1],
                "leaked": wrap.exposed_through == LEAKED,
                "exposedThrough": None if wrap.exposed_through == LEAKED else wrap.exposed_through,
                "instances": [one.name for one in status.instances if one.wrap_id == wrap.wrap_id],
            }
            for wrap in status.wraps
        ],
        "instances": [
            {
                "id": str(one.instance_id),
                "name": one.name,
                "wrap": one.wrap_id,
                "activeTerm": one.active_term,
                "newestTerm": one.newest_term,
                "startedAt": _moment(one.started_at),
                "seenAt": _moment(one.seen_at),
                "live": one.is_live,
            }
            for one in status.instances
        ],
        "terms": [
            {
                "term": term.row.term,
                "state": _state(status, term),
                "createdAt": _moment(term.row.created_at),
                "seals": term.row.seals,
                "exposed": term.row.term in status.exposed,
                "records": dict(term.records),
            }
            for term in status.terms
        ],
        "rewrap": {"moved": _moved(status), "total": _total(status)},
    }


def status_tables(status: KeyringStatus) -> Iterator[Table]:
    """The status as a terminal shows it."""
    wraps = Table("wrap", "kind", "made", "used by", title="Secrets that open the keyring")
    for wrap in status.wraps:
        live = [one for one in status.instances if one.wrap_id == wrap.wrap_id and one.is_live]
        note = " (newest)" if len(status.wraps) > 1 and wrap is status.wraps[-1] else ""
        if wrap.exposed_through == LEAKED:
            note = " (leaked)"
        wraps.add_row(
            f"{wrap.wrap_id}{note}", wrap.kind, _shown(wrap.created_at), f"{len(live)} running"
        )
    yield wraps
    instances = Table("instance", "wrap", "term", "seen", "state", title="Instances")
    for one in status.instances:
        state = "running" if one.is_live else "silent"
        instances.add_row(
            printable(one.name), one.wrap_id, str(one.active_term), _shown(one.seen_at), state
        )
    yield instances
    terms = Table("term", "state", "made", "sealed", "records", title="Terms")
    for term in status.terms:
        exposed = ", exposed" if term.row.term in status.exposed else ""
        terms.add_row(
            str(term.row.term),
            _state(status, term) + exposed,
            _shown(term.row.created_at),
            str(term.row.seals),
            ", ".join(f"{table} {count}" for table, count in term.records.items() if count) or "0",
        )
    terms.caption = f"{_moved(status)} of {_total(status)} records are under the active term"
    terms.caption_justify = "left"
    yield terms


async def print_exposed(
    database: Database, status: KeyringStatus, remaining: Sequence[int], *, as_json: bool
) -> None:
    """Print every provider key that was stored before the leaked secret was out of use.

    As JSON it is one document, written as it is read, whatever its length.
    """
    others = _other_secrets(status)
    if as_json:
        head = {"destroyed": not remaining, "remainingTerms": list(remaining), "others": others}
        typer.echo(json.dumps(head)[:-1] + ', "providerKeys": [', nl=False)
        between = "\n"
        async for key in _exposed_keys(database):
            typer.echo(between + json.dumps(key), nl=False)
            between = ",\n"
        typer.echo("]}")
        return
    typer.echo("Replace these keys at their providers, then here:")
    typer.echo("\t".join(_COLUMNS))
    count = 0
    async for key in _exposed_keys(database):
        typer.echo("\t".join(printable(str(value)) for value in key.values()))
        count += 1
    typer.echo(f"{count} provider keys. Records in other tables, whose secrets to replace too:")
    for table, number in others.items():
        typer.echo(f"{table}\t{number}")


def _other_secrets(status: KeyringStatus) -> dict[str, int]:
    """How many records each table but that of the provider keys holds."""
    counts: Counter[str] = Counter()
    for term in status.terms:
        counts.update(term.records)
    return {table: count for table, count in counts.items() if count and table != api_keys.name}


async def _exposed_keys(database: Database) -> AsyncIterator[Mapping[str, object]]:
    """Keys that may have been stored under an exposed term, by user and name.

    That is all of them while an exposed term is in use still, or was never out of use.
    """
    k, t = api_keys.c, keyring_terms.c
    order = (k.user_id, k.provider, k.key_name)
    last: tuple[object, ...] | None = None
    exposed = t.term <= select(func.max(keyring_wraps.c.exposed_through)).scalar_subquery()
    unretired = exists().where(exposed, t.retired_at.is_(None))
    retired_at = select(func.max(t.retired_at)).where(exposed).scalar_subquery()
    while True:
        query = (
            select(*_COLUMNS.values())
            .where(or_(unretired, k.created_at < retired_at + _CLOCKS_DIFFER))
            .order_by(*order)
        )
        if last is not None:
            query = query.where(tuple_(*order) > tuple_(*last))
        async with database.single() as connection:
            rows = (await connection.execute(query.limit(_BATCH))).all()
        for row in rows:
            yield {
                name: value if isinstance(value, int) else str(value)
                for name, value in zip(_COLUMNS, row, strict=True)
            }
        if len(rows) < _BATCH:
            return
        last = (rows[-1].user_id, rows[-1].provider, rows[-1].key_name)


def _state(status: KeyringStatus, term: TermStatus) -> str:
    active = next(t.row.term for t in status.terms if t.row.state is TermState.ACTIVE)
    if term.row.state is TermState.DECRYPT_ONLY and term.row.term > active:
        return "added"
    return term.row.state.value


def _moved(status: KeyringStatus) -> int:
    return sum(sum(t.records.values()) for t in status.terms if t.row.state is TermState.ACTIVE)


def _total(status: KeyringStatus) -> int:
    return sum(sum(t.records.values()) for t in status.terms)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else format_moment(moment)


def _shown(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
