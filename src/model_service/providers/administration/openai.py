"""OpenAI's administration API: a key is made by making a service account in a project.

Sources: https://platform.openai.com/docs/api-reference/project-service-accounts (create,
list, delete). A key's value is in the answer to its creation and nowhere else.
"""

from typing import Final
from urllib.parse import urlencode

import orjson

from model_service.kernel.administration import AdminSettings, IssuedKey, Order
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.administration.exchange import Desk, checked_ids, is_id
from model_service.providers.base import Headers, Question
from model_service.providers.endpoint import Endpoint
from model_service.providers.transport import Transport

PROJECT: Final = "projectId"

# The largest page of the listing, and pages that no project needs more of.
_PAGE: Final = 100
_MOST_PAGES: Final = 100
_JSON: Final[Headers] = (("content-type", "application/json"),)


class OpenAIAdministration:
    """Project service accounts, under an admin key (`sk-admin-...`)."""

    def __init__(self, transport: Transport, address: Endpoint) -> None:
        """`address` is the API with its version, as https://api.openai.com/v1."""
        self._desk = Desk(Provider.OPENAI, transport, address)

    @property
    def origin(self) -> str:
        """Where the admin key is sent."""
        return self._desk.address.origin

    def checked_settings(self, settings: AdminSettings) -> AdminSettings:
        """`projectId`: the project in which service accounts are made."""
        return checked_ids(settings, required=(PROJECT,))

    def target(self, settings: AdminSettings, wished: str | None, endpoint: str | None) -> str:
        """The project: the one wished for, else the credential's."""
        project = wished or settings[PROJECT]
        if endpoint is not None or not is_id(project):
            raise self._desk.refused("the target is not a project's id")
        return project

    def fits(
        self,
        settings: AdminSettings,  # noqa: ARG002 - an admin key is for all of its organisation
        target: str,  # noqa: ARG002 - `check` asks for it
    ) -> bool:
        """Perhaps: `check` finds out whether the project is in the key's organisation."""
        return True

    def shared_endpoints(
        self,
        endpoint: str | None,  # noqa: ARG002 - part of the Protocol
    ) -> None:
        """None: service accounts do not get in each other's way."""
        return

    async def check(self, order: Order) -> None:
        """List the project's service accounts."""
        answer = await self._desk.ask(
            Question("GET", f"{_accounts(order)}?limit=1"), _bearer(order)
        )
        if not answer.is_success:
            raise self._desk.refused(f"there is no project '{order.target}'")

    async def issue(
        self,
        order: Order,
        current: Secret[str],  # noqa: ARG002 - nothing tells which account it belongs to
    ) -> IssuedKey:
        """Make a service account of the order's name, which comes with a key."""
        body = orjson.dumps({"name": order.name})
        question = Question("POST", _accounts(order), _JSON, body)
        answer = await self._desk.ask(question, _bearer(order))
        if not answer.is_success:
            raise self._desk.refused(f"there is no project '{order.target}'")
        match answer.document:
            case {"id": str(account), "api_key": {"value": str(value)}} if is_id(account):
                return IssuedKey(Secret(value), account)
        raise self._desk.puzzled()

    async def withdraw(
        self,
        order: Order,
        reference: str | None,
        value: Secret[str] | None,  # noqa: ARG002 - goes with its account
    ) -> None:
        """Delete the service account, or all that have the order's name; its keys go with it."""
        accounts = [reference] if reference is not None else await self._named(order)
        for account in accounts:
            question = Question("DELETE", f"{_accounts(order)}/{account}")
            answer = await self._desk.ask(question, _bearer(order))
            match answer.document:
                case {"deleted": True}:
                    pass
                case _ if answer.is_success:
                    raise self._desk.puzzled()
                # Otherwise 404: it is gone already.

    async def _named(self, order: Order) -> list[str]:
        found: list[str] = []
        query: dict[str, str | int] = {"limit": _PAGE}
        for _ in range(_MOST_PAGES):
            question = Question("GET", f"{_accounts(order)}?{urlencode(query)}")
            answer = await self._desk.ask(question, _bearer(order))
            if not answer.is_success:
                return []  # the project is gone, and with it all that was in it
            match answer.document:
                case {"data": list(data), "has_more": False}:
                    return found + _ids_of(data, order.name)
                case {"data": list(data), "has_more": True, "last_id": str(last)}:
                    found += _ids_of(data, order.name)
                    query["after"] = last
                case _:
                    raise self._desk.puzzled()
        raise self._desk.puzzled()


def _ids_of(accounts: list[object], wanted: str) -> list[str]:
    """The ids of the accounts of that name."""
    found = []
    for account in accounts:
        match account:
            case {"id": str(id_), "name": str(name)} if name == wanted and is_id(id_):
                found.append(id_)
    return found


def _accounts(order: Order) -> str:
    return f"/organization/projects/{order.target}/service_accounts"


def _bearer(order: Order) -> Headers:
    return (("authorization", f"Bearer {order.secret.reveal()}"),)
