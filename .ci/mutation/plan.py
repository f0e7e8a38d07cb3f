"""Which modules are tried, and which tests have to find the faults in them."""

_VAULT = (
    "tests/unit/vault",
    "tests/vectors/test_vectors_rfc.py",
    "tests/vectors/test_vectors_wycheproof.py",
    "tests/store/test_secret_custody.py",
    "tests/store/test_secret_fence.py",
    "tests/store/test_secret_instances.py",
    "tests/store/test_secret_exposure.py",
    "tests/store/test_secret_renewal.py",
    "tests/store/test_secret_reveal.py",
    "tests/store/test_rewrap_records.py",
)
_AUDIT = (
    "tests/unit/audit",
    "tests/store/test_audit_append.py",
    "tests/store/test_audit_baseline.py",
    "tests/store/test_audit_keys.py",
    "tests/store/test_audit_verify.py",
    "tests/store/test_audit_checkpoints.py",
    "tests/store/test_audit_export.py",
    "tests/store/test_audit_prune.py",
    "tests/api/test_audit_api.py",
)
_ACCESS = (
    "tests/unit/access",
    "tests/unit/http",
    "tests/unit/keys",
    "tests/store/test_access_store.py",
    "tests/store/test_shares_races.py",
    "tests/store/test_shares_store.py",
    "tests/api/test_access.py",
    "tests/api/test_denials.py",
    "tests/api/test_tokens_abuse.py",
    "tests/api/test_tokens_routes.py",
    "tests/api/test_tokens_scopes.py",
    "tests/api/test_ownership_routes.py",
    "tests/api/test_shares_routes.py",
)

#: A name of the group, the modules below `src/model_service`, and their tests. Tests of other
#: groups would find faults too; leaving them out keeps a trial at seconds, and makes a module's
#: own tests answer for it.
GROUPS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "vault",
        (
            "vault/primitives.py", "vault/encoding.py", "vault/envelope.py", "vault/keyring.py",
            "vault/wrap.py", "vault/legacy.py", "vault/box.py", "vault/terms.py",
            "vault/rotation.py", "vault/rewrap.py", "vault/custody.py", "vault/watch.py",
            "vault/unlock.py", "vault/selftest.py", "vault/remote.py", "vault/transit.py",
            "vault/kms.py",
        ),
        _VAULT,
    ),
    (
        "access",
        (
            "access/api.py", "access/assembly.py", "access/directory.py", "access/domain.py",
            "access/hashing.py", "access/last_use.py", "access/service.py", "access/store.py",
            "http/rules.py", "http/credentials.py", "http/authenticator.py", "http/abuse.py",
            "kernel/principal.py", "kernel/acting.py", "kernel/rate.py",
            "keys/ownership.py", "keys/doorkeeper.py", "keys/shares.py", "keys/sharing.py",
        ),
        _ACCESS,
    ),
    (
        "audit",
        (
            "audit/api.py", "audit/baseline.py", "audit/chain.py", "audit/checkpoints.py",
            "audit/domain.py", "audit/export.py", "audit/keys.py", "audit/ledger.py",
            "audit/prune.py",
            "audit/seals.py", "audit/segment.py", "audit/signing.py", "audit/standalone.py",
            "audit/store.py", "audit/trail.py", "audit/verify.py",
        ),
        _AUDIT,
    ),
)  # fmt: skip

#: Tests that measure time: on a busy machine they would seem to find faults.
TIMED = (
    (
        "tests/unit/vault/test_vault_selftest.py::"
        "test_the_library_of_this_machine_passes_within_five_milliseconds"
    ),
)

#: Imported once, before the trials part from the runner: what they need and nobody changes.
PRELOADED = (
    "alembic.command",
    "asyncpg",
    "botocore.session",
    "cryptography.hazmat.primitives.ciphers.aead",
    "fastapi",
    "fastapi_offline",
    "genai_prices",
    "httpx",
    "hypothesis.strategies",
    "pydantic_settings",
    "pytest_asyncio.plugin",
    "pytest_timeout",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.ext.asyncio",
    "structlog",
    "uvicorn",
)
