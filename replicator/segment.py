"""Segments: a contiguous range of one partition as an Avro container, and the tree over its records.

Building one is joining bytes: every record has exactly one encoding (its record bytes, the leaf of the segment's
tree), and the log's own bytes are copied into it untouched. Shipping must keep up with the log, so the encodings of
what repeats (lengths, times, keys) are looked up. docs/archive-format.md fixes the format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import zstandard
from fastavro import parse_schema

from events.errors import ArchiveGap, BadInput, Corrupt, LogGap
from events.log import Record
from events.position import Partition
from replicator import merkle
from replicator.canonical import canonical
from replicator.container import ZSTD_LEVEL, Block, decode_block, join_container, read_container
from replicator.record_bytes import TIME_TYPES, decode_plainly, encode_records, split_plainly

BLOCK_BYTES = 1024 * 1024
"""Plain bytes after which a block of the container ends: what a reader unpacks at once."""

_NULLABLE_BYTES = ["null", "bytes"]
_HEADER = {
    "type": "record",
    "name": "Header",
    "fields": [{"name": "key", "type": "string"}, {"name": "value", "type": _NULLABLE_BYTES}],
}


def _record_schema(time: Any, time_type: Any) -> dict[str, Any]:
    fields: list[tuple[str, Any]] = [
        ("offset", "long"),
        ("time", time),
        ("time_type", time_type),
        ("key", _NULLABLE_BYTES),
        ("headers", {"type": "array", "items": _HEADER}),
        ("value", _NULLABLE_BYTES),
    ]
    return {
        "type": "record",
        "name": "Record",
        "namespace": "id.rekam.archive",
        "fields": [{"name": name, "type": kind} for name, kind in fields],
    }


RECORD_SCHEMA = _record_schema(
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "enum", "name": "TimeType", "symbols": ["CREATE", "APPEND"]},
)
SCHEMA_TEXT = canonical(RECORD_SCHEMA)

# An enum is written as an int: read as one, and times as plain numbers, records decode twice as fast.
_PLAIN_RECORDS = parse_schema({"type": "array", "items": _record_schema("long", "int")})


class Segment(NamedTuple):
    """A built segment."""

    plain: bytes
    """The container, before encryption."""
    root: bytes
    """Of the tree over its records."""
    last: bytes
    """The leaf hash of its last record."""
    first: int
    stop: int


class SegmentBuilder:
    """A segment in the making. What is held are compressed blocks and leaf hashes, not the records."""

    def __init__(self, first: int) -> None:
        """`first`: the offset that it begins at."""
        self._first = self.stop = first
        self._pack = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress
        self._packed: list[Block] = []
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.leaves: list[bytes] = []
        """Of the records added so far."""

    def add(self, records: Sequence[Record]) -> None:
        """The next records. Raises LogGap where an offset is missing, BadInput where a record cannot be held."""
        stop = self.stop + len(records)
        if self._first < 0 or [r.offset for r in records] != list(range(self.stop, stop)):
            raise LogGap(f"the records from offset {self.stop} on are not contiguous")
        self.stop = stop
        sha256 = hashlib.sha256
        for record in encode_records(records):
            self.leaves.append(sha256(b"\0" + record).digest())
            self._waiting.append(record)
            self._waiting_bytes += len(record)
            if self._waiting_bytes >= BLOCK_BYTES:
                self._end_block()

    def _end_block(self) -> None:
        if self._waiting:
            self._packed.append(Block(len(self._waiting), self._pack(b"".join(self._waiting))))
        self._waiting, self._waiting_bytes = [], 0

    def finish(self) -> Segment:
        """The segment of what was added: one record at least."""
        self._end_block()
        root = merkle.root(self.leaves)
        plain = join_container(SCHEMA_TEXT, sync_marker(root), self._packed)
        return Segment(plain, root, self.leaves[-1], self._first, self.stop)


def build(records: Sequence[Record]) -> Segment:
    """The segment of some contiguous records of one partition. Raises as SegmentBuilder."""
    if not records:
        raise BadInput("a segment is not empty")
    builder = SegmentBuilder(records[0].offset)
    builder.add(records)
    return builder.finish()


def sync_marker(root: bytes) -> bytes:
    return hashlib.sha256(b"rekam segment\0" + root).digest()[:16]


def record_leaf(record: Record) -> bytes:
    """The leaf hash of one record."""
    return merkle.leaf_hash(encode_records([record])[0])


def read_blocks(plain: bytes, where: str, first: int | None = None) -> Iterator[list[Record]]:
    """The records of a segment, block by block. Raises Corrupt naming `where`.

    `first`: the offset that it begins at, where that is known: reading is faster then.
    """
    schema, blocks = read_container(plain, where)
    if schema != RECORD_SCHEMA:
        raise Corrupt(f"{where} is not a segment: its schema is another one")
    for block in blocks:
        records = decode_plainly(block, first) if first is not None else None
        if records is None:
            records = _decode(block, where)
        if records:
            first = records[-1].offset + 1
        yield records


def split_segment(plain: bytes, first: int, stop: int, where: str) -> list[bytes]:
    """The record bytes of a segment, as they stand. Raises Corrupt or ArchiveGap naming `where`."""
    schema, blocks = read_container(plain, where)
    if schema != RECORD_SCHEMA:
        raise Corrupt(f"{where} is not a segment: its schema is another one")
    found: list[bytes] = []
    for block in blocks:
        expected = first + len(found)
        split = split_plainly(block, expected)
        if split is None:
            records = _decode(block, where)
            if [r.offset for r in records] != list(range(expected, expected + len(records))):
                raise ArchiveGap(f"{where}: the records from offset {expected} on are not those of its range")
            split = encode_records(records) if records else []
        found += split
    if len(found) != stop - first:
        raise ArchiveGap(f"{where} ends before offset {first + len(found)}, and should end before {stop}")
    return found


def read_record(data: bytes, where: str) -> Record:
    """The record that record bytes hold. Raises Corrupt naming `where`, also where they are not its one encoding."""
    (record,) = _decode(Block(1, data), where)
    if encode_records([record]) != [data]:
        raise Corrupt(f"{where} is not a record's one encoding")
    return record


def _decode(block: Block, where: str) -> list[Record]:
    found = decode_block(block, _PLAIN_RECORDS, where)
    records = [
        Record(offset, time, kind, key, _pairs(headers) if headers else (), value)
        for offset, time, kind, key, headers, value in map(dict.values, found)
    ]
    if not {record.time_type for record in records} <= TIME_TYPES:
        raise Corrupt(f"{where} holds a record of which nobody gave the time")
    return records


def _pairs(headers: Sequence[dict[str, Any]]) -> tuple[tuple[str, bytes | None], ...]:
    return tuple((header["key"], header["value"]) for header in headers)


def contiguous(
    batches: Iterable[Sequence[Record]], first: int, stop: int, where: str
) -> Iterator[Sequence[Record]]:
    """The batches, none empty, which must hold exactly the records from `first` to before `stop`.

    Raises ArchiveGap naming `where` and the offset, before a batch that does not follow is given out.
    """
    expected = first
    for batch in batches:
        follows = [r.offset for r in batch] == list(range(expected, expected + len(batch)))
        expected += len(batch)
        if not follows or expected > stop:
            raise ArchiveGap(f"{where}: the records before offset {expected} are not those of its range")
        if batch:
            yield batch
    if expected != stop:
        raise ArchiveGap(f"{where} ends before offset {expected}, and should end before {stop}")


def read_segment(plain: bytes, first: int, stop: int, where: str) -> list[Record]:
    """All records of a segment. Raises Corrupt or ArchiveGap naming `where`."""
    return [r for batch in contiguous(read_blocks(plain, where, first), first, stop, where) for r in batch]


def record_root(records: Sequence[Record]) -> bytes:
    """The root of the tree over a segment's records, computed anew from them."""
    return merkle.root([merkle.leaf_hash(record) for record in encode_records(records)])


def segment_key(partition: Partition, first: int, stop: int, time: int, digest: str, suffix: str = "") -> str:
    """The key of a segment. `time`: its first record's, milliseconds; `digest`: of its stored bytes, hex."""
    return f"log/{partition}/{_day(time)}/{first:020d}-{stop}-{digest}.avro{suffix}"


_LAST_DAY_MILLIS = 253_402_300_799_999


def _day(time: int) -> str:
    held = min(max(time, 0), _LAST_DAY_MILLIS)
    return datetime.fromtimestamp(held // 1000, UTC).date().isoformat()
