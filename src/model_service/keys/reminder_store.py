"""What approaches and what was reminded of, in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, literal, null, or_, select
from sqlalchemy.dialects.postgresql import insert

from model_service.db.tables import api_key_versions, api_keys, key_reminders, key_rotation_policies
from model_service.db.uow import Database
from model_service.keys.reminders import LEAD, OVERDUE, STALE, Approaching, Kind, Notice
from model_service.keys.rotation_domain import HELD, Mode, StepState
from model_service.keys.store import PLAIN, key_of

_k = api_keys.c
_p = key_rotation_policies.c
_r = key_reminders.c
_v = api_key_versions.c


class SqlReminderStore:
    """`ReminderStore` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def approaching(self, now: datetime, most: int) -> Sequence[Approaching]:
        """Moments near to now of which the present notice was not sent yet, nearest first."""
        expiry = (
            _unsent(Kind.EXPIRY, _k.expires_at, now)
            .where(_k.expires_at > now - STALE)
            .add_columns(null().label("reason"))
        )
        rotation = (
            _unsent(Kind.ROTATION, _p.due_at, now)
            .join(key_rotation_policies, _p.key_id == _k.id)
            .where(or_(_p.mode == Mode.REMIND.value, _p.manual, _p.due_at <= now - OVERDUE))
            .add_columns(_p.reason)
        )
        held = (
            _unsent(Kind.RETIREMENT, _v.retire_at, now, literal(Notice.STUCK.value))
            .join(api_key_versions, _v.key_id == _k.id)
            .where(_v.state == StepState.RETIRING.value, _v.retire_at <= now, ~_k.is_valid)
            .add_columns(literal(HELD).label("reason"))
        )
        found: list[Approaching] = []
        async with self._db.single() as connection:
            for kind, query in (
                (Kind.EXPIRY, expiry),
                (Kind.ROTATION, rotation),
                (Kind.RETIREMENT, held),
            ):
                rows = await connection.execute(query.limit(most - len(found)))
                found += [
                    Approaching(key_of(row), kind, row.moment, Notice(row.notice), row.reason)
                    for row in rows
                ]
        return found

    async def mark_sent(self, approaching: Approaching, now: datetime) -> bool:
        """Note that the notice is sent; False when another process just did."""
        statement = (
            insert(key_reminders)
            .from_select(
                ["key_id", "kind", "notice", "about", "sent_at"],
                # Not a plain row: the key may have been deleted since.
                select(
                    _k.id,
                    literal(approaching.kind.value),
                    literal(approaching.notice.value),
                    literal(approaching.moment, _r.about.type),
                    literal(now, _r.sent_at.type),
                ).where(_k.id == approaching.key.id),
            )
            .on_conflict_do_nothing()
        )
        async with self._db.single() as connection:
            return (await connection.execute(statement)).rowcount > 0


def _nearness(moment: ColumnElement[Any], now: datetime) -> ColumnElement[Any]:
    return case(
        (moment <= now + LEAD[Notice.DUE], Notice.DUE.value),
        (moment <= now + LEAD[Notice.DAY], Notice.DAY.value),
        else_=Notice.WEEK.value,
    )


def _unsent(
    kind: Kind,
    moment: ColumnElement[Any],
    now: datetime,
    notice: ColumnElement[Any] | None = None,
) -> Any:  # noqa: ANN401 - a SELECT
    """Active keys near to the moment, with the notice that is to be sent: how near it is."""
    notice = _nearness(moment, now) if notice is None else notice
    sent = exists().where(
        and_(_r.key_id == _k.id, _r.kind == kind.value, _r.notice == notice, _r.about == moment)
    )
    return (
        select(*PLAIN, moment.label("moment"), notice.label("notice"))
        .where(_k.is_active, moment <= now + LEAD[Notice.WEEK], ~sent)
        .order_by(moment)
    )
