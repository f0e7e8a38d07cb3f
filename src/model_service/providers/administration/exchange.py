"""Asking an administration API, and what its refusals mean."""

import asyncio
import re
from typing import Final

from model_service.kernel.administration import AdminSettings
from model_service.kernel.errors import (
    AdministrationRefused,
    FieldFault,
    InvalidInput,
    UpstreamError,
)
from model_service.kernel.provider import Verdict
from model_service.kernel.types import Provider
from model_service.providers.asking import ask
from model_service.providers.base import Answer, Headers, Question
from model_service.providers.endpoint import Endpoint
from model_service.providers.errors import unreachable, verdict_by_status, verdict_of_error
from model_service.providers.transport import Transport

#: Seconds for one request, everything included: management APIs take their time.
ADMINISTRATION_SECONDS: Final = 30.0

# Ids that go into a path: letters, digits, and what stands between them in every provider's.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.()-]{0,127}")


class Desk:
    """One provider's administration API, on one address."""

    def __init__(self, provider: Provider, transport: Transport, address: Endpoint) -> None:
        self._provider = provider
        self._transport = transport
        self.address = address

    async def ask(self, question: Question, credential: Headers = ()) -> Answer:
        """The answer, if it is one of success or 404.

        Raises:
            AdministrationRefused: the provider refuses the credential or the request.
            ProviderUnreachable: it could not be asked, or has no time.
        """
        deadline = asyncio.get_running_loop().time() + ADMINISTRATION_SECONDS
        try:
            answer = await ask(self._transport, self.address, question, credential, deadline)
        except UpstreamError as error:
            raise unreachable(self._provider, verdict_of_error(error)) from error
        # Without a document it is a page of something in between.
        if answer.is_success or (answer.status == 404 and answer.document is not None):
            return answer
        if answer.status in (400, 401, 403):
            # The body may repeat the secret; the status says enough.
            raise AdministrationRefused(
                f"The administration API of '{self._provider}' refuses the credential or the"
                f" request (status {answer.status})"
            )
        verdict = verdict_by_status(answer.status) or Verdict.UNEXPECTED_ANSWER
        raise unreachable(self._provider, verdict, answer.retry_after)

    def refused(self, reason: str) -> AdministrationRefused:
        """The provider, or what it knows, does not allow that."""
        return AdministrationRefused(f"Provider '{self._provider}': {reason}")

    def puzzled(self) -> Exception:
        """The provider's answer is not what its documentation says."""
        return unreachable(self._provider, Verdict.UNEXPECTED_ANSWER)


def checked_ids(
    settings: AdminSettings, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> AdminSettings:
    """The settings, if they are just those, and may stand in a path.

    Raises:
        InvalidInput: naming each that is missing, unknown or malformed.
    """
    faults = [
        FieldFault(f"settings.{name}", "unknown field")
        for name in sorted(settings.keys() - {*required, *optional})
    ]
    for name in (*required, *optional):
        value = settings.get(name)
        if value is None:
            if name in required:
                faults.append(FieldFault(f"settings.{name}", "is required"))
        elif not is_id(value):
            faults.append(FieldFault(f"settings.{name}", "is malformed"))
    if faults:
        raise InvalidInput(errors=faults)
    return dict(settings)


def is_id(text: str) -> bool:
    """Whether the text may stand in a path as one segment."""
    return _ID.fullmatch(text) is not None
