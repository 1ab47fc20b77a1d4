"""The log on Kafka. Keeps the port's contract on top of what Kafka gives: see events/log.py and the design's "Log".

- acks=all, an idempotent producer, the partition always given. After any failed append the producer is replaced: one
  rejected record makes an idempotent producer of kafka-python fail every later one.
- Whatever is asked has a deadline; when it passes the call is LogUnavailable, never a shorter answer.
- Ends are read data first, control last. A stop beyond what is known is checked against the brokers before reading,
  so that a log that lost its end says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from kafka import KafkaProducer, TopicPartition, errors

from events.errors import BadInput, LogMissing, LogUnavailable
from events.kafka_log import bulk, reading
from events.kafka_log.address import Address, parse_address
from events.kafka_log.failures import failure, failures_of, unavailable
from events.kafka_log.topics import MAX_MESSAGE_BYTES, Topic, Topics, stands
from events.log import Entry, Placed, Record, refuse_unfit
from events.partitioning import all_partitions, partition_counts, partition_number, refuse_changed_counts
from events.position import CONTROL, CONTROL_PARTITION, TOPICS, Partition, Position

BULK_RECORDS = 2_000
"""From how many records on a range is read by the bulk path, which takes some milliseconds to begin."""
_LINGER_MILLIS = 50
"""Entries of one append gather in batches for so long; the flush that ends each append sends them at once."""
_BATCH_BYTES = 512 * 1024
_CLOSE_SECONDS = 0.5


class KafkaLog:
    """Made by `open`. Safe for concurrent threads."""

    def __init__(self, address: Address, topics: Topics, standing: Mapping[str, Topic]) -> None:
        self.address = address
        self.partitions: Mapping[str, int] = {name: standing[name].partitions for name in TOPICS}
        self._topics = topics
        self._consumers = reading.Consumers(address)
        self._producer: Any = None
        self._lock = threading.Lock()
        self._known_ends: dict[Partition, int] = {}

    @classmethod
    def open(cls, url: str, *, create: bool = False, partitions: Mapping[str, int] | None = None) -> Self:
        """The log at an address; `partitions` over those of the URL.

        Raises LogMissing where there is none and it is not to be made, BadConfiguration naming topic and setting or
        count where it is not as it must be, LogRecreated where topics of it are gone, LogUnavailable.
        """
        address = parse_address(url)
        given = partitions or address.counts
        topics = Topics(address)
        try:
            standing = topics.standing()
            if not stands(standing, address):
                if not create:
                    raise LogMissing(
                        f"{address}: there is no log",
                        "'rekam recover --to latest' brings a lost one back; for a new clinic 'rekam init' makes one",
                    )
                counts = partition_counts(given)
                topics.make({name: counts[name] for name in sorted(TOPICS, key=CONTROL.__eq__)})
                standing = topics.standing()
            counts = {name: standing[name].partitions for name in TOPICS}
            refuse_changed_counts(str(address), counts, given)
            topics.verify(standing[name] for name in TOPICS)
            return cls(address, topics, standing)
        except BaseException:
            topics.close()
            raise

    # ---- appending

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        refuse_unfit(entries)
        if topic not in self.partitions:
            raise BadInput(f"{self.address}: the log has no topic {topic}")
        if not entries:
            return []
        producer = self._current_producer()
        try:
            return self._append(producer, topic, entries)
        except errors.KafkaError as error:
            self._replace(producer)
            raise failure(error, self.address) from error
        except LogUnavailable:
            self._replace(producer)
            raise

    def _append(self, producer: Any, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        physical, count = self.address.physical(topic), self.partitions[topic]
        deadline = time.monotonic() + self.address.deadline_seconds
        sent = []
        for key, value, headers in entries:
            partition = Partition(topic, partition_number(key, count))
            future = producer.send(physical, value, key, list(headers), partition.number)
            sent.append((partition, future))
        producer.flush(timeout=max(0.001, deadline - time.monotonic()))
        placed = []
        for partition, future in sent:
            found = future.get(timeout=max(0.001, deadline - time.monotonic()))
            if found.offset < 0:
                raise unavailable(self.address, "the brokers did not say where a record stands")
            placed.append(Placed(partition, found.offset, found.timestamp))
            self._learn(partition, found.offset + 1)
        return placed

    def _current_producer(self) -> Any:
        with self._lock, failures_of(self.address):
            if self._producer is None:
                self._producer = KafkaProducer(
                    bootstrap_servers=list(self.address.servers),
                    bootstrap_timeout_ms=self.address.deadline_millis,
                    max_block_ms=self.address.deadline_millis,
                    request_timeout_ms=self.address.deadline_millis // 2,
                    delivery_timeout_ms=self.address.deadline_millis,
                    acks="all",
                    enable_idempotence=True,
                    allow_auto_create_topics=False,
                    compression_type="lz4",
                    linger_ms=_LINGER_MILLIS,
                    batch_size=_BATCH_BYTES,
                    max_request_size=2 * MAX_MESSAGE_BYTES,
                )
            return self._producer

    def _replace(self, producer: Any) -> None:
        with self._lock:
            if self._producer is producer:
                self._producer = None
        _close(producer)

    # ---- reading

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Sequence[Record]]:
        self._refuse_unknown(partition)
        if start >= stop:
            return
        if stop > self._known_ends.get(partition, 0):
            reading.refuse_beyond(partition, start, stop, self._ends([partition])[partition])
        if stop - start >= BULK_RECORDS:
            with failures_of(self.address):
                yield from bulk.read_bulk(self.address, partition, start, stop)
            return
        of = TopicPartition(self.address.physical(partition.topic), partition.number)
        with self._consumers.lend((of, start)) as lent:
            batches = list(reading.read_small(lent, self.address, partition, start, stop))
        yield from batches

    def first_later(self, partition: Partition, start: int, stop: int, time: int) -> int | None:
        self._refuse_unknown(partition)
        of = TopicPartition(self.address.physical(partition.topic), partition.number)
        with self._consumers.lend() as lent:
            found = lent.consumer.offsets_for_times({of: time + 1}, self.address.deadline_millis)[of]
        stop = min(stop, self._ends([partition])[partition])
        if found is None or start >= stop:
            return None
        if (
            found.offset < start
        ):  # a clock ran ahead before the range: the brokers answer with that record only
            return self._scan(partition, start, stop, time)
        return self._first_of_batch(partition, start, found.offset, stop, time)

    def _scan(self, partition: Partition, start: int, stop: int, time: int) -> int | None:
        for batch in self.read(partition, start, stop):
            for record in batch:
                if record.time > time:
                    return record.offset
        return None

    def _first_of_batch(
        self, partition: Partition, start: int, found: int, stop: int, time: int
    ) -> int | None:
        """The brokers' time index may name a later record of the batch: looks back while times are still later."""
        first = found
        while first > start:
            low = max(start, first - BULK_RECORDS + 1)
            before = [r for batch in self.read(partition, low, first) for r in batch]
            earlier = next((r.offset + 1 for r in reversed(before) if r.time <= time), low)
            moved, first = earlier != first, earlier
            if earlier > low or not moved:
                break
        return first if first < stop else None

    def start(self) -> Position:
        with self._consumers.lend() as lent:
            return Position(reading.ends(lent, self.address, all_partitions(self.partitions), first=True))

    def end(self) -> Position:
        *data, control = all_partitions(self.partitions)
        if control != CONTROL_PARTITION:
            raise AssertionError("control's partition comes last")
        return Position({**self._ends(data), **self._ends([control])})

    def _ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        with self._consumers.lend() as lent:
            found = reading.ends(lent, self.address, partitions)
        for partition, end in found.items():
            self._learn(partition, end)
        return found

    def _learn(self, partition: Partition, end: int) -> None:
        self._known_ends[partition] = max(end, self._known_ends.get(partition, 0))

    def identity(self) -> Mapping[str, str]:
        standing = self._topics.standing()
        stands(standing, self.address)
        if not all(name in standing for name in TOPICS):
            raise LogMissing(f"{self.address}: there is no log any more", "`rekam recover` restores it")
        return {name: standing[name].topic_id for name in TOPICS}

    def close(self) -> None:
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            _close(producer)
        self._consumers.close()
        self._topics.close()

    def _refuse_unknown(self, partition: Partition) -> None:
        if not 0 <= partition.number < self.partitions.get(partition.topic, 0):
            raise BadInput(f"{self.address}: the log has no partition {partition}")


def _close(producer: Any) -> None:
    """What it could not send in time was told as an error already; its own complaint would hide that one."""
    with suppress(errors.KafkaError):
        producer.close(timeout=_CLOSE_SECONDS)
