"""Where a webhook's events are sent: a URL, taken apart once and checked before it is kept."""

import re
from typing import Final

from model_service.kernel.errors import EgressRefused
from model_service.providers.egress import EgressPolicy, vetted_endpoint
from model_service.providers.endpoint import Endpoint
from model_service.providers.messages import head_start

#: Characters of a URL; longer ones do not pass every proxy (RFC 9110 section 4.1 asks for 8000).
MAX_URL: Final = 2048
# `pchar` of RFC 3986 section 3.3 with the slashes and question marks of paths and queries.
_TARGET: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})+")


def parse_address(url: str, policy: EgressPolicy) -> tuple[Endpoint, str]:
    """The receiver's endpoint, vetted, and the path and query to send to.

    Unlike a provider's base URL it may have a query and percent escapes, which are sent as
    they are written.

    Raises:
        EgressRefused: it is malformed, has user name, password or fragment, or leads where
            this service may not connect to. The message never repeats the URL.
    """
    if not url or len(url) > MAX_URL:
        raise EgressRefused(f"A webhook URL has 1 to {MAX_URL} characters")
    origin, target = _split(url)
    endpoint = vetted_endpoint(origin, policy)
    if not _TARGET.fullmatch(target):
        raise EgressRefused("The path or query of a webhook URL holds a character it may not")
    # The transport's own rules, asked now rather than at the first event.
    head_start(endpoint, "POST", target, ())
    return endpoint, target


def _split(url: str) -> tuple[str, str]:
    if "#" in url:
        raise EgressRefused("A webhook URL holds no fragment")
    scheme, separator, rest = url.partition("://")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    target = rest[end:]
    if not target.startswith("/"):
        target = f"/{target}"
    return f"{scheme}{separator}{rest[:end]}", target
