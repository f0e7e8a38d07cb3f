"""An upstream's answer as its caller sees it."""

from collections.abc import AsyncIterator
from types import TracebackType

from model_service.kernel.errors import UpstreamError, UpstreamProtocolError
from model_service.providers.decoding import Decoder
from model_service.providers.exchange import Exchange


class UpstreamResponse:
    """Status, headers and a body that is read once, by `chunks` or by `read`.

    Use it as an async context manager, or call `aclose`: an answer not read to its end
    holds a connection.
    """

    __slots__ = ("_decoder", "_exchange", "_headers")

    def __init__(self, exchange: Exchange, decoder: Decoder | None) -> None:
        self._exchange = exchange
        self._decoder = decoder
        self._headers: tuple[tuple[str, str], ...] | None = None

    @property
    def status(self) -> int:
        """The status code, 200 to 599. Redirects are answers like any other."""
        return self._exchange.status

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All headers in order, names in lower case, as the upstream sent them.

        `content-encoding` and `content-length` describe the body before decompression.
        """
        if self._headers is None:
            self._headers = tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in self._exchange.headers
            )
        return self._headers

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        value = self._exchange.header(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, decompressed; never an empty piece.

        While nobody asks for the next piece, at most some 320 KiB are buffered and then the
        socket is no longer read. Raises UpstreamTimeout (`idle` or `total`), UpstreamClosed,
        UpstreamTooLarge or UpstreamProtocolError after the bytes that arrived before.
        """
        exchange, decoder = self._exchange, self._decoder
        while piece := await exchange.next_piece():
            if decoder is None:
                yield piece
            else:
                try:
                    for decoded in decoder.decode(piece):
                        yield decoded
                except UpstreamError:
                    exchange.abandon()
                    raise
        if decoder is not None:
            decoder.finish()

    async def piece(self) -> bytes:
        """What has arrived of the body and was not taken yet, at least a byte; b"" at the end.

        As `chunks`, without a generator's cost.
        """
        if self._decoder is None:
            return await self._exchange.next_piece()
        while piece := await self._exchange.next_piece():
            try:
                if decoded := b"".join(self._decoder.decode(piece)):
                    return decoded
            except UpstreamError:
                self._exchange.abandon()
                raise
        self._decoder.finish()
        return b""

    async def read(self) -> bytes:
        """The rest of the body, whole. Raises as `chunks` does."""
        if self._decoder is None:
            return await self._exchange.whole()
        return b"".join([piece async for piece in self.chunks()])

    async def aclose(self) -> None:
        """Finish with the answer; may be repeated.

        An answer that has not arrived completely closes its connection at once, as nothing
        else stops an upstream from sending (and billing).
        """
        self._exchange.abandon()

    async def __aenter__(self) -> "UpstreamResponse":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def open_response(exchange: Exchange) -> UpstreamResponse:
    """The answer whose head has arrived.

    Raises UpstreamProtocolError when its body is in a coding nobody here can undo.
    """
    if not exchange.is_coded:
        return UpstreamResponse(exchange, None)
    codings = [
        value.lower().decode("latin-1")
        for name, value in exchange.headers
        if name == b"content-encoding"
    ]
    if codings == ["identity"] or _has_no_body(exchange):
        return UpstreamResponse(exchange, None)
    if len(codings) > 1:
        exchange.abandon()
        raise UpstreamProtocolError("The upstream answered in a content coding not asked for")
    try:
        return UpstreamResponse(exchange, Decoder(codings[0], exchange.limits.body_bytes))
    except UpstreamProtocolError:
        exchange.abandon()
        raise


def _has_no_body(exchange: Exchange) -> bool:
    return exchange.head_only or exchange.status in (204, 304)
