"""A log in memory: for tests and for looking into histories. Keeps the port's contract, and nothing else.

Safe for concurrent threads. A `MemoryPlace` is to it what a file is to the SQLite log: where a log can be made,
opened again, lost and restored.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from events.clock import Clock, wall_millis
from events.errors import BadInput, LogGap, LogMissing, Refused
from events.log import Entry, Placed, Record, TimeType, refuse_discontinuous, refuse_unfit
from events.partitioning import all_partitions, partition_counts, partition_number, refuse_changed_counts
from events.position import Partition, Position

BATCH_RECORDS = 1_000
BATCH_BYTES = 1024 * 1024


class MemoryLog:
    """`clock` gives milliseconds; times never run backwards whatever it says."""

    def __init__(
        self,
        partitions: Mapping[str, int] | None = None,
        *,
        clock: Clock = wall_millis,
        log_id: str = "memory",
    ) -> None:
        self.partitions: Mapping[str, int] = partition_counts(partitions)
        self.clock = clock
        self.records: dict[Partition, list[Record]] = {p: [] for p in all_partitions(self.partitions)}
        self._log_id = log_id
        self._first: dict[Partition, int] = {}
        self._newest = 0
        self._lock = threading.Lock()

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        refuse_unfit(entries)
        if topic not in self.partitions:
            raise BadInput(f"the log has no topic {topic}")
        count = self.partitions[topic]
        with self._lock:
            self._newest = max(self._newest, self.clock())
            return [self._put(Partition(topic, partition_number(e.key, count)), e) for e in entries]

    def _put(self, partition: Partition, entry: Entry) -> Placed:
        records = self.records[partition]
        placed = Placed(partition, len(records), self._newest)
        headers = tuple(entry.headers)
        records.append(Record(placed.offset, placed.time, TimeType.APPEND, entry.key, headers, entry.value))
        return placed

    def drop(self, partition: Partition, stop: int) -> None:
        """Loses the records before `stop`, as a log does whose retention was set: they are a gap from now on."""
        self._first[partition] = stop

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Sequence[Record]]:
        records = self._of(partition)
        first = self._first.get(partition, 0)
        if start < min(first, stop):
            raise LogGap(f"{partition}: offsets {start} to {min(first, stop) - 1} are not on the log")
        if stop > max(start, len(records)):
            raise LogGap(f"{partition}: offsets {max(start, len(records))} to {stop - 1} are not on the log")
        while start < stop:
            batch, size_bytes = [], 0
            for record in records[start : min(stop, start + BATCH_RECORDS)]:
                batch.append(record)
                size_bytes += len(record.value or b"")
                if size_bytes >= BATCH_BYTES:
                    break
            yield batch
            start += len(batch)

    def _of(self, partition: Partition) -> list[Record]:
        if partition not in self.records:
            raise BadInput(f"the log has no partition {partition}")
        return self.records[partition]

    def first_later(self, partition: Partition, start: int, stop: int, time: int) -> int | None:
        records = self._of(partition)
        return next((n for n in range(start, min(stop, len(records))) if records[n].time > time), None)

    def start(self) -> Position:
        return Position({p: self._first.get(p, 0) for p in self.records})

    def end(self) -> Position:
        return Position({p: len(records) for p, records in self.records.items()})

    def identity(self) -> Mapping[str, str]:
        return dict.fromkeys(self.partitions, self._log_id)

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class MemoryPlace:
    """Where a log in memory may stand. Each log that is made here has an identity of its own."""

    clock: Clock = wall_millis
    log: MemoryLog | None = None
    half_restored: MemoryLog | None = None
    restored_from: str = ""
    made: int = 0

    def open(self, partitions: Mapping[str, int] | None = None, *, create: bool = False) -> MemoryLog:
        """The log that stands here, or a new one. Raises LogMissing, BadConfiguration."""
        if self.log is None:
            if not create:
                raise LogMissing("there is no log in this place", "make one, or restore it")
            self.log = self.new(partitions)
        refuse_changed_counts("memory", self.log.partitions, partitions)
        return self.log

    def new(self, partitions: Mapping[str, int] | None) -> MemoryLog:
        self.made += 1
        return MemoryLog(partitions, clock=self.clock, log_id=f"memory-{self.made}")


class MemoryRestorer:
    """Brings a lost log back into a place. See `LogRestorer`."""

    def __init__(self, place: MemoryPlace) -> None:
        self._place = place

    def begin(self, partitions: Mapping[str, int], source: str = "") -> Position:
        if self._place.log is not None:
            raise Refused("a log is there already", "a restore never writes over a log")
        place, half = self._place, self._place.half_restored
        if half is None or (half.partitions, place.restored_from) != (partition_counts(partitions), source):
            half = place.half_restored = place.new(partitions)
            place.restored_from = source
        return half.end()

    def write(self, partition: Partition, records: Sequence[Record]) -> None:
        held = self._half().records[partition]
        refuse_discontinuous(partition, len(held), records)
        held.extend(records)

    def _half(self) -> MemoryLog:
        if self._place.half_restored is None:
            raise Refused("no restore was begun here")
        return self._place.half_restored

    def finish(self) -> None:
        log = self._half()
        log._newest = max((r.time for records in log.records.values() for r in records), default=0)
        self._place.log, self._place.half_restored = log, None

    def close(self) -> None:
        """Nothing to let go of; what was written waits for the next `begin`."""
