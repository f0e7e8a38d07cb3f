"""The tables of billing: who pays, what was billed, and what is told to billing systems.

Statements and credit notes are kept from being changed or deleted by triggers (migration
0013): what somebody was billed is what he was billed.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from model_service.db.tables.base import metadata, moment

billing_accounts = Table(
    "billing_accounts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("markup_percent", Numeric, nullable=False),
    Column("monthly_fee", Numeric, nullable=False),
    Column("minimum_charge", Numeric, nullable=False),
    Column("stripe_customer_id", Text),
    # Months are kept as their first days.
    Column("first_month", Date, nullable=False),
    Column("open_month", Date, nullable=False),
    # What rounding left over from the last statement.
    Column("carried", Numeric, nullable=False),
    # The hour that was metered last.
    Column("metered_hour", moment()),
    Column("created_at", moment(), nullable=False),
    Column("updated_at", moment(), nullable=False),
)
Index("ix_billing_accounts_open_month", billing_accounts.c.open_month)
Index("ix_billing_accounts_metered_hour", billing_accounts.c.metered_hour)

billing_memberships = Table(
    "billing_memberships",
    metadata,
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
    UniqueConstraint("user_id", "since"),
)
Index("ix_billing_memberships_account_id", billing_memberships.c.account_id)

billing_statements = Table(
    "billing_statements",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("account_id", Uuid, ForeignKey("billing_accounts.id"), nullable=False),
    Column("month", Date, nullable=False),
    Column("markup_percent", Numeric, nullable=False),
    Column("total", Numeric, nullable=False),
    # As JSON, byte for byte what the digest was taken of.
    Column("content", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("closed_at", moment(), nullable=False),
    UniqueConstraint("account_id", "month"),
)

# What statements have billed so far. By this key nothing can be billed twice, to whomever.
billing_included = Table(
    "billing_included",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("account_id", Uuid, ForeignKey("billing_accounts.id"), nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("unpriced_requests", BigInteger, nullable=False),
    Column("cost", Numeric, nullable=False),
)
Index("ix_billing_included_account_id_day", billing_included.c.account_id, billing_included.c.day)

billing_credit_notes = Table(
    "billing_credit_notes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("statement_id", Uuid, ForeignKey("billing_statements.id"), nullable=False),
    Column("amount", Numeric, nullable=False),
    Column("reason", Text, nullable=False),
    Column("reference", Text),
    Column("created_at", moment(), nullable=False),
    UniqueConstraint("statement_id", "reference"),
)

# The last number given to a statement and to a credit note. A sequence would leave gaps.
billing_counters = Table(
    "billing_counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
)

# What meters have told of each day so far.
billing_metered = Table(
    "billing_metered",
    metadata,
    Column(
        "account_id",
        Uuid,
        ForeignKey("billing_accounts.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("day", Date, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("unpriced_requests", BigInteger, nullable=False),
    Column("cost", Numeric, nullable=False),
    Column("microdollars", BigInteger, nullable=False),
)

billing_meters = Table(
    "billing_meters",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column(
        "account_id",
        Uuid,
        ForeignKey("billing_accounts.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("day", Date, nullable=False),
    Column("occurred_at", moment(), nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("unpriced_requests", BigInteger, nullable=False),
    Column("cost", Numeric, nullable=False),
    Column("microdollars", BigInteger, nullable=False),
    # The customer at that time; null: of no interest to Stripe.
    Column("stripe_customer_id", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    # Counted when an attempt is begun; its number is also what its result is stored by.
    Column("attempts", Integer, nullable=False),
    # Counted when Stripe refused: the same idempotency key would be answered the same for ever.
    Column("refusals", Integer, nullable=False),
    Column("due_at", moment(), nullable=False),
    Column("leased_until", moment()),
    # Since when it may be at Stripe although nobody here heard so.
    Column("uncertain_since", moment()),
    Column("settled_at", moment()),
    Column("created_at", moment(), nullable=False),
)
Index(
    "ix_billing_meters_due",
    billing_meters.c.due_at,
    postgresql_where=billing_meters.c.state == "pending",
)
Index("ix_billing_meters_account_id_id", billing_meters.c.account_id, billing_meters.c.id)
