"""Points in time and days, as options give them."""

from datetime import UTC, date, datetime, time, timedelta

import typer
from pydantic import TypeAdapter, ValidationError

from model_service.http.wire import MomentIn

_MOMENT: TypeAdapter[datetime] = TypeAdapter(MomentIn)


def moment_of(option: str, text: str) -> datetime:
    """An ISO 8601 time with its zone, or a day, which begins at midnight UTC."""
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        pass
    try:
        return _MOMENT.validate_python(text)
    except ValidationError:
        raise typer.BadParameter(
            f"{option} is a day such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z"
        ) from None


def period_of(since: str, until: str) -> tuple[datetime, datetime]:
    """From one time on and before another; a day as the end is part of the period."""
    start, end = moment_of("--from", since), moment_of("--to", until)
    if len(until) == len("2026-01-31"):
        end += timedelta(days=1)
    if start >= end:
        raise typer.BadParameter("--from must be before --to")
    return start, end
