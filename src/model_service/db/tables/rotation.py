"""The tables of provider keys' rotation.

What belongs to a key goes with it. What must outlive a key does not refer to it:
`issued_keys` says what is still to be taken back from a provider.
"""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

from model_service.db.tables.base import metadata, moment


def _of_key(*, primary: bool = False) -> Column[object]:
    return Column(
        "key_id",
        Uuid,
        ForeignKey("api_keys.id", ondelete="CASCADE"),
        primary_key=primary,
        nullable=False,
    )


# Values of a key other than the one in use. A ciphertext is bound as those of `api_keys` are: to
# the key's id, user and provider, and to the version and endpoint of this row.
api_key_versions = Table(
    "api_key_versions",
    metadata,
    Column("id", Uuid, primary_key=True),
    _of_key(),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("encrypted_key", Text, nullable=False),
    Column("key_prefix", Text, nullable=False),
    Column("endpoint", Text),
    # When the grace ends, or the next try to take the value back; null for a pending value.
    Column("retire_at", moment()),
    Column("created_at", moment(), nullable=False),
)
Index(
    "uq_api_key_versions_key_id_version",
    api_key_versions.c.key_id,
    api_key_versions.c.version,
    unique=True,
)
Index("ix_api_key_versions_retire_at", api_key_versions.c.retire_at)
Index(
    "ix_api_key_versions_term",
    func.left(api_key_versions.c.encrypted_key, 8),
    api_key_versions.c.id,
)

# The journal: one row for each step of each rotation, written before the step is taken.
key_rotation_steps = Table(
    "key_rotation_steps",
    metadata,
    Column("id", Uuid, primary_key=True),
    _of_key(),
    Column("rotation_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("automatic", Boolean, nullable=False),
    Column("reason", Text),
    Column("at", moment(), nullable=False),
)
Index("ix_key_rotation_steps_key_id_id", key_rotation_steps.c.key_id, key_rotation_steps.c.id)
Index(
    "ix_key_rotation_steps_pending",
    key_rotation_steps.c.at,
    postgresql_where=key_rotation_steps.c.state == "pending",
)

key_rotation_policies = Table(
    "key_rotation_policies",
    metadata,
    _of_key(primary=True),
    Column("mode", Text, nullable=False),
    Column("every_days", Integer),
    Column("grace_seconds", Integer),
    Column("credential_id", Uuid),
    Column("target", Text),
    Column("due_at", moment()),
    # After an attempt that failed: when the next one may be made, why it did, and whether
    # somebody has to do something about it.
    Column("retry_at", moment()),
    Column("reason", Text),
    Column("manual", Boolean, nullable=False),
    Column("updated_at", moment(), nullable=False),
)
Index("ix_key_rotation_policies_due_at", key_rotation_policies.c.due_at)

# Which reminders were sent: each once for each moment that it reminds of.
key_reminders = Table(
    "key_reminders",
    metadata,
    _of_key(primary=True),
    Column("kind", Text, primary_key=True),
    Column("notice", Text, primary_key=True),
    Column("about", moment(), primary_key=True),
    Column("sent_at", moment(), nullable=False),
)

# What this service made a provider give out. A row is there from before it is asked for until
# after it is taken back, whatever becomes of the key it was for.
issued_keys = Table(
    "issued_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("key_id", Uuid, nullable=False),
    Column("rotation_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("provider", Text, nullable=False),
    Column("credential_id", Uuid, nullable=False),
    Column("target", Text, nullable=False),
    Column("reference", Text),
    # What the value is taken back by that this one takes the place of.
    Column("former", Text),
    Column("state", Text, nullable=False),
    # Until then a process works on it; after that another may take it over.
    Column("claimed_until", moment(), nullable=False),
    Column("created_at", moment(), nullable=False),
    Column("updated_at", moment(), nullable=False),
)
Index(
    "uq_issued_keys_key_id",
    issued_keys.c.key_id,
    unique=True,
    postgresql_where=issued_keys.c.state.in_(("requested", "issued")),
)
Index("ix_issued_keys_key_id_version", issued_keys.c.key_id, issued_keys.c.version)
Index("ix_issued_keys_state_claimed_until", issued_keys.c.state, issued_keys.c.claimed_until)

provider_admin_credentials = Table(
    "provider_admin_credentials",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("label", Text),
    Column("settings", JSONB, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("created_at", moment(), nullable=False),
)
