"""Change notices of tokens, models, keys and grants, whoever changes them and however.

Every process keeps tokens, models and leased keys in memory, and must hear of each change within a
second. Several parts of the service write them, and operators may, so the tables themselves give
notice: what somebody forgot would be a revoked key or token that goes on being used.
"""

from typing import Final

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# As `db.notices.notify`: raise the topic's version, then tell `topic:version:subject`. The
# triggers are deferred, so this comes last in a transaction, when nothing else is waited for.
# Of several rows in one transaction the second tells that anything may have changed ('*'), and
# the others nothing: an import of a million keys is two notices.
_FUNCTION: Final = """
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    topic CONSTANT text := TG_ARGV[0];
    setting CONSTANT text := 'model_service.noted_' || TG_ARGV[0];
    me CONSTANT text := pg_current_xact_id()::text;
    noted CONSTANT text := current_setting(setting, true);
    row_ jsonb;
    subject text;
    raised bigint;
BEGIN
    IF noted = me || ' many' THEN
        RETURN NULL;
    END IF;
    IF noted = me || ' one' THEN
        subject := '*';
        PERFORM set_config(setting, me || ' many', true);
    ELSE
        row_ := CASE WHEN TG_OP = 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
        SELECT string_agg(row_ ->> field, ':' ORDER BY place) INTO subject
            FROM unnest(TG_ARGV[1 :]) WITH ORDINALITY AS named (field, place);
        PERFORM set_config(setting, me || ' one', true);
    END IF;
    INSERT INTO change_versions AS v (topic, version) VALUES (topic, 1)
        ON CONFLICT ON CONSTRAINT pk_change_versions DO UPDATE SET version = v.version + 1
        RETURNING version INTO raised;
    PERFORM pg_notify('model_service', topic || ':' || raised || ':' || subject);
    RETURN NULL;
END $$
"""

_TRIGGERS: Final = (
    ("token_added_or_gone", "access_tokens", "INSERT OR DELETE", "'tokens', 'id'"),
    # Not of when a token was last used.
    (
        "token_changed",
        "access_tokens",
        "UPDATE OF digest, role, user_id, scopes, expires_at",
        "'tokens', 'id'",
    ),
    ("models_changed", "models", "INSERT OR UPDATE OR DELETE", "'models', 'id'"),
    ("key_added_or_gone", "api_keys", "INSERT OR DELETE", "'keys', 'id', 'user_id'"),
    # Not of what each use of a key counts, nor of a ciphertext sealed anew.
    (
        "key_changed",
        "api_keys",
        "UPDATE OF user_id, provider, key_version, is_active, is_valid, expires_at, metadata",
        "'keys', 'id', 'user_id'",
    ),
    (
        "grant_changed",
        "key_shares",
        "INSERT OR UPDATE OR DELETE",
        "'keys', 'key_id', 'grantee_user_id'",
    ),
)


def upgrade() -> None:
    """Create the function and its triggers."""
    op.execute(_FUNCTION)
    for name, table, events, arguments in _TRIGGERS:
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {name} AFTER {events} ON {table} "
            f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_change({arguments})"
        )


def downgrade() -> None:
    """Drop them again."""
    for name, table, _, _ in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON {table}")
    op.execute("DROP FUNCTION note_change()")
