"""Reading records with kafka-python: small ranges, ends, times. One consumer serves one thread at a time.

Every record's time counts as the log's own, whatever type the brokers keep for its batch: topics are verified to give
LogAppendTime, and a restore, which has to produce with CreateTime, writes the times that the lost log gave. A restored
record is then the one that was archived, which is how an archive knows the log as its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors

from events.errors import LogGap
from events.kafka_log.address import Address
from events.kafka_log.failures import failures_of, unavailable
from events.log import Record, TimeType
from events.position import Partition

BATCH_BYTES = 1024 * 1024
_IDLE_CONSUMERS = 4


class Consumers:
    """Consumers that are lent to one thread each; the one that stands where the next read begins is lent first."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._idle: list[tuple[tuple[TopicPartition, int] | None, Any]] = []

    @contextmanager
    def lend(self, at: tuple[TopicPartition, int] | None = None) -> Iterator[_Lent]:
        lent = _Lent(*self._take(at))
        try:
            with failures_of(self._address):
                yield lent
        except BaseException:
            lent.consumer.close(autocommit=False, timeout_ms=0)
            raise
        self._put(lent)

    def _take(self, at: tuple[TopicPartition, int] | None) -> tuple[tuple[TopicPartition, int] | None, Any]:
        with self._lock:
            for index, (standing, _) in enumerate(self._idle):
                if standing == at:
                    return self._idle.pop(index)
            if self._idle:
                return self._idle.pop()
        with failures_of(self._address):
            return None, KafkaConsumer(
                bootstrap_servers=list(self._address.servers),
                bootstrap_timeout_ms=self._address.deadline_millis,
                request_timeout_ms=self._address.deadline_millis,
                auto_offset_reset="none",
                enable_auto_commit=False,
                allow_auto_create_topics=False,
            )

    def _put(self, lent: _Lent) -> None:
        with self._lock:
            if len(self._idle) < _IDLE_CONSUMERS:
                self._idle.append((lent.standing, lent.consumer))
                return
        lent.consumer.close(autocommit=False, timeout_ms=0)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, consumer in idle:
            consumer.close(autocommit=False, timeout_ms=0)


class _Lent:
    """A consumer and where it stands (topic partition, next offset), None if nowhere in particular."""

    __slots__ = ("consumer", "standing")

    def __init__(self, standing: tuple[TopicPartition, int] | None, consumer: Any) -> None:
        self.standing = standing
        self.consumer = consumer


def read_small(
    lent: _Lent, address: Address, partition: Partition, start: int, stop: int
) -> Iterator[list[Record]]:
    """The records of a range that is known to end before the log does."""
    consumer = lent.consumer
    of = TopicPartition(address.physical(partition.topic), partition.number)
    if lent.standing != (of, start):
        consumer.assign([of])
        consumer.seek(of, start)
    lent.standing = None
    deadline = time.monotonic() + address.deadline_seconds
    while start < stop:
        try:
            found = consumer.poll(timeout_ms=500, max_records=min(500, stop - start)).get(of, [])
        except errors.OffsetOutOfRangeError:
            raise gap(partition, start, min(stop, _first(consumer, of, address))) from None
        if not found:
            _refuse_endless(consumer, of, address, partition, start, stop, deadline)
            continue
        records = [_record(r) for r in found]
        refuse_gap(partition, start, records)
        start = records[-1].offset + 1
        deadline = time.monotonic() + address.deadline_seconds
        yield from bounded(records)
    lent.standing = (of, start)


def _refuse_endless(
    consumer: Any,
    of: TopicPartition,
    address: Address,
    partition: Partition,
    start: int,
    stop: int,
    deadline: float,
) -> None:
    """Nothing came: raises LogGap if it never will, LogUnavailable after the deadline."""
    refuse_beyond(partition, start, stop, consumer.end_offsets([of], address.deadline_millis)[of])
    if time.monotonic() > deadline:
        raise unavailable(address, f"no record of {partition} came in {address.deadline_seconds:g} s")


def _first(consumer: Any, of: TopicPartition, address: Address) -> int:
    return int(consumer.beginning_offsets([of], address.deadline_millis)[of])


def _record(r: Any) -> Record:
    return Record(r.offset, r.timestamp, TimeType.APPEND, r.key, tuple(map(tuple, r.headers)), r.value)


def bounded(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Batches of about BATCH_BYTES."""
    batch: list[Record] = []
    size_bytes = 0
    for record in records:
        batch.append(record)
        size_bytes += len(record.value or b"")
        if size_bytes >= BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def refuse_gap(partition: Partition, start: int, records: Sequence[Record]) -> None:
    """Raises LogGap unless the records follow each other from `start` on."""
    if records[0].offset == start and records[-1].offset - start + 1 == len(records):
        return
    for record in records:
        if record.offset != start:
            raise gap(partition, start, record.offset)
        start += 1


def refuse_beyond(partition: Partition, start: int, stop: int, end: int) -> None:
    """Raises LogGap if the partition ends before `stop`."""
    if stop > end:
        raise gap(partition, max(start, end), stop)


def gap(partition: Partition, start: int, stop: int) -> LogGap:
    return LogGap(
        f"{partition}: offsets {start} to {stop - 1} are not on the log",
        "recover from the archive: it may hold them; look at the topic's retention",
    )


def ends(
    lent: _Lent, address: Address, partitions: Iterable[Partition], *, first: bool = False
) -> dict[Partition, int]:
    """The next (or the first) offset of each partition."""
    asked = {TopicPartition(address.physical(p.topic), p.number): p for p in partitions}
    lookup = lent.consumer.beginning_offsets if first else lent.consumer.end_offsets
    try:
        found = lookup(list(asked), address.deadline_millis)
    except KeyError:
        # kafka-python 3.0.12 passes over partitions whose leader it does not know yet; asked for one alone it waits.
        found = {of: lookup([of], address.deadline_millis)[of] for of in asked}
    return {asked[of]: offset for of, offset in found.items()}
