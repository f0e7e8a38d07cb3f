"""Rotation of the master secret and of terms: who holds the keyring, and the terms of records."""

from alembic import op
from sqlalchemy import BigInteger, Column, DateTime, Text, Uuid, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Refuses to store a record of a destroyed term, whoever writes it: such a record could never
# be opened. The argument names the column. The lock is the one `SqlKeyringSession.fence` takes;
# the bytes before the term are the record's version and suite. 40001 asks for the whole
# transaction to be tried again, which a process does with a keyring it has read anew.
_FENCE = """
CREATE FUNCTION keyring_refuse_destroyed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1836283491, 4);
    IF EXISTS (
        SELECT FROM keyring_terms
         WHERE state = 'destroyed'
           AND encode('\\x0101'::bytea || substr(int8send(term), 5), 'base64')
               = left(to_jsonb(NEW) ->> TG_ARGV[0], 8)
    ) THEN
        RAISE EXCEPTION 'a record of a destroyed term cannot be stored' USING ERRCODE = '40001';
    END IF;
    RETURN NEW;
END
$$
"""
_SEALED = {
    "api_keys": "encrypted_key",
    "api_key_versions": "encrypted_key",
    "provider_admin_credentials": "sealed",
    "audit_keys": "sealed",
    "access_keys": "sealed",
}


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def upgrade() -> None:
    """Add what rotation needs to know, the index by term, and the fence."""
    op.add_column("keyring_wraps", Column("exposed_through", BigInteger))
    op.add_column(
        "keyring_terms", Column("seals", BigInteger, nullable=False, server_default=text("0"))
    )
    op.add_column("keyring_terms", Column("retired_at", _moment()))
    op.create_table(
        "keyring_instances",
        Column("instance_id", Uuid, primary_key=True),
        Column("name", Text, nullable=False),
        Column("wrap_id", Text, nullable=False),
        Column("active_term", BigInteger, nullable=False),
        Column("newest_term", BigInteger, nullable=False),
        Column("started_at", _moment(), nullable=False),
        Column("seen_at", _moment(), nullable=False),
    )
    op.create_index("ix_api_keys_term", "api_keys", [text("left(encrypted_key, 8)"), "id"])
    op.execute(_FENCE)
    for table, column in _SEALED.items():
        op.execute(
            f"CREATE TRIGGER keyring_fence BEFORE INSERT OR UPDATE OF {column} ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION keyring_refuse_destroyed('{column}')"
        )


def downgrade() -> None:
    """Take it away again."""
    for table in _SEALED:
        op.execute(f"DROP TRIGGER keyring_fence ON {table}")
    op.execute("DROP FUNCTION keyring_refuse_destroyed()")
    op.drop_index("ix_api_keys_term", table_name="api_keys")
    op.drop_table("keyring_instances")
    op.drop_column("keyring_terms", "retired_at")
    op.drop_column("keyring_terms", "seals")
    op.drop_column("keyring_wraps", "exposed_through")
