"""The composition root's part that has to do with the master secret alone.

The commands that rotate it need the vault, the database and the audit trail, and nothing else
of the service.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from model_service.audit.keys import open_audit_keys
from model_service.audit.trail import Trail, instance_name
from model_service.db import tables
from model_service.db.engine import create_engine
from model_service.db.keyring import KEYRING_TOPIC, SqlKeyringStore
from model_service.db.notices import Notices
from model_service.db.sealed import boxed
from model_service.db.tables import SCHEMA_REVISION
from model_service.db.uow import Database
from model_service.http.metrics import Metrics
from model_service.kernel.errors import DatabaseUnavailable, StartupFault, WrappingUnavailable
from model_service.kernel.redact import Redactor
from model_service.kernel.sealed import SealedTable
from model_service.kernel.secret import Secret
from model_service.kernel.types import SystemClock, uuid7
from model_service.keys.sealed import sealed_keys, sealed_versions
from model_service.keys.sealer import Sealer
from model_service.settings import Settings
from model_service.vault.box import KeyringBox
from model_service.vault.custody import Custody
from model_service.vault.keyring import Keyring, unlock_keyring
from model_service.vault.kms import KmsKey
from model_service.vault.rewrap import Rewrapper
from model_service.vault.rotation import Witnesses
from model_service.vault.selftest import run_self_test
from model_service.vault.terms import TermRotation
from model_service.vault.transit import TransitAddress, TransitKey
from model_service.vault.unlock import RemoteUnlocker, ScryptUnlocker, Unlocker
from model_service.vault.watch import Identity, KeyringWatch
from model_service.webhooks.announcer import OutboxAnnouncer
from model_service.webhooks.outbox import SqlOutbox


async def open_vault(settings: Settings, database: Database) -> Keyring:
    """The keyring, opened or, for an empty database, made.

    Raises:
        StartupFault: the database, or what keeps the wrapping key, is away. Otherwise as
            `unlock_keyring`.
    """
    try:
        return await unlock_keyring(SqlKeyringStore(database), unlockers(settings))
    except DatabaseUnavailable as error:
        raise StartupFault("the database went away while the service started") from error
    except WrappingUnavailable as error:
        raise StartupFault(error.message) from error


def unlockers(settings: Settings) -> list[Unlocker]:
    """What may open the keyring: first what KEY_WRAPPER says, then whatever else is configured.

    The others are there for changing over from one to the other.

    Raises:
        StartupFault: nothing is configured, or what is cannot be used.
    """
    found: list[Unlocker] = []
    if settings.encryption_secret is not None:
        found.append(ScryptUnlocker(settings.encryption_secret))
    previous = settings.encryption_secret_previous
    if previous is not None:
        found.append(ScryptUnlocker(previous, "ENCRYPTION_SECRET_PREVIOUS"))
    if settings.vault_addr and settings.vault_token_file and settings.vault_transit_key:
        address = TransitAddress.parse(
            settings.vault_addr,
            key=settings.vault_transit_key,
            mount=settings.vault_transit_mount,
            namespace=settings.vault_namespace,
            ca_file=settings.vault_cacert,
        )
        found.append(RemoteUnlocker(TransitKey(address, settings.vault_token_file)))
    if settings.aws_kms_key_id:
        key = KmsKey(
            settings.aws_kms_key_id,
            region=settings.aws_region,
            endpoint_url=settings.aws_kms_endpoint_url,
        )
        found.append(RemoteUnlocker(key))
    ordered = sorted(found, key=lambda unlocker: unlocker.kind != settings.key_wrapper)
    if not ordered or ordered[0].kind != settings.key_wrapper:
        raise StartupFault(f"KEY_WRAPPER={settings.key_wrapper}, but nothing of it is set")
    return ordered


@dataclass(frozen=True, slots=True)
class Custodian:
    """What the commands that rotate the master secret work with."""

    custody: Custody
    database: Database
    redactor: Redactor


@asynccontextmanager
async def open_custody(
    settings: Settings, database_url: Secret[str], redactor: Redactor, author: str
) -> AsyncIterator[Custodian]:
    """The keyring and what rotates it, on a migrated database; `author` is who does it.

    Raises:
        StartupFault: the database is away or at another migration, or the audit keys do not open.
        SecretMismatch, KeyringMissing, KeyringCorrupt, SelfTestFailure: the vault cannot open.
    """
    run_self_test()
    database = Database(create_engine(database_url, pool_size=2))
    clock = SystemClock()
    try:
        if await database.revision() != SCHEMA_REVISION:
            raise StartupFault("the database is at another migration; run `model-service migrate`")
        keyring = await open_vault(settings, database)
        keys = await open_audit_keys(database, KeyringBox(keyring))
        trail = Trail(database, keys, clock, redactor, instance_name())
        store = SqlKeyringStore(database)
        identity = Identity(uuid7(), f"{instance_name()} secret")
        watch = KeyringWatch(keyring, store, identity, clock, lambda _: None)
        witnesses = Witnesses(trail, OutboxAnnouncer(SqlOutbox(database), clock), author)
        sealed = sealed_tables(database, keyring)
        custody = Custody(keyring, store, watch, sealed, witnesses)
        yield Custodian(custody, database, redactor)
        await trail.close()
    finally:
        await database.close()


def keyring_upkeep(
    database: Database, notices: Notices, keyring: Keyring, trail: Trail, metrics: Metrics
) -> tuple[KeyringWatch, Rewrapper]:
    """What keeps a process's keyring up to date, and what moves records to its active term."""
    clock = SystemClock()
    store = SqlKeyringStore(database)
    identity = Identity(uuid7(), instance_name())
    witnesses = Witnesses(trail, OutboxAnnouncer(SqlOutbox(database), clock), identity.name)
    terms = TermRotation(keyring, store, witnesses)

    def moved(table: str, count: int) -> None:
        metrics.resealed.labels(table).inc(count)

    watch = KeyringWatch(keyring, store, identity, clock, metrics.note_seals)
    notices.subscribe(KEYRING_TOPIC, watch.hear)
    sealed = sealed_tables(database, keyring)
    return watch, Rewrapper(sealed, keyring, store, terms, trail, moved)


def sealed_tables(database: Database, keyring: Keyring) -> tuple[SealedTable, ...]:
    """Every table with records of the keyring: what is missing here is lost with its term."""
    sealer, box = Sealer(keyring), KeyringBox(keyring)
    credentials, webhooks = tables.provider_admin_credentials.c, tables.webhook_secrets.c
    return (
        sealed_keys(database, sealer),
        sealed_versions(database, sealer),
        boxed(database, credentials.sealed, "admin-credential", box, "admin_credentials"),
        boxed(database, webhooks.sealed, "webhook-secret", box, "webhooks"),
        boxed(database, tables.audit_keys.c.sealed, "audit-key", box, "audit_keys"),
        boxed(database, tables.access_keys.c.sealed, "access-key", box, "access_keys"),
    )
