"""Lists that can grow without bound: pages by cursor, newest first (API.md)."""

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import Field, StringConstraints

from model_service.http.wire import IN_DIGITS, RequestModel, ResponseModel
from model_service.kernel.errors import FieldFault, InvalidInput

#: Items of a page when the caller does not say, and the most there can be.
DEFAULT_PAGE = 100
MAX_PAGE = 500

Item = TypeVar("Item", bound=ResponseModel)
Entity = TypeVar("Entity")


class CursorQuery(RequestModel):
    """Which page: the cursor is the `nextCursor` of the page before it."""

    cursor: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE), IN_DIGITS] = DEFAULT_PAGE

    def before_id(self) -> UUID | None:
        """The cursor of a list in order of id: the last id of the page before.

        Raises:
            InvalidInput: it is none that this service gave.
        """
        if self.cursor is None:
            return None
        try:
            return UUID(self.cursor)
        except ValueError:
            raise InvalidInput(errors=[FieldFault("cursor", "is not one given here")]) from None


class CursorPage(ResponseModel, Generic[Item]):
    """One page. `nextCursor` asks for the next one; null says that this is the last."""

    data: list[Item]
    next_cursor: str | None


def page_of(
    found: Sequence[Entity],
    limit: int,
    view: Callable[[Entity], Item],
    cursor: Callable[[Entity], object],
) -> CursorPage[Item]:
    """A page out of `limit + 1` entities asked for: one too many says that more follow."""
    shown = found[:limit]
    following = str(cursor(shown[-1])) if len(found) > limit else None
    return CursorPage(data=[view(entity) for entity in shown], next_cursor=following)
