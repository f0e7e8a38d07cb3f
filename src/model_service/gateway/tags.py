"""Tags: what callers file their calls under, in `x-model-service-tags: team=search,eval`."""

from typing import Final

from model_service.providers.faults import CallFailed, Fault, FaultKind

#: The header.
TAGS: Final = b"x-model-service-tags"
#: Tags of one call, and characters of one tag.
MOST_TAGS: Final = 16
MOST_CHARACTERS: Final = 64


def tags_of(value: bytes) -> tuple[str, ...]:
    """The tags in the header's value, each once, in order.

    Raises:
        CallFailed: there are too many, or one is too long or not printable.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise _refused("must be UTF-8") from None
    tags = tuple(dict.fromkeys(tag for part in text.split(",") if (tag := part.strip())))
    if len(tags) > MOST_TAGS:
        raise _refused(f"must have at most {MOST_TAGS} tags")
    for tag in tags:
        if len(tag) > MOST_CHARACTERS or not tag.isprintable():
            raise _refused(f"must have printable tags of at most {MOST_CHARACTERS} characters")
    return tags


def _refused(reason: str) -> CallFailed:
    header = TAGS.decode("ascii")
    return CallFailed(
        Fault(
            FaultKind.INVALID_REQUEST,
            f"The header {header} {reason}",
            param=header,
            code="invalid_header",
            status=400,
        )
    )
