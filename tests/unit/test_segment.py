"""Segments: any record comes back as it was, through our reader and through any Avro reader; damage shows."""

import io
from datetime import UTC, datetime

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.avro_writing import varint
from events.errors import ArchiveGap, BadInput, Corrupt, LogGap
from events.log import Record
from events.position import Partition
from replicator import container, merkle, segment
from replicator.record_bytes import decode_plainly, encode_records
from replicator.segment import (
    build,
    read_record,
    read_segment,
    record_leaf,
    record_root,
    segment_key,
    split_segment,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maybe_bytes = st.none() | st.binary(max_size=300)
fields = st.tuples(
    st.integers(-(2**63), 2**63 - 1) | st.integers(1_700_000_000_000, 1_800_000_000_000),
    st.integers(0, 1),
    maybe_bytes,
    st.lists(st.tuples(texts, maybe_bytes), max_size=3).map(tuple),
    maybe_bytes,
)


def records_from(first, rows):
    return [Record(first + n, *row) for n, row in enumerate(rows)]


@given(st.sampled_from([0, 1, 63, 64, 127, 8191, 2**31, 2**50]), st.lists(fields, min_size=1, max_size=200))
@example(0, [(0, 0, None, (), None)])
@example(63, [(1, 1, b"k", (), b"v")] * 130)
def test_records_come_back_as_they_were(first, rows):
    records = records_from(first, rows)
    built = build(records)
    assert (built.first, built.stop) == (first, first + len(records))
    assert read_segment(built.plain, built.first, built.stop, "s") == records
    assert built.root == record_root(records)
    assert built.last == record_leaf(records[-1])


plain_fields = st.tuples(
    st.integers(1_700_000_000_000, 1_800_000_000_000),
    st.integers(0, 1),
    st.binary(max_size=50),
    st.just(()),
    st.binary(max_size=300),
)


@given(st.sampled_from([0, 63, 8191, 2**50]), st.lists(fields | plain_fields, min_size=1, max_size=150))
@example(63, [(1_700_000_000_000, 1, b"k", (), b"v" * 20_000)] * 3)
def test_split_it_gives_each_record_as_it_stands(first, rows):
    records = records_from(first, rows)
    split = split_segment(build(records).plain, first, first + len(records), "s")
    assert split == encode_records(records)
    assert [read_record(data, "s") for data in split] == records
    with pytest.raises(ArchiveGap):
        split_segment(build(records).plain, first, first + len(records) + 1, "s")
    with pytest.raises((ArchiveGap, Corrupt)):
        split_segment(build(records).plain, first + 1, first + len(records), "s")


def test_a_record_has_one_encoding():
    (data,) = encode_records(records_from(5, [(1, 1, b"k", (("h", None),), b"v")]))
    assert data[-9:].count(b"\x02") and read_record(data, "s").offset == 5
    other = data.replace(
        b"\x02\x02h\x00\x00", b"\x01\x08\x02h\x00\x00"
    )  # the same headers, with a block's size
    assert other != data
    with pytest.raises(Corrupt):
        read_record(other, "s")
    for cut in range(len(data)):
        with pytest.raises(Corrupt):
            read_record(data[:cut], "s")


@given(st.lists(fields, min_size=1, max_size=20))
def test_any_avro_reader_reads_it(rows):
    rows = [(time % 2**40, *rest) for time, *rest in rows]  # within the years of a datetime
    records = records_from(100, rows)
    found = list(fastavro.reader(io.BytesIO(build(records).plain)))
    assert [
        Record(
            r["offset"],
            round((r["time"] - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000),
            ["CREATE", "APPEND"].index(r["time_type"]),
            r["key"],
            tuple((h["key"], h["value"]) for h in r["headers"]),
            r["value"],
        )
        for r in found
    ] == records


def test_the_leaf_of_a_record_is_its_bytes_in_the_container():
    records = records_from(7, [(1, 1, b"k", (("h", None),), b"v" * n) for n in range(40)])
    plain = build(records).plain
    schema, blocks = container.read_container(plain, "s")
    data = b"".join(block.data for block in blocks)
    assert data == b"".join(encode_records(records))
    assert schema["name"] == "Record"


def test_the_same_records_give_the_same_bytes():
    records = records_from(0, [(1, 1, b"k", (), bytes(n)) for n in range(50)])
    assert build(records) == build(records)


def test_large_segments_have_several_blocks():
    value = bytes(segment.BLOCK_BYTES // 2)
    records = records_from(0, [(1, 1, None, (), value)] * 5)
    built = build(records)
    assert len(list(container.read_container(built.plain, "s").blocks)) == 3
    assert read_segment(built.plain, 0, 5, "s") == records


def test_another_writers_container_is_read_too():
    rows = [
        {
            "offset": n,
            "time": 5,
            "time_type": "APPEND",
            "key": b"k",
            "headers": [{"key": "h", "value": None}],
            "value": None,
        }
        for n in range(9)
    ]
    for codec in ("zstandard", "null"):
        out = io.BytesIO()
        fastavro.writer(out, segment.RECORD_SCHEMA, rows, codec=codec, sync_interval=20)
        found = read_segment(out.getvalue(), 0, 9, "s")
        assert found == records_from(0, [(5, 1, b"k", (("h", None),), None)] * 9)


def test_what_cannot_be_a_segment_is_refused():
    with pytest.raises(BadInput):
        build([])
    one, two = records_from(3, [(0, 1, None, (), None)] * 2)
    for records in ([two, one], [one, one], [one, two._replace(offset=9)]):
        with pytest.raises(LogGap):
            build(records)
    for wrong in (one._replace(time_type=2), one._replace(time=2**63)):
        with pytest.raises(BadInput):
            build([wrong])


def test_every_cut_and_every_flipped_byte_is_noticed_or_changes_nothing():
    """Without digests: what the container itself notices. Nothing but our errors may come out."""
    records = records_from(0, [(1, 1, b"key", (), b"value %d" % n) for n in range(5)])
    built = build(records)
    for n in range(len(built.plain)):
        with pytest.raises((Corrupt, ArchiveGap)):
            read_segment(built.plain[:n], 0, 5, "s")
    for n in range(len(built.plain)):
        changed = bytearray(built.plain)
        changed[n] ^= 0x41
        try:
            found = read_segment(bytes(changed), 0, 5, "s")
        except (Corrupt, ArchiveGap):
            continue
        assert found == records or record_root(found) != built.root


def test_another_range_is_noticed():
    records = records_from(0, [(1, 1, None, (), None)] * 5)
    plain = build(records).plain
    for first, stop in ((1, 5), (0, 4), (0, 6), (1, 6)):
        with pytest.raises(ArchiveGap):
            read_segment(plain, first, stop, "s")


def test_a_container_of_something_else_is_noticed():
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "Other", "fields": []}, [{}], codec="zstandard")
    with pytest.raises(Corrupt, match="not a segment"):
        read_segment(out.getvalue(), 0, 1, "s")


def test_a_block_that_unpacks_to_too_much_is_refused(monkeypatch):
    built = build(records_from(0, [(1, 1, None, (), bytes(50_000))]))
    monkeypatch.setattr(container, "MAX_BLOCK_BYTES", 10_000)
    with pytest.raises(Corrupt):
        read_segment(built.plain, 0, 1, "s")


@given(st.integers(-(2**63), 2**63 - 1))
def test_longs_are_avros(value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    assert varint(value) == out.getvalue()


@pytest.mark.parametrize(
    ("time", "day"),
    [
        (0, "1970-01-01"),
        (-5, "1970-01-01"),
        (1767225599999, "2025-12-31"),
        (1767225600000, "2026-01-01"),
        (2**62, "9999-12-31"),
    ],
)
def test_keys_name_the_day_of_the_first_record(time, day):
    key = segment_key(Partition("rekam.events", 3), 12, 345, time, "d" * 64, ".age")
    assert key == f"log/rekam.events/3/{day}/00000000000000000012-345-{'d' * 64}.avro.age"


def test_the_root_is_rfc6962s():
    records = records_from(0, [(1, 1, None, (), b"%d" % n) for n in range(6)])
    leaves = [merkle.leaf_hash(raw) for raw in encode_records(records)]
    assert build(records).root == merkle.root(leaves)


usual = st.tuples(
    st.integers(1_700_000_000_000, 1_700_000_000_009),
    st.integers(0, 1),
    st.binary(max_size=63),
    st.just(()),
    st.binary(max_size=20) | st.integers(0, 20_000).map(bytes),
)


@given(st.sampled_from([0, 60, 8_190, 2**40]), st.lists(usual, min_size=1, max_size=70))
def test_the_short_cut_takes_the_usual_form(first, rows):
    records = records_from(first, rows)
    data = b"".join(encode_records(records))
    assert decode_plainly(container.Block(len(records), data), first) == records


@given(st.lists(usual | fields, min_size=1, max_size=8), st.data())
def test_the_short_cut_is_never_another_opinion(rows, data):
    """On any bytes it gives what the whole reader gives, or leaves them to it."""
    raw = bytearray(b"".join(encode_records(records_from(5, rows))))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw)
    block = container.Block(len(rows), raw)
    found = decode_plainly(block, 5)
    if found is not None:
        assert found == segment._decode(block, "s")
