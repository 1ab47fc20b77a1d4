"""Summaries: packed as they are stored, and refused where they do not say what one says."""

from __future__ import annotations

import pytest
import zstandard

from events.errors import Corrupt
from replicator.summary import MAX_BYTES, Summary, names_summary, parse_summary, summary_key, summary_number

SUMMARY = Summary(7, b"a note", b"a manifest", {})
KEY = summary_key(7, "0" * 64)


def test_what_is_written_is_read() -> None:
    packed = SUMMARY.to_bytes()
    assert parse_summary(packed, KEY) == SUMMARY
    plain = zstandard.ZstdDecompressor().decompress(packed)
    assert parse_summary(plain, KEY.removesuffix(".zst")) == SUMMARY, "the first ones were not packed"


@pytest.mark.parametrize("key", [KEY, KEY.removesuffix(".zst")])
def test_a_key_names_its_summary(key: str) -> None:
    assert summary_number(key) == 7
    assert names_summary(key, 7, "0" * 64)
    assert not names_summary(key, 8, "0" * 64)
    assert not names_summary(key, 7, "1" * 64)


def test_what_does_not_unpack_is_damage() -> None:
    packed = SUMMARY.to_bytes()
    streamed = zstandard.ZstdCompressor().compressobj()
    endless = streamed.compress(b"{}") + streamed.flush()
    false_size = b"\x28\xb5\x2f\xfd\xe0" + (MAX_BYTES + 1).to_bytes(8, "little") + packed[9:]
    for data in (b"", packed[:-3], packed[:3], b"no frame", endless, false_size):
        with pytest.raises(Corrupt, match="does not unpack"):
            parse_summary(data, KEY)
