"""Brings a lost log back onto Kafka: the same offsets, times, keys, headers and order in new topics.

Topics are made with CreateTime, so that the producer gives the times, and without a flush a record; when all stands
they are set as a log's must be (old times stay), and last the topic `rekam.restoring` is deleted, which opens the log.
Records are produced anew, never copied as batches: a batch that keeps its producer's id makes brokers take a later
producer's acknowledged write for a duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from events.errors import LogUnavailable, Refused
from events.kafka_log import reading
from events.kafka_log.address import parse_address
from events.kafka_log.bulk import BulkProducer
from events.kafka_log.topics import RESTORING, Topic, Topics, refuse_standing, settings_for
from events.log import Record, TimeType, refuse_discontinuous
from events.partitioning import all_partitions, partition_counts
from events.position import TOPICS, Partition, Position

_NO_LIMIT = str(2**63 - 1)
WHILE_RESTORING = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": _NO_LIMIT,
    "flush.messages": _NO_LIMIT,
}
_MARKER = Partition(RESTORING, 0)


class KafkaRestorer:
    """See `LogRestorer`. One at a time: two that restore the same log find each other out at `finish`, and fail."""

    def __init__(self, url: str) -> None:
        self._address = parse_address(url)
        self._topics: Topics | None = None
        self._producer: BulkProducer | None = None
        self._ends: dict[Partition, int] = {}

    def begin(self, partitions: Mapping[str, int], source: str = "") -> Position:
        counts = partition_counts(partitions)
        topics = self._topics = self._topics or Topics(self._address)
        standing = topics.standing()
        refuse_standing(standing, self._address)
        what = json.dumps({"partitions": counts, "source": source}, sort_keys=True).encode()
        if not self._resumable(standing, counts, what):
            topics.delete(name for name in standing if name != RESTORING)
            topics.delete(name for name in standing if name == RESTORING)
            self._mark(topics, what)
            topics.make(counts, WHILE_RESTORING)
        self._producer = BulkProducer(self._address)
        self._ends = self._read_ends(all_partitions(counts))
        return Position(self._ends)

    def _resumable(self, standing: Mapping[str, Topic], counts: Mapping[str, int], what: bytes) -> bool:
        """Whether all topics stand, made by a restore of the same."""
        found = {name: topic.partitions for name, topic in standing.items() if name != RESTORING}
        return found == dict(counts) and self._marked() == what

    def _mark(self, topics: Topics, what: bytes) -> None:
        topics.make({RESTORING: 1})
        producer = BulkProducer(self._address)
        producer.write(_MARKER, [Record(0, 1, TimeType.CREATE, None, (), what)])
        producer.flush()

    def _marked(self) -> bytes | None:
        end = self._read_ends([_MARKER])[_MARKER]
        consumers = reading.Consumers(self._address)
        try:
            with consumers.lend() as lent:
                records = [r for b in reading.read_small(lent, self._address, _MARKER, 0, end) for r in b]
        finally:
            consumers.close()
        return records[-1].value if records else None

    def _read_ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        consumers = reading.Consumers(self._address)
        try:
            with consumers.lend() as lent:
                return reading.ends(lent, self._address, partitions)
        finally:
            consumers.close()

    def write(self, partition: Partition, records: Sequence[Record]) -> None:
        if self._producer is None:
            raise Refused(f"{self._address}: no restore was begun")
        refuse_discontinuous(partition, self._ends[partition], records)
        self._producer.write(partition, records)
        self._ends[partition] += len(records)

    def finish(self) -> None:
        if self._producer is None or self._topics is None:
            raise Refused(f"{self._address}: no restore was begun")
        self._producer.flush()
        found = self._read_ends(list(self._ends))
        if found != self._ends:
            raise LogUnavailable(
                f"{self._address}: the restored topics do not end where they should",
                "somebody else writes to them: stop that, then begin again",
            )
        topics = self._topics
        standing = topics.standing()
        for name in TOPICS:
            wanted = settings_for(standing[name].replicas)
            topics.set([name], {**dict.fromkeys(WHILE_RESTORING, None), **wanted})
        topics.await_verified(standing[name] for name in TOPICS)
        topics.delete([RESTORING])
        self._producer = None

    def close(self) -> None:
        """Whatever was written waits for the next `begin`."""
        if self._producer is not None:
            self._producer.flush()
            self._producer = None
        if self._topics is not None:
            self._topics.close()
            self._topics = None
