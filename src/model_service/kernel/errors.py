"""Every error the service raises on purpose, in one tree.

A message is safe to show to the caller: it never holds a secret, an upstream body,
SQL or a stack trace. `http.problem` gives each class its status; a test compares this
drawing with the classes.

    ServiceError
    ├── InvalidInput
    ├── Unauthenticated
    ├── Forbidden
    ├── NotFound
    ├── Conflict
    │   ├── AlreadyExists
    │   ├── ChangedMeanwhile
    │   ├── KeyInactive
    │   ├── KeyRefused
    │   └── AdministrationRefused
    ├── PayloadTooLarge
    ├── TooManyRequests
    ├── Unavailable
    │   ├── DatabaseUnavailable
    │   ├── AuditUnavailable
    │   ├── ProviderUnreachable
    │   ├── WrappingUnavailable
    │   └── JournalFull
    ├── VaultError
    │   ├── IntegrityFailure
    │   ├── KeyringMissing
    │   ├── KeyringCorrupt
    │   ├── SecretMismatch
    │   └── SelfTestFailure
    ├── AuditBroken
    ├── UpstreamError
    │   ├── EgressRefused
    │   ├── ConnectFailed
    │   ├── UpstreamTimeout
    │   ├── UpstreamProtocolError
    │   ├── UpstreamClosed
    │   └── UpstreamTooLarge
    └── StartupFault
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One field of the input and what is wrong with it."""

    field: str
    message: str


class ServiceError(Exception):
    """The service cannot do what was asked."""

    code = "internal_error"

    @property
    def message(self) -> str:
        """The text for the caller: the one given, else the first line of the class's docstring."""
        if self.args and self.args[0]:
            return str(self.args[0])
        return (type(self).__doc__ or "").strip().splitlines()[0]


class InvalidInput(ServiceError):
    """Validation failed"""

    code = "validation_failed"

    def __init__(self, message: str = "", errors: Sequence[FieldFault] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class Unauthenticated(ServiceError):
    """A valid credential is required"""

    code = "unauthenticated"


class Forbidden(ServiceError):
    """This credential does not allow that"""

    code = "forbidden"


class NotFound(ServiceError):
    """No such thing"""

    code = "not_found"


class Conflict(ServiceError):
    """The request conflicts with what is stored"""

    code = "conflict"


class AlreadyExists(Conflict):
    """It exists already"""

    code = "already_exists"


class ChangedMeanwhile(Conflict):
    """It was changed by somebody else meanwhile; read it again and repeat"""

    code = "changed_meanwhile"


class KeyInactive(Conflict):
    """The key is inactive or expired"""

    code = "key_inactive"


class KeyRefused(Conflict):
    """The provider refused the stored key"""

    code = "key_refused"

    def __init__(self, message: str = "", *, is_restricted: bool = False) -> None:
        """`is_restricted`: it knows the key, and only does not let it do what was asked."""
        super().__init__(message)
        self.is_restricted = is_restricted


class AdministrationRefused(Conflict):
    """The provider's administration API refuses"""

    code = "administration_refused"


class PayloadTooLarge(ServiceError):
    """The request body is larger than 1 MiB"""

    code = "payload_too_large"


class TooManyRequests(ServiceError):
    """Too many requests"""

    code = "rate_limited"

    def __init__(self, message: str = "", *, retry_after: int = 1) -> None:
        """`retry_after` is in whole seconds and goes into the `Retry-After` header."""
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ServiceError):
    """The service cannot answer right now"""

    code = "unavailable"

    def __init__(self, message: str = "", *, retry_after: int = 2) -> None:
        """`retry_after` is in whole seconds and goes into the `Retry-After` header."""
        super().__init__(message)
        self.retry_after = retry_after


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached right now"""

    code = "database_unavailable"


class AuditUnavailable(Unavailable):
    """The audit trail cannot be written right now, so this cannot be done"""

    code = "audit_unavailable"


class ProviderUnreachable(Unavailable):
    """The provider could not be asked"""

    code = "provider_unreachable"


class WrappingUnavailable(Unavailable):
    """The service that keeps the keyring's wrapping key cannot be asked right now"""

    code = "wrapping_unavailable"


class JournalFull(Unavailable):
    """No room is left to account for calls, so none are taken until there is"""

    code = "journal_full"


class VaultError(ServiceError):
    """The vault cannot do its work"""

    code = "internal_error"


class IntegrityFailure(VaultError):
    """A stored record does not open: it was altered, moved or belongs to another keyring"""


class KeyringMissing(VaultError):
    """Encrypted records exist but their keyring does not; restore it from a backup"""


class KeyringCorrupt(VaultError):
    """keyring corrupt"""


class SecretMismatch(VaultError):
    """ENCRYPTION_SECRET does not match"""


class SelfTestFailure(VaultError):
    """The cryptography library fails its known-answer self-test"""


class AuditBroken(ServiceError):
    """The audit trail is not as it was written"""

    def __init__(self, seq: int = 0, what: str = "") -> None:
        """`seq` is the number of the first record, or place of one, that is wrong; `what` how."""
        super().__init__(what and f"audit record {seq}: {what}")
        self.seq = seq


class UpstreamError(ServiceError):
    """Talking to an upstream server failed"""

    code = "upstream_error"


class EgressRefused(UpstreamError):
    """The address is not one this service may connect to"""

    code = "egress_refused"


class ConnectFailed(UpstreamError):
    """No connection to the upstream server"""


class UpstreamTimeout(UpstreamError):
    """The upstream server took too long"""

    def __init__(self, phase: str) -> None:
        """`phase` is `connect`, `first_byte`, `idle` or `total`."""
        super().__init__(f"The upstream server took too long ({phase.replace('_', ' ')})")
        self.phase = phase


class UpstreamProtocolError(UpstreamError):
    """The upstream server did not speak HTTP correctly"""


class UpstreamClosed(UpstreamError):
    """The upstream server closed the connection before its answer was complete"""


class UpstreamTooLarge(UpstreamError):
    """The upstream answer is larger than allowed"""


class StartupFault(ServiceError):
    """The service cannot start"""

    code = "startup_fault"

    def __init__(self, *faults: str) -> None:
        """`faults` are sentences, each one thing the operator has to mend."""
        super().__init__("\n".join(faults))
        self.faults = faults
