"""Undoing a compressed answer, step by step, so that a small body cannot fill the memory.

The transport asks for `identity`; an upstream or a proxy before it may compress anyway.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from model_service.kernel.errors import UpstreamProtocolError, UpstreamTooLarge

# Content codings of RFC 9110 section 8.4.1 ("x-gzip" is an alias of gzip there).
_GZIP: Final = frozenset(("gzip", "x-gzip"))
_DEFLATE: Final = "deflate"

_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
_ZLIB_WBITS: Final = zlib.MAX_WBITS
_RAW_WBITS: Final = -zlib.MAX_WBITS
_STEP: Final = 64 * 1024


class Decoder:
    """Decompresses one body. At most 64 KiB come out at a time, `limit` bytes altogether."""

    __slots__ = ("_gzip", "_inflate", "_limit", "_produced")

    def __init__(self, coding: str, limit: int) -> None:
        """Raises UpstreamProtocolError when `coding` is not gzip or deflate."""
        if coding not in _GZIP and coding != _DEFLATE:
            raise UpstreamProtocolError("The upstream answered in a content coding not asked for")
        self._gzip = coding in _GZIP
        self._inflate: zlib._Decompress | None = None
        self._limit = limit
        self._produced = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The decompressed bytes of the next piece.

        Raises UpstreamProtocolError when it is not compressed data, UpstreamTooLarge past
        the limit.
        """
        more_inside = False
        while data or more_inside:
            inflate = self._inflate = self._stream_for(data)
            try:
                piece = inflate.decompress(data, _STEP)
            except zlib.error:
                raise UpstreamProtocolError("The upstream's compressed answer is broken") from None
            self._produced += len(piece)
            if self._produced > self._limit:
                raise UpstreamTooLarge
            if piece:
                yield piece
            data = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
            # A full step may leave output inside zlib with no input left to ask for it with.
            more_inside = len(piece) == _STEP and not inflate.eof

    def finish(self) -> None:
        """The body has ended. Raises UpstreamProtocolError when its compressed data has not."""
        if self._inflate is not None and not self._inflate.eof:
            raise UpstreamProtocolError("The upstream's compressed answer is cut short")

    def _stream_for(self, data: bytes) -> "zlib._Decompress":
        """The stream `data` belongs to: the one under way or a new one."""
        if self._inflate is not None and not self._inflate.eof:
            return self._inflate
        if self._gzip:  # a gzip body may be several members in a row, RFC 1952 section 2.2
            return zlib.decompressobj(_GZIP_WBITS)
        if self._inflate is not None:
            raise UpstreamProtocolError("The upstream's compressed answer is broken")
        # "deflate" is the zlib format (RFC 9110 section 8.4.1.2), but some servers send the
        # bare stream: in zlib's first byte the method is 8 and the window size at most 7.
        is_zlib = data[0] & 0x0F == 8 and data[0] >> 4 <= 7
        return zlib.decompressobj(_ZLIB_WBITS if is_zlib else _RAW_WBITS)
