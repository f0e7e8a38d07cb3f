"""The keyring as a box for the service's own small secrets."""

from uuid import UUID

from model_service.kernel.secret import Secret
from model_service.vault.envelope import AssociatedData
from model_service.vault.keyring import Keyring


class KeyringBox:
    """`SecretBox` over the keyring. Places have a prefix, so that none is a provider's name."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def seal(self, place: str, record_id: UUID, value: Secret[str]) -> str:
        """The text to store."""
        return self._keyring.seal(_binding(place, record_id), value)

    def open(self, place: str, record_id: UUID, stored: str) -> Secret[str]:
        """The secret again. Raises `IntegrityFailure` when it was altered or moved."""
        return self._keyring.open(stored, _binding(place, record_id))


def _binding(place: str, record_id: UUID) -> AssociatedData:
    return AssociatedData(
        record_id=record_id,
        user_id="",
        provider=f"service:{place}",
        key_version=0,
        endpoint_origin="",
    )
