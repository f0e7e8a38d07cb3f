"""What the names of OpenAI's models tell of them, as far as calls depend on it.

From the model pages and the reasoning guide (https://platform.openai.com/docs/guides/reasoning),
November 2026. A name that tells nothing, as an Azure deployment's may, counts as a plain model's.
"""

from functools import lru_cache

_Version = tuple[int, int]

#: The first that thinks unless it is told not to; from 5.1 to 5.4 models did not by themselves.
_FIRST_THINKER: _Version = (5, 0)
_THINK_AGAIN: _Version = (5, 5)
#: From here on chat completions call no functions while the model thinks.
_TOOLS_BY_RESPONSES: _Version = (5, 4)


@lru_cache(maxsize=1024)
def thinks_unasked(model: str) -> bool:
    """Whether it thinks when no effort is given; then it takes no temperature but 1."""
    name = _bare(model)
    if name.startswith("o") and name[1:2].isdigit():
        return True
    version = _version(model)
    return version is not None and (version == _FIRST_THINKER or version >= _THINK_AGAIN)


@lru_cache(maxsize=1024)
def can_think(model: str) -> bool:
    """Whether it thinks at all: those that do not refuse to give encrypted thoughts."""
    version = _version(model)
    return thinks_unasked(model) or (version is not None and version >= _FIRST_THINKER)


@lru_cache(maxsize=1024)
def calls_tools_by_responses(model: str) -> bool:
    """Whether functions are to be offered to it by the Responses API alone."""
    version = _version(model)
    return version is not None and version >= _TOOLS_BY_RESPONSES


def _version(model: str) -> _Version | None:
    """5.4 of `gpt-5.4-mini`; None for names of another kind, and for `chat` models."""
    name = _bare(model)
    stem, _, rest = name.removeprefix("gpt-").partition("-")
    if not name.startswith("gpt-") or rest.startswith("chat"):
        return None
    major, _, minor = stem.partition(".")
    if not major.isdecimal() or not (minor == "" or minor.isdecimal()) or len(stem) > 9:
        return None
    return int(major), int(minor or 0)


def _bare(model: str) -> str:
    """The base model of a fine-tuned one (`ft:gpt-4.1:...`), without a vendor before it."""
    return model.removeprefix("ft:").rpartition("/")[2]
