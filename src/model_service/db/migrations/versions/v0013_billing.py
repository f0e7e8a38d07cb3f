"""Accounts, statements, and what is told to billing systems."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Integer,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_NEVER_CHANGED = ("billing_statements", "billing_credit_notes")


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def _used() -> list[Column[object]]:
    counts = ("requests", "input_tokens", "cached_input_tokens", "cache_write_tokens")
    return [
        *(Column(name, BigInteger, nullable=False) for name in counts),
        Column("output_tokens", BigInteger, nullable=False),
        Column("unpriced_requests", BigInteger, nullable=False),
        Column("cost", Numeric, nullable=False),
    ]


def upgrade() -> None:
    """Create the tables."""
    _create_accounts()
    _create_statements()
    _create_meters()


def _create_accounts() -> None:
    op.create_table(
        "billing_accounts",
        Column("id", Uuid, primary_key=True),
        Column("name", Text, nullable=False),
        Column("markup_percent", Numeric, nullable=False),
        Column("monthly_fee", Numeric, nullable=False),
        Column("minimum_charge", Numeric, nullable=False),
        Column("stripe_customer_id", Text),
        Column("first_month", Date, nullable=False),
        Column("open_month", Date, nullable=False),
        Column("carried", Numeric, nullable=False),
        Column("metered_hour", _moment()),
        Column("created_at", _moment(), nullable=False),
        Column("updated_at", _moment(), nullable=False),
        UniqueConstraint("name", name="uq_billing_accounts_name"),
    )
    op.create_index("ix_billing_accounts_open_month", "billing_accounts", ["open_month"])
    op.create_index("ix_billing_accounts_metered_hour", "billing_accounts", ["metered_hour"])
    op.create_table(
        "billing_memberships",
        Column("id", Uuid, primary_key=True),
        Column(
            "account_id",
            Uuid,
            ForeignKey("billing_accounts.id", ondelete="CASCADE"),
            nullable=False,
        ),
        Column("user_id", Text, nullable=False),
        Column("since", Date, nullable=False),
        Column("until", Date),
        UniqueConstraint("user_id", "since", name="uq_billing_memberships_user_id_since"),
    )
    op.create_index("ix_billing_memberships_account_id", "billing_memberships", ["account_id"])


def _create_statements() -> None:
    op.create_table(
        "billing_statements",
        Column("id", Uuid, primary_key=True),
        Column("number", Integer, nullable=False),
        Column("account_id", Uuid, ForeignKey("billing_accounts.id"), nullable=False),
        Column("month", Date, nullable=False),
        Column("markup_percent", Numeric, nullable=False),
        Column("total", Numeric, nullable=False),
        Column("content", Text, nullable=False),
        Column("digest", Text, nullable=False),
        Column("closed_at", _moment(), nullable=False),
        UniqueConstraint("number", name="uq_billing_statements_number"),
        UniqueConstraint("account_id", "month", name="uq_billing_statements_account_id_month"),
    )
    op.create_table(
        "billing_included",
        Column("user_id", Text, primary_key=True),
        Column("model", Text, primary_key=True),
        Column("day", Date, primary_key=True),
        Column("account_id", Uuid, ForeignKey("billing_accounts.id"), nullable=False),
        *_used(),
    )
    op.create_index("ix_billing_included_account_id_day", "billing_included", ["account_id", "day"])
    op.create_table(
        "billing_credit_notes",
        Column("id", Uuid, primary_key=True),
        Column("number", Integer, nullable=False),
        Column("statement_id", Uuid, ForeignKey("billing_statements.id"), nullable=False),
        Column("amount", Numeric, nullable=False),
        Column("reason", Text, nullable=False),
        Column("reference", Text),
        Column("created_at", _moment(), nullable=False),
        UniqueConstraint("number", name="uq_billing_credit_notes_number"),
        UniqueConstraint(
            "statement_id", "reference", name="uq_billing_credit_notes_statement_id_reference"
        ),
    )
    op.create_table(
        "billing_counters",
        Column("name", Text, primary_key=True),
        Column("value", Integer, nullable=False),
    )
    op.execute(
        "CREATE FUNCTION billing_never_changed() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'what % holds is never changed', TG_TABLE_NAME; END $$"
    )
    for table in _NEVER_CHANGED:
        op.execute(
            f"CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION billing_never_changed()"
        )


def _create_meters() -> None:
    op.create_table(
        "billing_metered",
        Column(
            "account_id",
            Uuid,
            ForeignKey("billing_accounts.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        Column("day", Date, primary_key=True),
        *_used(),
        Column("microdollars", BigInteger, nullable=False),
    )
    op.create_table(
        "billing_meters",
        Column("id", Uuid, primary_key=True),
        Column(
            "account_id",
            Uuid,
            ForeignKey("billing_accounts.id", ondelete="CASCADE"),
            nullable=False,
        ),
        Column("day", Date, nullable=False),
        Column("occurred_at", _moment(), nullable=False),
        *_used(),
        Column("microdollars", BigInteger, nullable=False),
        Column("stripe_customer_id", Text),
        Column("state", Text, nullable=False),
        Column("reason", Text),
        Column("attempts", Integer, nullable=False),
        Column("refusals", Integer, nullable=False),
        Column("due_at", _moment(), nullable=False),
        Column("leased_until", _moment()),
        Column("uncertain_since", _moment()),
        Column("settled_at", _moment()),
        Column("created_at", _moment(), nullable=False),
    )
    op.create_index(
        "ix_billing_meters_due",
        "billing_meters",
        ["due_at"],
        postgresql_where=text("state = 'pending'"),
    )
    op.create_index("ix_billing_meters_account_id_id", "billing_meters", ["account_id", "id"])


def downgrade() -> None:
    """Drop them again."""
    for table in (
        "billing_meters",
        "billing_metered",
        "billing_counters",
        "billing_credit_notes",
        "billing_included",
        "billing_statements",
        "billing_memberships",
        "billing_accounts",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION billing_never_changed()")
