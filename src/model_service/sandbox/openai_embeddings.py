"""POST /v1/embeddings: vectors that depend on the input alone.

Formats after https://developers.openai.com/api/reference/resources/embeddings, errors as the
live API gives them.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from model_service.sandbox.openai_models import Abilities
from model_service.sandbox.openai_shapes import (
    Check,
    Refused,
    array,
    choice,
    missing,
    text,
    unknown,
    whole,
)
from model_service.sandbox.script import count, vector

Body = Mapping[str, Any]  # Any: a wire edge, checked here

_MOST_INPUTS: Final = 2048
_BAD_INPUT: Final = (
    "'$.input' is invalid. Please check the API reference: "
    "https://platform.openai.com/docs/api-reference."
)


def _input(value: object, path: str) -> None:
    """A text, texts, tokens, or lists of tokens; nothing empty, no kinds mixed."""
    if isinstance(value, str):
        text(1)(value, path)
        return
    if not isinstance(value, list):
        raise Refused(_BAD_INPUT)
    array(lambda *_: None, least=1, most=_MOST_INPUTS)(value, path)
    kinds = {type(one) for one in value}
    if len(kinds) > 1 or not kinds <= {str, int, list}:
        raise Refused(_BAD_INPUT)
    for index, one in enumerate(value):
        if isinstance(one, str):
            text(1)(one, f"{path}[{index}]")
        elif isinstance(one, list):
            array(whole(0), least=1)(one, f"{path}[{index}]")
        else:
            whole(0)(one, f"{path}[{index}]")


_FIELDS: Final[Mapping[str, Check]] = {
    "model": text(),
    "input": _input,
    "dimensions": whole(1),
    "encoding_format": choice("float", "base64"),
    "user": text(),
}


def check(body: Body, can: Abilities) -> None:
    """Raise Refused for the first thing that the API would not take."""
    if "input" not in body:
        raise missing("input")
    for name, value in body.items():
        if name not in _FIELDS:
            raise unknown(name)
        _FIELDS[name](value, name)
    if not can.dimensions:
        raise Refused("You are not allowed to generate embeddings from this model", status=403)
    if body.get("dimensions", 0) > can.dimensions:
        raise Refused(
            f"Invalid value for 'dimensions' = {body['dimensions']}. Must be less than or equal "
            f"to {can.dimensions}.",
            "dimensions",
        )
    for one in _inputs(body):
        if tokens(one) > can.window:
            raise Refused(
                f"This model's maximum context length is {can.window} tokens, however you "
                f"requested {tokens(one)} tokens ({tokens(one)} in your prompt; 0 for the "
                "completion). Please reduce your prompt; or completion length.",
            )


def spent(body: Body) -> int:
    """How many tokens the request has."""
    return sum(tokens(one) for one in _inputs(body))


def tokens(one: str | list[int]) -> int:
    """How many tokens one input has."""
    return max(1, count(one)) if isinstance(one, str) else len(one)


def answer(body: Body, model: str, can: Abilities) -> dict[str, object]:
    """The vectors, in the order of the inputs."""
    size = body.get("dimensions", can.dimensions)
    packed = body.get("encoding_format") == "base64"
    used = spent(body)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _written(one, size, packed)}
            for index, one in enumerate(_inputs(body))
        ],
        "model": model,
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


def _inputs(body: Body) -> Sequence[str | list[int]]:
    value = body["input"]
    single = isinstance(value, str) or isinstance(value[0], int)
    return [value] if single else value


def _written(one: str | list[int], size: int, packed: bool) -> list[float] | str:
    # Tokens stand for themselves: there is no tokenizer here to make a text of them.
    numbers = vector(one if isinstance(one, str) else f"tokens {one}", size)
    if not packed:
        return numbers
    return base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
