"""The tables, as SQLAlchemy Core sees them. `migrations/` creates them; a test compares both."""

from model_service.db.tables.access import access_keys, access_tokens, change_versions
from model_service.db.tables.audit import (
    audit_checkpoints,
    audit_head,
    audit_keys,
    audit_records,
)
from model_service.db.tables.base import metadata
from model_service.db.tables.billing import (
    billing_accounts,
    billing_counters,
    billing_credit_notes,
    billing_included,
    billing_memberships,
    billing_metered,
    billing_meters,
    billing_statements,
)
from model_service.db.tables.catalog import models
from model_service.db.tables.health import (
    provider_numbers,
    provider_state_changes,
    provider_states,
)
from model_service.db.tables.keyring import (
    keyring_instances,
    keyring_term_keys,
    keyring_terms,
    keyring_wraps,
)
from model_service.db.tables.keys import api_keys
from model_service.db.tables.prices import price_editions
from model_service.db.tables.quotas import limit_counters, limit_leases, quota_alerts, quotas
from model_service.db.tables.rotation import (
    api_key_versions,
    issued_keys,
    key_reminders,
    key_rotation_policies,
    key_rotation_steps,
    provider_admin_credentials,
)
from model_service.db.tables.shares import key_shares
from model_service.db.tables.usage import (
    usage_daily,
    usage_events,
    usage_horizon,
    usage_hourly,
    usage_series,
    usage_series_daily,
)
from model_service.db.tables.webhooks import (
    webhook_attempts,
    webhook_deliveries,
    webhook_events,
    webhook_secrets,
    webhooks,
)

#: The newest migration; a process that finds it in the database need not load Alembic.
SCHEMA_REVISION = "0013"

__all__ = [
    "SCHEMA_REVISION",
    "access_keys",
    "access_tokens",
    "api_key_versions",
    "api_keys",
    "audit_checkpoints",
    "audit_head",
    "audit_keys",
    "audit_records",
    "billing_accounts",
    "billing_counters",
    "billing_credit_notes",
    "billing_included",
    "billing_memberships",
    "billing_metered",
    "billing_meters",
    "billing_statements",
    "change_versions",
    "issued_keys",
    "key_reminders",
    "key_rotation_policies",
    "key_rotation_steps",
    "key_shares",
    "keyring_instances",
    "keyring_term_keys",
    "keyring_terms",
    "keyring_wraps",
    "limit_counters",
    "limit_leases",
    "metadata",
    "models",
    "price_editions",
    "provider_admin_credentials",
    "provider_numbers",
    "provider_state_changes",
    "provider_states",
    "quota_alerts",
    "quotas",
    "usage_daily",
    "usage_events",
    "usage_horizon",
    "usage_hourly",
    "usage_series",
    "usage_series_daily",
    "webhook_attempts",
    "webhook_deliveries",
    "webhook_events",
    "webhook_secrets",
    "webhooks",
]
