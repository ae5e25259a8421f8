"""Pieces that were packed by themselves are one gzip file when they are joined."""

from __future__ import annotations

import gzip
import zlib
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from exporter.outputs.prometheus.packing import Packer, gzipped, joined

TEXTS = st.lists(st.binary(max_size=300) | st.binary(max_size=20).map(lambda b: b * 5000))


@given(TEXTS)
def test_it_is_one_gzip_file_of_the_whole_text(texts: list[bytes]) -> None:
    packer = Packer()

    file = gzipped(packer.pack(text) for text in texts)

    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert unpacker.decompress(file) == b"".join(texts)
    assert (unpacker.eof, unpacker.unused_data) == (True, b"")


@given(TEXTS, st.randoms(use_true_random=False))
def test_a_segment_needs_none_of_the_others(texts: list[bytes], random: Random) -> None:
    packer = Packer()
    segments = [(text, packer.pack(text)) for text in texts]
    random.shuffle(segments)

    file = gzipped(segment for _, segment in segments)

    assert gzip.decompress(file) == b"".join(text for text, _ in segments)


@given(TEXTS)
def test_joined_segments_are_a_segment(texts: list[bytes]) -> None:
    packer = Packer()
    segments = [packer.pack(text) for text in texts]
    whole = joined(segments)

    assert (whole.size, whole.crc) == (len(b"".join(texts)), zlib.crc32(b"".join(texts)))
    assert gzipped([joined(segments[:2]), joined(segments[2:])]) == gzipped(segments)
