"""The audit trail's tables."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    Table,
    Text,
    Uuid,
    or_,
)

from model_service.db.tables.base import metadata, moment

audit_records = Table(
    "audit_records",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Uuid, nullable=False),
    Column("time", moment(), nullable=False),
    Column("type", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("on_behalf_of", Text),
    Column("subject", Text),
    Column("provider", Text),
    Column("purpose", Text),
    Column("request_id", Text),
    Column("client_address", Text),
    Column("decision", Text, nullable=False),
    Column("reason", Text),
    Column("ciphertext_sha256", Text),
    Column("term", BigInteger),
    Column("instance", Text, nullable=False),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
Index("ix_audit_records_time", audit_records.c.time)
Index("ix_audit_records_type_seq", audit_records.c.type, audit_records.c.seq)
Index("ix_audit_records_actor_seq", audit_records.c.actor, audit_records.c.seq)
Index("ix_audit_records_subject_seq", audit_records.c.subject, audit_records.c.seq)
# What became of each key's ciphertext, which is a small part of what is recorded of it.
Index(
    "ix_audit_records_ciphertext",
    audit_records.c.subject,
    audit_records.c.seq,
    postgresql_where=or_(
        audit_records.c.ciphertext_sha256.is_not(None), audit_records.c.type == "key.delete"
    ),
)

# One row: where the chain ends. Whoever appends holds its lock.
audit_head = Table(
    "audit_head",
    metadata,
    Column("single", Boolean, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("single", name="one_row"),
    # Every append makes a new version of the row: leave it room in its own page.
    postgresql_with={"fillfactor": 10},
)

# What was signed, word for word in `document`. A checkpoint covers the records from its
# first to `seq`; an anchor says that all up to `seq` were pruned.
audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

# The keys of the chain and of the signatures, sealed by the vault.
audit_keys = Table(
    "audit_keys",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("created_at", moment(), nullable=False),
)
