"""An answer while it arrives, in whatever pieces."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.exchange import MOST_PIECES, Exchange
from model_service.providers.messages import Limits


async def test_a_body_that_comes_byte_by_byte_takes_no_more_objects_than_others() -> None:
    exchange = Exchange(asyncio.get_running_loop(), Limits(), head_only=False)
    body = bytes(range(256)) * 64
    for code in body:
        exchange.add_body(bytes([code]))
    assert exchange._more is not None
    assert 1 + len(exchange._more) == MOST_PIECES
    assert exchange.buffered == exchange.received == len(body)
    exchange.finish()
    data = await exchange.whole()
    assert type(data) is bytes
    assert data == body
    assert exchange.buffered == 0


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=3 * MOST_PIECES))
def test_whatever_the_pieces_the_body_is_the_same(pieces: list[bytes]) -> None:
    async def gathered() -> bytes:
        exchange = Exchange(asyncio.get_running_loop(), Limits(), head_only=False)
        found = b""
        for number, piece in enumerate(pieces):
            exchange.add_body(piece)
            if number % 300 == 299:
                found += await exchange.next_piece()
        exchange.finish()
        while piece := await exchange.next_piece():
            found += piece
        return found

    assert asyncio.run(gathered()) == b"".join(pieces)
