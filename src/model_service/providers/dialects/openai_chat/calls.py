"""Tool calls of a stream, put together from what vendors make of OpenAI's deltas.

OpenAI sends a call's id and name once, and then pieces of its arguments by `index`. Others leave
out the index (Gemini's compatible API), give all calls the same (their ids tell them apart),
repeat id and name with every piece, send the arguments at once, even as an object, or have no ids.
"""

import secrets
from typing import Final

import orjson

from model_service.providers import signatures
from model_service.providers.chat import ChatEvent, Document, ToolCallDelta, ToolCallStarted
from model_service.providers.dialects.openai_chat.thoughts import ORIGIN
from model_service.providers.faults import malformed

#: The place of the old `function_call` among the calls: it has none of its own.
_OLD: Final = -1


class _Call:
    __slots__ = ("arguments", "id", "index", "name", "signature")

    def __init__(self) -> None:
        self.index: int | None = None
        """Its number among the calls, once it has begun."""
        self.id: str | None = None
        self.name: str | None = None
        self.signature: str | None = None
        self.arguments: list[str] = []
        """What came before the name."""


class Calls:
    """The calls of one candidate."""

    __slots__ = ("_all", "_begun", "_by_index", "_candidate")

    def __init__(self, candidate: int) -> None:
        self._candidate = candidate
        self._all: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._begun = 0

    def __bool__(self) -> bool:
        return self._begun > 0

    def take(self, item: object, out: list[ChatEvent]) -> None:
        """An entry of `tool_calls`. Raises CallFailed."""
        if not isinstance(item, dict):
            raise malformed("The provider sent a tool call that is no object")
        index = item.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            index = None
        self._add(index, item.get("id"), item.get("function"), item, out)

    def take_function(self, function: object, out: list[ChatEvent]) -> None:
        """The old `function_call`. Raises CallFailed."""
        self._add(_OLD, None, function, {}, out)

    def finish(self) -> None:
        """No more will come. Raises CallFailed when a call never got a name."""
        for call in self._all:
            if call.index is None and (call.id is not None or call.arguments):
                raise malformed("The provider sent a tool call without a name")

    def _add(
        self,
        index: int | None,
        given_id: object,
        function: object,
        item: Document,
        out: list[ChatEvent],
    ) -> None:
        if not isinstance(function, dict):
            function = {}
        call_id = given_id if isinstance(given_id, str) and given_id else None
        name = function.get("name")
        if not isinstance(name, str) or not name:
            name = None
        call = self._find(index, call_id, name)
        call.id = call.id or call_id
        call.name = call.name or name
        call.signature = call.signature or _signature(item)
        arguments = _arguments(function.get("arguments"))
        if call.index is None:
            if arguments:
                call.arguments.append(arguments)
            if call.name is None:
                return
            arguments = "".join(call.arguments)
            self._begin(call, call.name, out)
        if arguments and call.index is not None:
            out.append(ToolCallDelta(call.index, arguments, self._candidate))

    def _begin(self, call: _Call, name: str, out: list[ChatEvent]) -> None:
        call.index = self._begun
        call.arguments.clear()
        self._begun += 1
        # Whoever sends the result has to name the call, so it needs an id.
        call_id = call.id or f"call_{secrets.token_hex(12)}"
        out.append(ToolCallStarted(call.index, call_id, name, self._candidate, call.signature))

    def _find(self, index: int | None, call_id: str | None, name: str | None) -> _Call:
        """The call that a piece is of, or a new one."""
        if index is not None:
            known = self._by_index.get(index)
            # Another id alone is no other call: some vendors make one up for every piece.
            if known is not None and not (name and call_id and known.id and known.id != call_id):
                return known
        elif call_id is not None:
            for known in self._all:
                if known.id == call_id:
                    return known
        elif self._all and (name is None or self._all[-1].name is None):
            return self._all[-1]
        call = _Call()
        self._all.append(call)
        if index is not None:
            self._by_index[index] = call
        return call


def _arguments(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # nested too deeply
        raise malformed("The provider sent arguments of a tool call that are no JSON") from None


def _signature(item: Document) -> str | None:
    extra = item.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    text = google.get("thought_signature") if isinstance(google, dict) else None
    return signatures.mark(ORIGIN, text) if isinstance(text, str) and text else None
