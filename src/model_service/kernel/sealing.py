"""Keeping small secrets of the service's own (signing keys, webhook secrets) in the database."""

from typing import Protocol
from uuid import UUID

from model_service.kernel.secret import Secret


class SecretBox(Protocol):
    """Seals a secret to one place, so that its ciphertext opens nowhere else."""

    def seal(self, place: str, record_id: UUID, value: Secret[str]) -> str:
        """The text to store; `place` names the table, `record_id` the row."""
        ...

    def open(self, place: str, record_id: UUID, stored: str) -> Secret[str]:
        """The secret again. Raises `IntegrityFailure` when it was altered or moved."""
        ...
