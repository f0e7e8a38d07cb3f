"""Where keys may be sent when the key itself says so (`metadata.endpoint`).

Rules for the registry's rows. They look at the text alone: the addresses behind a name are
checked anew with every connection (`egress.resolve`).
"""

import re
from typing import Final

from model_service.kernel.errors import EgressRefused
from model_service.providers.addresses import is_loopback
from model_service.providers.egress import EgressPolicy, HostRule, vetted_endpoint
from model_service.providers.endpoint import Endpoint

# A resource's name has 2 to 64 letters, digits and hyphens, with no hyphen at either end
# (https://learn.microsoft.com/azure/templates/microsoft.cognitiveservices/accounts), but a DNS
# label ends at 63 (RFC 1035 section 2.3.4).
_AZURE_RESOURCE: Final = re.compile(
    r"https://[a-z0-9][a-z0-9-]{0,61}[a-z0-9]\.(?:openai\.azure\.com|services\.ai\.azure\.com)/?",
    re.ASCII | re.IGNORECASE,
)
_AZURE_FORMS: Final = (
    "must be https://{resource}.openai.azure.com or https://{resource}.services.ai.azure.com"
)


def azure_resource(text: str, policy: EgressPolicy) -> Endpoint:
    """An Azure resource's own host, or an origin the operator opened, for a private gateway.

    Raises EgressRefused.
    """
    endpoint = vetted_endpoint(text, policy)
    is_opened = not endpoint.path_prefix and _is_opened(endpoint, policy)
    if not is_opened and not _AZURE_RESOURCE.fullmatch(text):
        raise EgressRefused(_AZURE_FORMS)
    return endpoint


def any_allowed(text: str, policy: EgressPolicy) -> Endpoint:
    """Whatever the egress policy does not refuse by its form. Raises EgressRefused."""
    return vetted_endpoint(text, policy)


def canonical(endpoint: Endpoint) -> str:
    """The endpoint as it is stored: lower-case host, no default port, no trailing slash."""
    return endpoint.origin + endpoint.path_prefix


def _is_opened(endpoint: Endpoint, policy: EgressPolicy) -> bool:
    """Whether the operator named this very host, or it is this machine in development."""
    if HostRule(endpoint.host, endpoint.port) in policy.allowed:
        return True
    address = endpoint.address
    if address is None:
        name = endpoint.host
        local = name == "localhost" or name.endswith(".localhost")  # RFC 6761 section 6.3
        return policy.loopback_allowed and local
    listed = any(
        not isinstance(rule, HostRule) and address.version == rule.version and address in rule
        for rule in policy.allowed
    )
    return listed or (policy.loopback_allowed and is_loopback(address))
