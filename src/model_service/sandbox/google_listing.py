"""The pages of the Gemini API's models listing (https://ai.google.dev/api/models)."""

import base64
from typing import Final

from starlette.requests import Request

from model_service.sandbox.google_errors import InvalidArgument
from model_service.sandbox.stand_in import whole_number

# 50 unless told, never more than 1000.
DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 1000

# Every Google API takes these (https://cloud.google.com/apis/docs/system-parameters).
_SYSTEM_PARAMETERS: Final = frozenset({"$alt", "alt", "fields", "key", "prettyPrint", "quotaUser"})
_PAGE_PARAMETERS: Final = {
    "pageSize": "page_size",
    "page_size": "page_size",
    "pageToken": "page_token",
    "page_token": "page_token",
}


def read_page(request: Request) -> tuple[int, int]:
    """Page size and start. Raises InvalidArgument, as for any parameter it does not know."""
    size, start = DEFAULT_PAGE, 0
    for name, value in request.query_params.items():
        match _PAGE_PARAMETERS.get(name):
            case "page_size":
                size = _page_size(value)
            case "page_token":
                start = _page_start(value)
            case _:
                check_parameter(name)
    return size, start


def check_parameter(name: str) -> None:
    """Raise InvalidArgument for a query parameter that no Google API has."""
    if name not in _SYSTEM_PARAMETERS:
        raise InvalidArgument(
            f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query '
            f"parameter. Field '{name}' could not be found in request message."
        )


def _page_size(value: str) -> int:
    size = whole_number(value)
    if size is None:
        message = f"Invalid value at 'page_size' (TYPE_INT32), \"{value}\""
        raise InvalidArgument(message, "page_size")
    if size < 0:
        raise InvalidArgument("page_size must not be negative", "page_size")
    return min(size, LARGEST_PAGE) or DEFAULT_PAGE


def page_token(start: int) -> str:
    """The token of the page that begins there."""
    return base64.urlsafe_b64encode(f"start:{start}".encode()).decode()


def _page_start(token: str) -> int:
    if not token:
        return 0
    try:
        label, _, start = base64.urlsafe_b64decode(token).decode().partition(":")
    except ValueError as error:
        raise InvalidArgument("page token is invalid", "page_token") from error
    position = whole_number(start)
    if label != "start" or position is None:
        raise InvalidArgument("page token is invalid", "page_token")
    return position
