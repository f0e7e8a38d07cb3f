import gzip
import random
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.kernel.errors import UpstreamProtocolError, UpstreamTooLarge
from model_service.providers.decoding import Decoder


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def two_members(data: bytes) -> bytes:
    return gzip.compress(data[:7]) + gzip.compress(data[7:])


COMPRESSORS: dict[str, tuple[Callable[[bytes], bytes], ...]] = {
    "gzip": (gzip.compress, two_members),
    "deflate": (zlib.compress, raw_deflate),
}


def decoded(coding: str, pieces: list[bytes], limit: int = 1 << 24) -> bytes:
    decoder = Decoder(coding, limit)
    steps = [step for piece in pieces for step in decoder.decode(piece)]
    decoder.finish()
    assert all(0 < len(step) <= 64 * 1024 for step in steps)
    return b"".join(steps)


@given(
    data=st.binary(max_size=2000) | st.binary(max_size=20).map(lambda unit: unit * 20_000),
    coding=st.sampled_from(sorted(COMPRESSORS)),
    variant=st.integers(0, 1),
    seed=st.integers(),
)
def test_body_cut_anywhere_decodes_to_the_same(
    data: bytes, coding: str, variant: int, seed: int
) -> None:
    compressed = COMPRESSORS[coding][variant](data)
    rng = random.Random(seed)
    cuts = sorted(rng.randrange(len(compressed) + 1) for _ in range(5))
    pieces = [
        compressed[start:end]
        for start, end in zip([0, *cuts], [*cuts, len(compressed)], strict=True)
    ]
    assert decoded(coding, pieces) == data


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 128 * 1024, 200_000])
def test_body_of_about_a_step_is_not_cut(size: int) -> None:
    assert len(decoded("gzip", [gzip.compress(bytes(size))])) == size


def test_empty_body_is_no_error() -> None:
    assert decoded("gzip", []) == b""


def test_limit_counts_decompressed_bytes_over_all_pieces() -> None:
    compressed = gzip.compress(bytes(100_000))
    assert len(decoded("gzip", [compressed], limit=100_000)) == 100_000
    with pytest.raises(UpstreamTooLarge):
        decoded("gzip", [compressed], limit=99_999)
    with pytest.raises(UpstreamTooLarge):
        decoded("gzip", [gzip.compress(bytes(60_000))] * 2, limit=100_000)


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "", "gzip,gzip", "GZIP"])
def test_other_coding_is_refused(coding: str) -> None:
    with pytest.raises(UpstreamProtocolError):
        Decoder(coding, 1000)


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", b"plain text"),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-1]),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-8] + bytes(8)),
        ("gzip", gzip.compress(b"hello", mtime=0) + b"more"),
        ("deflate", zlib.compress(b"hello")[:-1]),
        ("deflate", zlib.compress(b"hello") + b"more"),
        ("deflate", b"\xff\xff"),
    ],
)
def test_broken_body_is_a_protocol_error(coding: str, data: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        decoded(coding, [data])
