"""Azure's management API and the login before it, for the two keys of one account.

Formats after https://learn.microsoft.com/rest/api/aiservices/accountmanagement/accounts
(list keys, regenerate key), ARM's error responses, and the client credentials flow of
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow. Both
are on one port here. It stands beside `azure`, which takes a key until it is regenerated.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import override

from model_service.sandbox.azure import Azure
from model_service.sandbox.keys import SHARED_PREFIX
from model_service.sandbox.stand_in import Credential, json_response

TENANT: Final = "00000000-0000-4000-8000-00000000000a"
CLIENT: Final = "00000000-0000-4000-8000-00000000000b"
SUBSCRIPTION: Final = "00000000-0000-4000-8000-00000000000c"
RESOURCE_GROUP: Final = "sandbox-group"
ACCOUNT: Final = "sandbox-account"
CLIENT_SECRET_PREFIX: Final = "secret~sandbox"  # noqa: S105 - what made-up secrets start with

#: What a credential for this sandbox is stored with.
SETTINGS: Final[Mapping[str, str]] = {
    "tenantId": TENANT,
    "clientId": CLIENT,
    "subscriptionId": SUBSCRIPTION,
    "resourceGroup": RESOURCE_GROUP,
    "accountName": ACCOUNT,
}

_ACCOUNT: Final = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.CognitiveServices/accounts/{account}"
)
_VERSIONS: Final = frozenset({"2023-05-01", "2024-10-01", "2025-06-01"})


class AzureAdmin(Azure):
    """login.microsoftonline.com and management.azure.com.

    `slots` holds the account's keys by name, `tokens` the access tokens given out.
    """

    def __init__(self, inference: Azure) -> None:
        super().__init__(models=())
        self.inference = inference
        self.slots: dict[str, str] = {}
        self.tokens: set[str] = set()
        self._refill()

    @override
    def clear(self) -> None:
        super().clear()
        self.tokens.clear()
        self._refill()

    def _refill(self) -> None:
        self.slots = {name: _new_key(name) for name in ("Key1", "Key2")}

    @override
    def routes(self) -> Sequence[Route]:
        return [
            Route("/{tenant}/oauth2/v2.0/token", self._log_in, methods=["POST"]),
            Route(f"{_ACCOUNT}/listKeys", self._list_keys, methods=["POST"]),
            Route(f"{_ACCOUNT}/regenerateKey", self._regenerate, methods=["POST"]),
        ]

    @override
    def credential(self, request: Request) -> Credential | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return Credential(token) if scheme.lower() == "bearer" and token else None

    async def _log_in(self, request: Request) -> Response:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        if form.get("grant_type") != "client_credentials":
            return _login_error(400, "unsupported_grant_type", 70003)
        if request.path_params["tenant"] != TENANT:
            return _login_error(400, "invalid_request", 90002)
        if form.get("scope") != f"{self.origin}/.default":
            return _login_error(400, "invalid_scope", 70011)
        known = form.get("client_id") == CLIENT
        if not known or not form.get("client_secret", "").startswith(CLIENT_SECRET_PREFIX):
            return _login_error(401, "invalid_client", 7000215)
        token = f"sandbox.{secrets.token_hex(24)}"
        self.tokens.add(token)
        content = {
            "token_type": "Bearer",
            "expires_in": 3599,
            "ext_expires_in": 3599,
            "access_token": token,
        }
        return json_response(content, 200, {"cache-control": "no-store, no-cache"})

    async def _list_keys(self, request: Request) -> Response:
        return self._refusal(request) or self._keys()

    async def _regenerate(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            body = None
        name = body.get("keyName") if isinstance(body, dict) else None
        if name not in self.slots:
            return self._error(400, "InvalidRequestContent", "The key name is not valid.")
        self.inference.revoked.add(self.slots[name])
        self.slots[name] = _new_key(name)
        return self._keys()

    def _keys(self) -> Response:
        return self._reply({"key1": self.slots["Key1"], "key2": self.slots["Key2"]})

    def _refusal(self, request: Request) -> Response | None:
        """Why this may not be done, as ARM says it."""
        credential = self.credential(request)
        if credential is None:
            return self._error(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            )
        if credential.value not in self.tokens:
            return self._error(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if request.query_params.get("api-version") not in _VERSIONS:
            return self._error(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        path = request.path_params
        if path["subscription"] != SUBSCRIPTION:
            return self._error(
                404,
                "SubscriptionNotFound",
                f"The subscription '{path['subscription']}' could not be found.",
            )
        # Names are case insensitive in ARM.
        asked = (path["group"].lower(), path["account"].lower())
        if asked != (RESOURCE_GROUP, ACCOUNT):
            return self._error(
                404,
                "ResourceNotFound",
                f"The Resource 'Microsoft.CognitiveServices/accounts/{path['account']}' under"
                f" resource group '{path['group']}' was not found.",
            )
        return None


def _new_key(name: str) -> str:
    return f"{SHARED_PREFIX}{name.lower()}-{secrets.token_hex(16)}"


def _login_error(status: int, error: str, code: int) -> Response:
    content = {
        "error": error,
        "error_description": f"AADSTS{code}: The sandbox refuses this.",
        "error_codes": [code],
    }
    return json_response(content, status, {"cache-control": "no-store, no-cache"})
