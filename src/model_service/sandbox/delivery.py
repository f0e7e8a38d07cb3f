"""How answers go out: whole, in events, or spoiled on their way as a fault wants it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from model_service.sandbox.faults import Fault, Pace

#: The key of the connection among the extensions of an ASGI scope.
CONNECTION: Final = "model_service.sandbox.connection"

_BLOCK: Final = 64 * 1024


class Connection(Protocol):
    """What a stand-in may do to the connection it answers on."""

    def close(self) -> None:
        """Close it after what was sent."""
        ...

    def reset(self) -> None:
        """Break it off at once, with a reset (TCP RST)."""
        ...


class Mark(Enum):
    """What an event of a stream is there for, which is what faults go by."""

    OPENING = auto()
    """What comes before any token."""
    CONTENT = auto()
    FINISH = auto()
    """Why the answer ended, what it used, and whatever comes with it."""
    DONE = auto()
    """The mark that closes the stream, where the format has one that says nothing else."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One event of a stream as it stands on the wire, with what ends it."""

    data: bytes
    mark: Mark = Mark.CONTENT


@dataclass(frozen=True, slots=True)
class StreamForm:
    """What faults look like in one wire format.

    `error` is the provider's error event, `malformed` an event that no parser can read, `text`
    makes an event that carries the text.
    """

    error: bytes
    malformed: bytes
    text: Callable[[str], bytes]


class _Closed(Exception):
    """The connection is to be closed here."""


class Delivery(StreamingResponse):
    """An answer that goes out as its steps come, until they end or the client leaves."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(scope, send))
        leaving = asyncio.create_task(gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, scope: Scope, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        try:
            async for data in self.body_iterator:
                # Nothing else gives way to the loop when the client reads as fast as this writes.
                await asyncio.sleep(0)
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except _Closed:
            connection: Connection = scope["extensions"][CONNECTION]
            connection.close()
            await asyncio.Event().wait()  # until the client is seen to be gone
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Reset(Response):
    """No answer: the connection is reset."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: Connection = scope["extensions"][CONNECTION]
        connection.reset()
        await gone(receive)


class Late(Response):
    """Another answer, after some seconds."""

    def __init__(self, answer: Response, seconds: float) -> None:
        super().__init__(status_code=answer.status_code)
        self._answer, self._seconds = answer, seconds

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(gone(receive))
        left, _ = await asyncio.wait({leaving}, timeout=self._seconds)
        leaving.cancel()
        if not left:
            await self._answer(scope, receive, send)


class Silence(Response):
    """No answer, until the client gives up."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await gone(receive)


async def gone(receive: Receive) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def instead(fault: Fault, page: Response, error: Callable[[Fault], Response]) -> Response:
    """What a call gets in place of an answer (`fault.comes_first`).

    `page` is the proxy's, `error` gives the provider's own error for the faults it has one for.
    """
    match fault:
        case Fault.RESET:
            return Reset()
        case Fault.SILENT:
            return Silence()
        case Fault.HTML:
            return page
        case _:
            return error(fault)


def whole(answer: Response, fault: Fault | None, pace: Pace, error: Response) -> Response:
    """A whole JSON answer, spoiled as the fault wants it; `error` is the provider's own."""
    body = bytes(answer.body)
    most = 2 * len(body) // 3
    match fault:
        case Fault.SLOW:
            return Late(answer, pace.slow)
        case Fault.CUT:
            return _delivery(answer, _cut(body[:most]), length=len(body))
        case Fault.STALL:
            return _delivery(answer, _stalled(body[:most]), length=len(body))
        case Fault.DRIP:
            return _delivery(answer, _dripping(body, pace.drip), length=len(body))
        case Fault.END | Fault.MALFORMED | Fault.GARBAGE:
            return _delivery(answer, _given(body[:most]))
        case Fault.FLOOD:
            return _delivery(answer, _flood(body[:-1], b" " * _BLOCK))
        case Fault.HUGE_EVENT:
            return _delivery(answer, _given(body[:-1] + b" " * pace.huge + body[-1:]))
        case Fault.ERROR_EVENT:
            error.status_code = 200
            return error
        case _:
            return answer


def streamed(
    pieces: Sequence[Piece],
    fault: Fault | None,
    pace: Pace,
    form: StreamForm,
    headers: dict[str, str],
    media_type: str = "text/event-stream; charset=utf-8",
) -> Response:
    """A stream, spoiled as the fault wants it."""
    steps = _spoiled(pieces, fault, pace, form)
    return Delivery(steps, headers={**headers, "content-type": media_type})


async def _spoiled(
    pieces: Sequence[Piece], fault: Fault | None, pace: Pace, form: StreamForm
) -> AsyncIterator[bytes]:
    if fault is Fault.SLOW:
        await asyncio.sleep(pace.slow)
    if fault is Fault.NO_DONE:
        pieces = [piece for piece in pieces if piece.mark is not Mark.DONE]
    place = _place(pieces, fault)
    for index, piece in enumerate(pieces):
        if index == place:
            async for data in _at_place(piece.data, fault, pace, form):
                yield data
            if fault in _ENDING:
                return
        if fault is Fault.DRIP:
            async for data in _dripping(piece.data, pace.drip):
                yield data
        else:
            yield piece.data
        if pace.between:
            await asyncio.sleep(pace.between)


# Faults after which nothing of the sound stream comes.
_ENDING: Final = frozenset({Fault.END, Fault.GARBAGE, Fault.ERROR_EVENT})


def _place(pieces: Sequence[Piece], fault: Fault | None) -> int:
    """Where a fault comes: after about two thirds of the content, or in its middle.

    At least one event of the content comes before it, if there is any, and one is left.
    """
    content = [at for at, piece in enumerate(pieces) if piece.mark is Mark.CONTENT]
    if not content:
        return next((at for at, piece in enumerate(pieces) if piece.mark is Mark.FINISH), 0)
    late = fault in {Fault.CUT, Fault.END, Fault.STALL}
    share = 2 * len(content) // 3 if late else len(content) // 2
    before = max(1, share)
    return content[before] if before < len(content) else content[-1] + 1


async def _at_place(
    following: bytes, fault: Fault | None, pace: Pace, form: StreamForm
) -> AsyncIterator[bytes]:
    match fault:
        case Fault.CUT:
            yield following[: len(following) // 2]
            raise _Closed
        case Fault.STALL:
            await asyncio.Event().wait()
        case Fault.MALFORMED:
            yield form.malformed
        case Fault.GARBAGE:
            for _ in range(3):
                yield form.malformed
        case Fault.ERROR_EVENT:
            yield form.error
        case Fault.FLOOD:
            events = form.text("and on ") * 256
            while True:
                yield events
        case Fault.HUGE_EVENT:
            yield form.text("x" * pace.huge)
        case _:
            return


def _delivery(answer: Response, steps: AsyncIterator[bytes], length: int | None = None) -> Delivery:
    """The answer's status and headers with another body, whose length is told if it is known."""
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    if length is not None:
        headers["content-length"] = str(length)
    return Delivery(steps, answer.status_code, headers)


async def _given(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _cut(body: bytes) -> AsyncIterator[bytes]:
    yield body
    raise _Closed


async def _stalled(body: bytes) -> AsyncIterator[bytes]:
    yield body
    await asyncio.Event().wait()


async def _dripping(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    for byte in body:
        yield bytes((byte,))
        await asyncio.sleep(seconds)


async def _flood(begin: bytes, block: bytes) -> AsyncIterator[bytes]:
    yield begin
    while True:
        yield block
