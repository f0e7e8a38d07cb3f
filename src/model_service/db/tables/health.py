"""The tables of how providers are doing: what is so, what was, and what each process counted."""

from sqlalchemy import Column, Index, Integer, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from model_service.db.tables.base import metadata, moment

provider_states = Table(
    "provider_states",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("names", ARRAY(Text), nullable=False),
    # `open` or `closed`; that a call is being let through is its process's own matter.
    Column("state", Text, nullable=False),
    Column("since", moment(), nullable=False),
    # Orders what several processes tell: what is older than this changes nothing.
    Column("changed_at", moment(), nullable=False),
    Column("retry_at", moment()),
    Column("error", Text),
    Column("why", Text, nullable=False),
)

provider_state_changes = Table(
    "provider_state_changes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("names", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("at", moment(), nullable=False),
    Column("error", Text),
    Column("why", Text, nullable=False),
    Column("instance", Text, nullable=False),
)
Index("ix_provider_state_changes_at", provider_state_changes.c.at)

provider_numbers = Table(
    "provider_numbers",
    metadata,
    Column("instance", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("names", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("since", moment(), nullable=False),
    Column("calls", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    # Calls by bucket of `providers.condition.bucket_of`, so that they can be added up.
    Column("latencies", JSONB, nullable=False),
    Column("first_tokens", JSONB, nullable=False),
    Column("last_error", Text),
    Column("last_error_why", Text, nullable=False),
    Column("last_error_at", moment()),
    Column("updated_at", moment(), nullable=False),
    # Rewritten every few seconds: with room in its page no index has to be touched.
    postgresql_with={"fillfactor": 70},
)
Index("ix_provider_numbers_updated_at", provider_numbers.c.updated_at)
