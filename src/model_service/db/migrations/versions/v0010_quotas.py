"""Quotas, and the counters that limits are kept by."""

from typing import Final

from alembic import op
from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, SmallInteger, Text, Uuid, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Settles and takes leases (`kernel.counting.Ask`), all in one statement. A counter's row is locked
# from before it is looked at until the commit, in the order of their names by everybody, so that
# two statements never wait for each other.
#
# What a worker says is a lease's whole state, and the counter moves by how that differs from what
# it said before. A statement that comes after a later one of the same worker (which had given up
# waiting for it) is known by its number, and changes nothing.
_EXCHANGE: Final = """
CREATE FUNCTION exchange_leases(
    holder_ uuid, number_ bigint, valid_ interval,
    keys text[], windows text[], limits bigint[], leases bigint[], spares bigint[],
    opened bigint[], spent_ bigint[], held_ bigint[],
    least_ bigint[], need_ bigint[], most_ bigint[]
) RETURNS TABLE (
    place integer, opens bigint, remaining double precision,
    granted bigint, taken_after bigint, held_after bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    begins timestamptz;
    ends timestamptz;
    total bigint;
    room bigint;
    is_present boolean;
    mine_spent bigint;
    mine_held bigint;
    lease_ bigint;
    before record;
BEGIN
    FOR place IN SELECT i FROM generate_subscripts(keys, 1) AS i ORDER BY keys[i] COLLATE "C", i
    LOOP
        begins := date_trunc(windows[place], moment, 'UTC');
        ends := ((begins AT TIME ZONE 'UTC') + ('1 ' || windows[place])::interval)
            AT TIME ZONE 'UTC';
        opens := (extract(epoch FROM begins) * 1000000)::bigint;
        remaining := extract(epoch FROM ends - moment);
        granted := 0;
        is_present := opened[place] IS NOT NULL AND opened[place] = opens;
        lease_ := CASE WHEN is_present THEN leases[place] ELSE spares[place] END;
        mine_spent := CASE WHEN is_present THEN spent_[place] ELSE 0 END;
        mine_held := CASE WHEN is_present THEN held_[place] ELSE 0 END;

        SELECT c.taken INTO total FROM limit_counters AS c
            WHERE c.key = keys[place] AND c.window_start = begins FOR UPDATE;
        IF NOT FOUND THEN
            IF mine_spent + mine_held + most_[place] = 0 THEN
                taken_after := 0;
                held_after := 0;
                RETURN NEXT;
                CONTINUE;
            END IF;
            INSERT INTO limit_counters AS c (key, window_start, window_end, taken)
                VALUES (keys[place], begins, ends, 0)
                ON CONFLICT ON CONSTRAINT pk_limit_counters DO UPDATE SET taken = c.taken
                RETURNING c.taken INTO total;
        END IF;

        SELECT l.spent, l.held, l.number INTO before FROM limit_leases AS l
            WHERE l.key = keys[place] AND l.window_start = begins
                AND l.holder = holder_ AND l.lease = lease_;
        IF before.number IS NULL OR before.number < number_ THEN
            total := total + mine_spent + mine_held
                - coalesce(before.spent, 0) - coalesce(before.held, 0);
            room := limits[place] - total;
            IF most_[place] > 0 AND room >= least_[place] THEN
                granted := least(room, greatest(need_[place], least(most_[place], room / 8)));
            END IF;
            total := total + granted;
            mine_held := mine_held + granted;
            UPDATE limit_counters AS c SET taken = total
                WHERE c.key = keys[place] AND c.window_start = begins;
            -- Also of nothing: a statement before this one may still come.
            INSERT INTO limit_leases AS l (
                key, window_start, holder, lease, window_end, number, spent, held, expires_at
            ) VALUES (
                keys[place], begins, holder_, lease_, ends, number_, mine_spent, mine_held,
                moment + valid_
            ) ON CONFLICT ON CONSTRAINT pk_limit_leases DO UPDATE SET
                number = number_, spent = mine_spent, held = mine_held,
                expires_at = moment + valid_, doubted_at = NULL;
        END IF;
        taken_after := total;
        SELECT coalesce(sum(l.held), 0) INTO held_after FROM limit_leases AS l
            WHERE l.key = keys[place] AND l.window_start = begins;
        RETURN NEXT;
    END LOOP;
END $$
"""

# As migration 0008 has it for models, tokens and keys.
_TRIGGER: Final = (
    "CREATE CONSTRAINT TRIGGER quotas_changed AFTER INSERT OR UPDATE OR DELETE ON quotas "
    "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_change('quotas', 'id')"
)


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "quotas",
        Column("id", Uuid, primary_key=True),
        Column("user_id", Text),
        Column("token_id", Uuid),
        Column("model", Text),
        Column("metric", Text, nullable=False),
        Column("period", Text, nullable=False),
        Column("most", BigInteger, nullable=False),
        Column("created_at", _moment(), nullable=False),
        Column("updated_at", _moment(), nullable=False),
    )
    op.create_table(
        "quota_alerts",
        Column("quota_id", Uuid, ForeignKey("quotas.id", ondelete="CASCADE"), primary_key=True),
        Column("window_start", _moment(), primary_key=True),
        Column("percent", SmallInteger, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "limit_counters",
        Column("key", Text, primary_key=True),
        Column("window_start", _moment(), primary_key=True),
        Column("window_end", _moment(), nullable=False),
        Column("taken", BigInteger, nullable=False),
    )
    op.create_index("ix_limit_counters_window_end", "limit_counters", ["window_end"])
    op.create_table(
        "limit_leases",
        Column("key", Text, primary_key=True),
        Column("window_start", _moment(), primary_key=True),
        Column("holder", Uuid, primary_key=True),
        Column("lease", BigInteger, primary_key=True, autoincrement=False),
        Column("window_end", _moment(), nullable=False),
        Column("number", BigInteger, nullable=False),
        Column("spent", BigInteger, nullable=False),
        Column("held", BigInteger, nullable=False),
        Column("expires_at", _moment(), nullable=False),
        Column("doubted_at", _moment()),
    )
    op.create_index("ix_limit_leases_window_end", "limit_leases", ["window_end"])
    op.create_index(
        "ix_limit_leases_expires_at",
        "limit_leases",
        ["expires_at"],
        postgresql_where=text("held > 0"),
    )
    op.execute(_TRIGGER)
    op.execute(_EXCHANGE)


def downgrade() -> None:
    """Drop them again."""
    op.execute("DROP FUNCTION exchange_leases")
    for table in ("limit_leases", "limit_counters", "quota_alerts", "quotas"):
        op.drop_table(table)
