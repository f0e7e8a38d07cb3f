"""OpenAI's administration API: the service accounts of one project, and their keys.

Formats after https://platform.openai.com/docs/api-reference/project-service-accounts; errors
are those of the rest of the API. It stands beside `openai`, which takes the keys that are
made here until their accounts are deleted.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import override

from model_service.sandbox.keys import SHARED_PREFIX, KeyRule
from model_service.sandbox.openai import OpenAI
from model_service.sandbox.stand_in import whole_number

PROJECT: Final = "proj_sandbox"

_ACCOUNTS: Final = "/v1/organization/projects/{project}/service_accounts"
# The API reference: 20 unless told, 1 to 100.
_DEFAULT_PAGE: Final = 20
_LARGEST_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account and the value of its one key; created in seconds since 1970."""

    id: str
    name: str
    created_at: int
    key: str = field(repr=False)


class OpenAIAdmin(OpenAI):
    """api.openai.com/v1/organization, for an admin key that starts with `sk-admin-sandbox-`."""

    key_rule = KeyRule(own_prefix="sk-admin-sandbox-", takes_shared=False)

    def __init__(self, inference: OpenAI) -> None:
        super().__init__(models=())
        self.inference = inference
        self.accounts: dict[str, ServiceAccount] = {}

    @override
    def clear(self) -> None:
        super().clear()
        self.accounts.clear()

    @override
    def routes(self) -> Sequence[Route]:
        return [
            Route(_ACCOUNTS, self.keyed(self._list_accounts), methods=["GET"]),
            Route(_ACCOUNTS, self.keyed(self._create), methods=["POST"]),
            Route(f"{_ACCOUNTS}/{{account}}", self.keyed(self._delete), methods=["DELETE"]),
        ]

    async def _create(self, request: Request) -> Response:
        if request.path_params["project"] != PROJECT:
            return self._no_project(request)
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return self._error(400, "We could not parse the JSON body of your request.")
        name = body.get("name") if isinstance(body, dict) else None
        if not isinstance(name, str) or not name:
            return self._error(400, "Missing required parameter: 'name'.", param="name")
        account = ServiceAccount(
            f"svc_acct_{secrets.token_hex(12)}",
            name,
            int(time.time()),
            f"{SHARED_PREFIX}svcacct-{secrets.token_hex(16)}",
        )
        self.accounts[account.id] = account
        return self._reply({**_shown(account), "api_key": _key(account)})

    async def _list_accounts(self, request: Request) -> Response:
        if request.path_params["project"] != PROJECT:
            return self._no_project(request)
        limit = whole_number(request.query_params.get("limit", str(_DEFAULT_PAGE)))
        if limit is None or not 1 <= limit <= _LARGEST_PAGE:
            return self._error(400, "Invalid 'limit'.", param="limit")
        accounts = list(self.accounts.values())
        after = request.query_params.get("after")
        if after is not None:
            ids = [account.id for account in accounts]
            if after not in ids:
                return self._error(400, "Invalid 'after'.", param="after")
            accounts = accounts[ids.index(after) + 1 :]
        page = accounts[:limit]
        return self._reply(
            {
                "object": "list",
                "data": [_shown(account) for account in page],
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": len(accounts) > len(page),
            }
        )

    async def _delete(self, request: Request) -> Response:
        id_ = request.path_params["account"]
        account = self.accounts.pop(id_, None)
        if account is None or request.path_params["project"] != PROJECT:
            return self._error(404, f"No service account found with id '{id_}'.")
        self.inference.revoked.add(account.key)
        kind = "organization.project.service_account.deleted"
        return self._reply({"object": kind, "id": id_, "deleted": True})

    def _no_project(self, request: Request) -> Response:
        return self._error(404, f"No project found with id '{request.path_params['project']}'.")


def _shown(account: ServiceAccount) -> Mapping[str, object]:
    return {
        "object": "organization.project.service_account",
        "id": account.id,
        "name": account.name,
        "role": "member",
        "created_at": account.created_at,
    }


def _key(account: ServiceAccount) -> Mapping[str, object]:
    return {
        "object": "organization.project.service_account.api_key",
        "id": f"key_{account.id.removeprefix('svc_acct_')}",
        "name": "Secret Key",
        "value": account.key,
        "created_at": account.created_at,
    }
