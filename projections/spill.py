"""The first pass of a rebuild: records into buckets of whole streams, undecoded.

A record's stream is its key, if it is an event of ours; that its value says the same is seen from a few bytes behind
the envelope's head (an envelope never changes). What does not look so is decoded here, once, to say why it is none.
Buckets are by a hash of the stream, so that each can be judged and folded by itself, in any process; within a bucket
the records of a partition keep their order. Up to MEMORY_BYTES stay in memory, beyond that they go to temporary files
(marshal: written and read by this program alone, within one call).
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from events.codec import Unreadable, decode_events
from events.log import LogReader, Record
from events.position import Partition, Position
from projections.judging import BAD_STREAM, NO_VALUE, WRONG_KEY, WRONG_PARTITION, Homes, unreadable_row
from projections.rows import Row

MEMORY_BYTES = 48 * 1024 * 1024
RECORD_BYTES = 150
"""What a record takes in memory besides its value."""
SHORT_KEY = 63
"""Bytes of a key whose length Avro writes in one byte."""
_HEAD = 26
"""Where the branch of the epoch stands in a value: behind magic, fingerprint and event id."""

Spilled: TypeAlias = tuple[int, int, bytes]
"""(offset, log time in milliseconds, value)"""


class Range(NamedTuple):
    """Records of one partition with start <= offset < stop."""

    partition: Partition
    start: int
    stop: int


class Bucket(NamedTuple):
    """Where the records of some streams lie: files written one after the other, or memory."""

    files: tuple[str, ...]
    held: tuple[bytes, ...]

    def chunks(self) -> Iterator[tuple[Partition, list[Spilled]]]:
        """The records, each partition's in order."""
        for name in self.files:
            with Path(name).open("rb") as file:
                while head := file.read(8):
                    yield _unpacked(file.read(int.from_bytes(head, "big")))
        for packed in self.held:
            yield _unpacked(packed)


def _packed(partition: Partition, records: list[Spilled]) -> bytes:
    return marshal.dumps((partition.topic, partition.number, records))


def _unpacked(packed: bytes) -> tuple[Partition, list[Spilled]]:
    topic, number, records = marshal.loads(packed)
    return Partition(topic, number), records


class Spilling(NamedTuple):
    """What one worker made of its ranges."""

    buckets: list[Bucket]
    unreadable: list[Row]


class Plan(NamedTuple):
    """How one pass spills."""

    buckets: int
    end: Position
    """The source's end, which names every partition."""
    in_memory: bool
    """Whether what fits may stay in memory: not where another process reads it."""


class _Route(NamedTuple):
    """Where the records of one key go."""

    bucket: int
    text: bytes
    """The key as a value holds it: Avro's length, then its bytes. Empty where it cannot be told so easily."""
    reason: str | None
    """Why no event of ours has this key in this partition."""


def spill(source: LogReader, ranges: Sequence[Range], plan: Plan, folder: Path, name: str) -> Spilling:
    """Reads the ranges in order and spills them into buckets. `name` keeps workers' files apart."""
    spiller = _Spiller(plan, folder, name)
    for partition, start, stop in ranges:
        spiller.begin(partition)
        for records in source.read(partition, start, stop):
            spiller.add(records)
    return spiller.finish()


class _Spiller:
    def __init__(self, plan: Plan, folder: Path, name: str) -> None:
        self._end = plan.end
        self._folder = folder
        self._name = name
        self._in_memory = plan.in_memory
        self._count = plan.buckets
        self._files: list[Path | None] = [None] * plan.buckets
        self._unreadable: list[Row] = []
        self._size_bytes = 0
        self._homes: dict[str, Homes] = {}
        self._pending: dict[Partition, list[list[Spilled]]] = {}

    def begin(self, partition: Partition) -> None:
        self._partition = partition
        self._homes.setdefault(partition.topic, Homes(partition.topic, self._end))
        self._lists = self._pending.setdefault(partition, [[] for _ in range(self._count)])
        self._routes: dict[bytes | None, _Route] = {}

    def add(self, records: Sequence[Record]) -> None:
        routes, lists = self._routes, self._lists
        size_bytes = 0
        for record in records:
            offset, time, _, key, _, value = record
            route = routes.get(key) or self._route(key)
            bucket, text, reason = route
            if (
                value is None
                or reason is not None
                or len(value) <= _HEAD
                or not text
                or not value.startswith(text, _HEAD + 1 if value[_HEAD] == 0 else _HEAD + 17)
            ):
                refused = self._slowly(record, reason)
                if refused is not None:
                    self._unreadable.append(refused)
                    continue
                value = record.value or b""
            lists[bucket].append((offset, time, value))
            size_bytes += len(value)
        self._size_bytes += size_bytes + len(records) * RECORD_BYTES
        if self._size_bytes > MEMORY_BYTES:
            self._flush()

    def _route(self, key: bytes | None) -> _Route:
        route = self._made(key)
        self._routes[key] = route
        return route

    def _made(self, key: bytes | None) -> _Route:
        if key is None:
            return _Route(0, b"", None)
        bucket = zlib.crc32(key) % self._count
        text = bytes([2 * len(key)]) + key if len(key) <= SHORT_KEY else b""
        try:
            home = self._homes[self._partition.topic](key.decode())
        except UnicodeDecodeError:
            return _Route(0, b"", None)
        if home is None:
            return _Route(bucket, text, BAD_STREAM)
        return _Route(bucket, text, None if home == self._partition.number else WRONG_PARTITION)

    def _slowly(self, record: Record, reason: str | None) -> Row | None:
        """None for an event of ours, else its `unreadable` row; the same words as judging.sort_out."""
        event = decode_events([record.value])[0]
        if isinstance(event, Unreadable):
            why = NO_VALUE if record.value is None else event.reason
            return unreadable_row(self._partition, record, why, event.fingerprint)
        if record.key != event.stream.encode():
            reason = WRONG_KEY
        if reason is None:
            return None
        return unreadable_row(self._partition, record, reason, (record.value or b"")[2:10])

    def _flush(self) -> None:
        for bucket in range(self._count):
            parts = self._take(bucket)
            if parts:
                path = self._files[bucket] or self._folder / f"{self._name}-{bucket:04}"
                self._files[bucket] = path
                with path.open("ab") as file:
                    for part in parts:
                        file.write(len(part).to_bytes(8, "big"))
                        file.write(part)
        self._size_bytes = 0

    def _take(self, bucket: int) -> list[bytes]:
        parts = []
        for partition, lists in self._pending.items():
            if lists[bucket]:
                parts.append(_packed(partition, lists[bucket]))
                lists[bucket] = []
        self._lists = self._pending[self._partition]
        return parts

    def finish(self) -> Spilling:
        if not self._in_memory and self._pending:
            self._flush()
        buckets = []
        for bucket in range(self._count):
            path = self._files[bucket]
            held = self._take(bucket) if self._pending else []
            buckets.append(Bucket((str(path),) if path else (), tuple(held)))
        return Spilling(buckets, self._unreadable)
