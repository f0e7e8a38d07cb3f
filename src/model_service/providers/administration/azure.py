"""Azure's management API (ARM): the two keys of an account are regenerated in turn.

Sources: https://learn.microsoft.com/rest/api/aiservices/accountmanagement/accounts (list
keys, regenerate key, version 2024-10-01) and the client credentials flow,
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow.
"""

from typing import Final, NamedTuple
from urllib.parse import urlencode, urlsplit

import orjson

from model_service.kernel.administration import AdminSettings, IssuedKey, Order
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.administration.exchange import Desk, checked_ids, is_id
from model_service.providers.base import Headers, Question
from model_service.providers.endpoint import Endpoint
from model_service.providers.transport import Transport

API_VERSION: Final = "2024-10-01"

_REQUIRED: Final = ("tenantId", "clientId", "subscriptionId", "resourceGroup")
_ACCOUNT: Final = "accountName"
# An account is known under both; see `key_endpoints.azure_resource`.
_HOSTS: Final = (".openai.azure.com", ".services.ai.azure.com")
_FORM: Final[Headers] = (("content-type", "application/x-www-form-urlencoded"),)
_JSON: Final[Headers] = (("content-type", "application/json"),)


class _Keys(NamedTuple):
    """Both keys of an account, by the names that ARM has for them."""

    Key1: str
    Key2: str

    def slot_of(self, value: Secret[str]) -> str | None:
        """Which of them the value is."""
        for name in self._fields:
            if getattr(self, name) == value.reveal():
                return name
        return None


class AzureAdministration:
    """The keys of Cognitive Services accounts, under a service principal's client secret."""

    def __init__(self, transport: Transport, management: Endpoint, login: Endpoint) -> None:
        self._management = Desk(Provider.AZURE, transport, management)
        self._login = Desk(Provider.AZURE, transport, login)

    @property
    def origin(self) -> str:
        """Where the client secret is sent, and where the token it gives."""
        return f"{self._login.address.origin} {self._management.address.origin}"

    def checked_settings(self, settings: AdminSettings) -> AdminSettings:
        """Tenant, client, subscription and resource group; the account where it is but one."""
        return checked_ids(settings, required=_REQUIRED, optional=(_ACCOUNT,))

    def target(self, settings: AdminSettings, wished: str | None, endpoint: str | None) -> str:
        """The account: the one wished for, the credential's, or the one the endpoint names."""
        if endpoint is None:
            # There would be nowhere to try a new value before it is put in use.
            raise self._management.refused(
                "a key without an endpoint is not rotated automatically; store it anew with"
                " metadata.endpoint, or send a new value to /rotate"
            )
        account = wished or settings.get(_ACCOUNT) or _resource(endpoint)
        if account is None or not is_id(account):
            raise self._management.refused(
                "the key's endpoint does not name an account; set the policy's target"
            )
        return account

    def fits(self, settings: AdminSettings, target: str) -> bool:
        """Whether it is for that account, or for every account of its resource group."""
        return settings.get(_ACCOUNT) in (None, target)

    def shared_endpoints(self, endpoint: str | None) -> tuple[str, ...]:
        """Both forms of the resource's address: the account has but two keys."""
        resource = _resource(endpoint)
        if resource is not None:
            return tuple(f"https://{resource}{host}" for host in _HOSTS)
        return () if endpoint is None else (endpoint,)

    async def check(self, order: Order) -> None:
        """Get a token for the management API."""
        await self._token(order)

    async def issue(self, order: Order, current: Secret[str]) -> IssuedKey:
        """Regenerate the key that `current` is not."""
        token = await self._token(order)
        in_use = (await self._keys(order, token)).slot_of(current)
        if in_use is None:
            raise self._management.refused(
                f"the stored value is neither key of the account '{order.target}'"
            )
        other = "Key2" if in_use == "Key1" else "Key1"
        keys = await self._regenerated(order, token, other)
        return IssuedKey(Secret(getattr(keys, other)), other, former=in_use)

    async def withdraw(
        self,
        order: Order,
        reference: str | None,  # noqa: ARG002 - see below
        value: Secret[str] | None,
    ) -> None:
        """Regenerate the key that the value is, if it still is one.

        A slot is never regenerated for its name: what is in it now may be in use.
        """
        if value is None:
            return
        token = await self._token(order)
        slot = (await self._keys(order, token)).slot_of(value)
        if slot is not None:
            await self._regenerated(order, token, slot)

    async def _token(self, order: Order) -> Secret[str]:
        settings = order.settings
        form = {
            "grant_type": "client_credentials",
            "client_id": settings["clientId"],
            "client_secret": order.secret.reveal(),
            "scope": f"{self._management.address.origin}/.default",
        }
        path = f"/{settings['tenantId']}/oauth2/v2.0/token"
        answer = await self._login.ask(Question("POST", path, _FORM, urlencode(form).encode()))
        match answer.document:
            case {"access_token": str(token)} if answer.is_success:
                return Secret(token)
        raise self._login.puzzled()

    async def _keys(self, order: Order, token: Secret[str]) -> _Keys:
        return await self._account(order, token, "listKeys", b"")

    async def _regenerated(self, order: Order, token: Secret[str], slot: str) -> _Keys:
        return await self._account(order, token, "regenerateKey", orjson.dumps({"keyName": slot}))

    async def _account(self, order: Order, token: Secret[str], action: str, body: bytes) -> _Keys:
        settings = order.settings
        path = (
            f"/subscriptions/{settings['subscriptionId']}"
            f"/resourceGroups/{settings['resourceGroup']}"
            f"/providers/Microsoft.CognitiveServices/accounts/{order.target}/{action}"
            f"?api-version={API_VERSION}"
        )
        credential = (("authorization", f"Bearer {token.reveal()}"),)
        answer = await self._management.ask(Question("POST", path, _JSON, body), credential)
        if not answer.is_success:
            raise self._management.refused(f"there is no account '{order.target}'")
        match answer.document:
            case {"key1": str(key1), "key2": str(key2)}:
                return _Keys(key1, key2)
        raise self._management.puzzled()


def _resource(endpoint: str | None) -> str | None:
    """The resource that an endpoint of Azure's own names."""
    host = urlsplit(endpoint).hostname if endpoint is not None else None
    for ending in _HOSTS:
        if host is not None and host.endswith(ending):
            return host.removesuffix(ending)
    return None
