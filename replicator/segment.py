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

from fastavro import parse_schema

from events.errors import ArchiveGap, BadInput, Corrupt, LogGap
from events.log import Record
from events.position import Partition
from replicator import merkle
from replicator.canonical import canonical
from replicator.container import Block, decode_block, long_bytes, read_container, write_container

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
_TIME_TYPES = {0, 1}

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


def build(records: Sequence[Record]) -> Segment:
    """The segment of some contiguous records of one partition.

    Raises LogGap where an offset is missing, BadInput where a record cannot be held.
    """
    if not records:
        raise BadInput("a segment is not empty")
    first = records[0].offset
    stop = first + len(records)
    if first < 0 or [r.offset for r in records] != list(range(first, stop)):
        raise LogGap(f"the records from offset {first} on are not contiguous")
    encoded = encode_records(records)
    sha256 = hashlib.sha256
    leaves = [sha256(b"\0" + record).digest() for record in encoded]
    root = merkle.root(leaves)
    plain = write_container(SCHEMA_TEXT, sync_marker(root), _blocks(encoded))
    return Segment(plain, root, leaves[-1], first, stop)


def sync_marker(root: bytes) -> bytes:
    return hashlib.sha256(b"rekam segment\0" + root).digest()[:16]


def record_leaf(record: Record) -> bytes:
    """The leaf hash of one record."""
    return merkle.leaf_hash(encode_records([record])[0])


def _blocks(encoded: Sequence[bytes]) -> Iterator[Block]:
    start = size = 0
    for n, record in enumerate(encoded, 1):
        size += len(record)
        if size >= BLOCK_BYTES:
            yield Block(n - start, b"".join(encoded[start:n]))
            start, size = n, 0
    if start < len(encoded):
        yield Block(len(encoded) - start, b"".join(encoded[start:]))


# What Avro writes before some bytes that are not null, by their number.
_PRESENT = [b"\x02" + long_bytes(n) for n in range(8192)]
# The first byte of an offset, by its low six bits: with the bit that says "more follows", and without.
_LOW = [bytes((2 * n | 0x80,)) for n in range(64)]
_LOW_ALONE = [bytes((2 * n,)) for n in range(64)]


def encode_records(records: Sequence[Record]) -> list[bytes]:
    """The record bytes of contiguous records. Raises BadInput where one cannot be held."""
    times: dict[tuple[int, int], bytes] = {}
    keys: dict[bytes | None, bytes] = {}
    present, join = _PRESENT, b"".join
    limit = len(present)
    encoded = []
    offsets = _offset_bytes(records[0].offset, records[0].offset + len(records))
    for offset, (_, time, time_type, key, headers, value) in zip(offsets, records, strict=True):
        when = times.get((time, time_type)) or times.setdefault((time, time_type), _time(time, time_type))
        # An absent header list, the usual case, is a single zero: it is kept with the key.
        who = keys.get(key) or keys.setdefault(key, _optional(key) + b"\0")
        if headers:
            who = who[:-1] + _headers(headers)
        if value is None:
            encoded.append(join((offset, when, who, b"\0")))
        else:
            size = len(value)
            before = present[size] if size < limit else _present(size)
            encoded.append(join((offset, when, who, before, value)))
    return encoded


def _offset_bytes(first: int, stop: int) -> list[bytes]:
    """The longs of a range: 64 neighbours differ in their first byte alone."""
    result: list[bytes] = []
    for high in range(first >> 6, ((stop - 1) >> 6) + 1):
        if high:
            rest = _unsigned(high)
            result += [low + rest for low in _LOW]
        else:
            result += _LOW_ALONE
    skipped = first & 63
    return result[skipped : skipped + stop - first]


def _unsigned(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def _time(time: int, time_type: int) -> bytes:
    if time_type not in _TIME_TYPES or not -(2**63) <= time < 2**63:
        raise BadInput("a record's time, or who gave it, cannot be archived")
    return long_bytes(time) + long_bytes(time_type)


def _present(size: int) -> bytes:
    return b"\x02" + long_bytes(size)


def _optional(value: bytes | None) -> bytes:
    return b"\0" if value is None else _present(len(value)) + value


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    parts = [long_bytes(len(headers))]
    for name, value in headers:
        raw = name.encode()
        parts += (long_bytes(len(raw)), raw, _optional(value))
    return b"".join([*parts, b"\0"])


def read_blocks(plain: bytes, where: str) -> Iterator[list[Record]]:
    """The records of a segment, block by block. Raises Corrupt naming `where`."""
    schema, blocks = read_container(plain, where)
    if schema != RECORD_SCHEMA:
        raise Corrupt(f"{where} is not a segment: its schema is another one")
    for block in blocks:
        found = decode_block(block, _PLAIN_RECORDS, where)
        records = [
            Record(offset, time, kind, key, _pairs(headers) if headers else (), value)
            for offset, time, kind, key, headers, value in map(dict.values, found)
        ]
        if not {record.time_type for record in records} <= _TIME_TYPES:
            raise Corrupt(f"{where} holds a record of which nobody gave the time")
        yield records


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
    return [r for batch in contiguous(read_blocks(plain, where), first, stop, where) for r in batch]


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
