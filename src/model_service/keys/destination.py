"""Where a key may be sent: the endpoint in its metadata, or the preset that stands for one."""

from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.types import Provider
from model_service.keys.domain import ENDPOINT, PRESET, Metadata, VendorGate


def with_endpoint(
    gate: VendorGate, provider: Provider, metadata: Metadata | None
) -> Metadata | None:
    """The metadata with its endpoint in canonical form; a CUSTOM key's preset fills it in.

    So the ciphertext is bound to the vendor's origin, and whoever reads the key again and
    sends its metadata back says nothing new.

    Raises:
        InvalidInput: keys may not go there, there is no such preset, or the two disagree.
    """
    if not metadata:
        return metadata
    endpoint = _text(metadata, ENDPOINT)
    if endpoint is not None:
        endpoint = gate.checked_endpoint(provider, endpoint)
    preset = _text(metadata, PRESET) if provider is Provider.CUSTOM else None
    if preset is not None:
        where = gate.preset_endpoint(preset)
        if endpoint not in (None, where):
            raise _fault(ENDPOINT, f"is not where preset '{preset}' is; leave it out")
        endpoint = where
    return metadata if endpoint is None else {**metadata, ENDPOINT: endpoint}


def endpoint_of(metadata: Metadata | None) -> str | None:
    """The endpoint in metadata that was looked at."""
    return None if metadata is None else metadata.get(ENDPOINT)


def _text(metadata: Metadata, name: str) -> str | None:
    value = metadata.get(name)
    if value is not None and not isinstance(value, str):
        raise _fault(name, "must be a string")
    return value


def _fault(name: str, message: str) -> InvalidInput:
    return InvalidInput(errors=[FieldFault(f"metadata.{name}", message)])
