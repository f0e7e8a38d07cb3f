"""The one place of the slice that the vault is used from."""

from uuid import UUID

from model_service.kernel.errors import IntegrityFailure
from model_service.kernel.secret import Secret
from model_service.keys.domain import ProviderKey, SealedKey, endpoint_origin
from model_service.vault.envelope import AssociatedData, ciphertext_sha256, term_of
from model_service.vault.keyring import Keyring


class Sealer:
    """Seals key values to their rows, and opens them again."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def seal(self, key: ProviderKey, value: Secret[str]) -> SealedKey:
        """The key with its ciphertext, bound to id, user, provider, version and endpoint."""
        return SealedKey(key, self._keyring.seal(_binding(key), value))

    def open(self, sealed: SealedKey) -> Secret[str]:
        """The value. Raises `IntegrityFailure` when row or ciphertext was altered or moved."""
        try:
            binding = _binding(sealed.key)
        except ValueError:  # an endpoint that the service would not have stored
            raise IntegrityFailure from None
        return self._keyring.open(sealed.encrypted_key, binding)

    def mark(self, sealed: SealedKey) -> tuple[str, int]:
        """The ciphertext's SHA-256 and its term, by which the audit trail knows it."""
        return ciphertext_sha256(sealed.encrypted_key), term_of(sealed.encrypted_key)

    def check(self) -> None:
        """Seal and open a record, to show that the keyring works. Raises `VaultError`."""
        nobody = AssociatedData(
            record_id=UUID(int=0), user_id="", provider="", key_version=0, endpoint_origin=""
        )
        self._keyring.open(self._keyring.seal(nobody, Secret("check")), nobody)


def _binding(key: ProviderKey) -> AssociatedData:
    return AssociatedData(
        record_id=key.id,
        user_id=key.user_id,
        provider=key.provider.value,
        key_version=key.key_version,
        endpoint_origin=endpoint_origin(key.endpoint),
    )
