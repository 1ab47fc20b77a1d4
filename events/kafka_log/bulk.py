"""The bulk paths, with confluent-kafka: reading long ranges, and producing what is restored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, TopicPartition

from events.errors import LogUnavailable
from events.kafka_log.address import Address
from events.kafka_log.failures import unavailable
from events.kafka_log.reading import bounded, gap, refuse_beyond, refuse_gap
from events.log import Record, TimeType
from events.position import Partition

_CHUNK = 4_000
_QUEUED_KILOBYTES = 32 * 1024
_OUT_OF_RANGE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


def read_bulk(address: Address, partition: Partition, start: int, stop: int) -> Iterator[list[Record]]:
    """The records of a range that is known to end before the log does."""
    consumer = _consumer(address)
    topic = address.physical(partition.topic)
    try:
        consumer.assign([TopicPartition(topic, partition.number, start)])
        deadline = time.monotonic() + address.deadline_seconds
        while start < stop:
            messages = consumer.consume(min(_CHUNK, stop - start), timeout=0.5)
            records = [
                _record(m) for m in messages if not _failed(m, address, partition, start, stop, consumer)
            ]
            if not records:
                _, end = consumer.get_watermark_offsets(
                    TopicPartition(topic, partition.number), timeout=address.deadline_seconds
                )
                refuse_beyond(partition, start, stop, end)
                if time.monotonic() > deadline:
                    raise unavailable(
                        address, f"no record of {partition} came in {address.deadline_seconds:g} s"
                    )
                continue
            refuse_gap(partition, start, records)
            start = records[-1].offset + 1
            deadline = time.monotonic() + address.deadline_seconds
            yield from bounded(records)
    finally:
        with suppress(RuntimeError):  # closed already
            consumer.close()


def _consumer(address: Address) -> Any:
    return confluent_kafka.Consumer(
        {
            "bootstrap.servers": ",".join(address.servers),
            "group.id": "rekam",  # wanted by the client; nothing is ever committed
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "check.crcs": True,
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": _QUEUED_KILOBYTES,
            "log_level": 0,
        }
    )


def _failed(
    message: Any, address: Address, partition: Partition, start: int, stop: int, consumer: Any
) -> bool:
    """Whether it is no record but an error to be waited out. Raises what is not."""
    error = message.error()
    if error is None:
        return False
    if error.code() in _OUT_OF_RANGE:
        first, _ = consumer.get_watermark_offsets(
            TopicPartition(address.physical(partition.topic), partition.number),
            timeout=address.deadline_seconds,
        )
        raise gap(partition, start, min(stop, max(first, start + 1)))
    if error.fatal() or not error.retriable():
        raise unavailable(address, error.name())
    return True


def _record(message: Any) -> Record:
    _, time_ = message.timestamp()
    headers = message.headers()
    return Record(
        message.offset(),
        time_,
        TimeType.APPEND,  # see `reading`
        message.key(),
        tuple(headers) if headers else (),
        message.value(),
    )


class BulkProducer:
    """Produces records as they were, pipelined; an error stops it for good, and no record is passed over."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._error: str | None = None
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": ",".join(address.servers),
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,
                "acks": "all",
                "compression.type": "lz4",
                "linger.ms": 20,
                "batch.size": 1_000_000,
                "message.max.bytes": 16 * 1024 * 1024,
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": 64 * 1024,
                "message.timeout.ms": address.deadline_millis,
                "delivery.report.only.error": True,
                "on_delivery": self._delivered,
                "log_level": 0,
            }
        )

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None and self._error is None:
            self._error = error.name()

    def write(self, partition: Partition, records: Sequence[Record]) -> None:
        """Queues records; raises LogUnavailable once anything before failed."""
        topic, produce = self._address.physical(partition.topic), self._producer.produce
        for record in records:
            headers = list(record.headers) or None
            while True:
                try:
                    produce(
                        topic,
                        record.value,
                        record.key,
                        partition.number,
                        timestamp=record.time,
                        headers=headers,
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
                    self._refuse_failed()
        self._producer.poll(0)
        self._refuse_failed()

    def flush(self) -> None:
        """Everything stands on return. Raises LogUnavailable."""
        left = self._producer.flush(self._address.deadline_seconds * 2)
        self._refuse_failed()
        if left:
            raise LogUnavailable(f"{self._address}: {left} records were not taken in time", "try again")

    def _refuse_failed(self) -> None:
        if self._error is not None:
            raise LogUnavailable(f"{self._address}: a record was not taken: {self._error}", "begin again")
