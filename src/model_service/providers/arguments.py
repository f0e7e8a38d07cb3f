"""A tool call's arguments as an object, for the dialects that want one where others have text."""

from typing import Any, Final

import orjson

#: Under this name stands the text of arguments that are no object, so that it is not lost.
RAW_ARGUMENTS: Final = "arguments"

# orjson reads 1,024 levels, but writes no more than 254; a request adds some of its own.
_MOST_LEVELS: Final = 200


def arguments_object(text: str) -> dict[str, Any]:
    """The object that the text holds; an empty one for no text.

    A model may write arguments that are cut, or no object, and callers send them back in the
    history: then the text itself is the one argument. Never raises.
    """
    if not text or text == "{}":
        return {}
    try:
        value = orjson.loads(text)
    except ValueError:
        return {RAW_ARGUMENTS: text} if text.strip() else {}
    if not isinstance(value, dict) or _is_too_deep(text, value):
        return {RAW_ARGUMENTS: text}
    return value


def _is_too_deep(text: str, value: object) -> bool:
    if text.count("{") + text.count("[") <= _MOST_LEVELS:
        return False
    level: list[Any] = [value]
    for _ in range(_MOST_LEVELS):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
