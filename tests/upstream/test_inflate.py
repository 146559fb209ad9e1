import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.errors import UpstreamProtocolError
from guardproxy.upstream.inflate import Inflate


def inflate(coding: str, packed: bytes, cuts: list[int]) -> bytes:
    stream = Inflate(coding)
    edges = [0, *sorted(cut % (len(packed) + 1) for cut in cuts), len(packed)]
    body = b"".join(piece for a, b in pairwise(edges) for piece in stream.feed(packed[a:b]))
    stream.finish()
    return body


@given(st.binary(max_size=500), st.integers(1, 2000), st.lists(st.integers(0, 10_000), max_size=5))
def test_however_it_is_cut_the_body_is_the_same(unit, times, cuts):
    body = unit * times
    assert inflate("gzip", gzip.compress(body), cuts) == body
    assert inflate("deflate", zlib.compress(body), cuts) == body


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 131072, 1_000_000])
def test_sizes_about_the_piece(size):
    assert inflate("gzip", gzip.compress(b"a" * size), []) == b"a" * size


def test_pieces_are_bounded():
    assert max(map(len, Inflate("gzip").feed(gzip.compress(b"a" * 1_000_000)))) <= 65536


WHOLE = gzip.compress(b"a", mtime=0)


@pytest.mark.parametrize(
    "packed", [WHOLE + b"more", WHOLE * 2, b"no gzip", WHOLE[:-1]], ids=["more", "twice", "none", "cut"]
)
def test_what_is_not_one_whole_stream_is_refused(packed):
    with pytest.raises(UpstreamProtocolError):
        inflate("gzip", packed, [])


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
def test_other_codings_are_refused(coding):
    with pytest.raises(UpstreamProtocolError):
        Inflate(coding)
