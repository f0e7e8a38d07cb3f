"""Parsing JSON of strangers, whose size in bytes says little of what it takes.

An empty list is two bytes on the wire and more than fifty in memory, and the garbage collector
goes through all lists there are again and again while more are made: 24 MB of them take a gigabyte
and ten seconds, in which nobody else is served.
"""

import gc
from typing import Any, Final

import orjson

#: Bytes up to which whatever a document holds is soon parsed.
UNSUSPICIOUS: Final = 1024 * 1024
#: Most lists and objects of a larger one, where brackets within its texts count as well. Parsed in
#: about half a second.
MOST_CONTAINERS: Final = 2_000_000


def loads(data: bytes | bytearray) -> Any:  # noqa: ANN401 - a wire edge
    """The document.

    Raises:
        JSONDecodeError: it is no JSON, or has more lists and objects than anybody needs.
    """
    if len(data) <= UNSUSPICIOUS:
        return orjson.loads(data)
    if data.count(b"[") + data.count(b"{") > MOST_CONTAINERS:
        raise orjson.JSONDecodeError("too many lists and objects", "", 0)
    collects = gc.isenabled()
    gc.disable()  # none of it is garbage yet
    try:
        return orjson.loads(data)
    finally:
        if collects:
            gc.enable()
