"""The Kafka log and a producer that gives up, without a broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from events.errors import LogUnavailable
from events.kafka_log import KafkaLog
from events.kafka_log.address import parse_address
from events.log import Entry
from events.position import EVENTS, TOPICS


class Stuck:
    """The broker went away while a batch waited to be sent: flushing does not end, and closing flushes once more."""

    def send(self, *_: object) -> None:
        pass

    def flush(self, timeout: float) -> None:
        raise KafkaTimeoutError

    def close(self, timeout: float) -> None:
        raise KafkaTimeoutError


@pytest.fixture
def log() -> KafkaLog:
    standing: Any = {name: SimpleNamespace(partitions=1) for name in TOPICS}
    topics: Any = SimpleNamespace(close=lambda: None)
    made = KafkaLog(parse_address("kafka://127.0.0.1:1/"), topics, standing)
    made._producer = Stuck()
    return made


def test_a_producer_that_cannot_be_closed_either_is_an_error_of_ours(log: KafkaLog) -> None:
    with pytest.raises(LogUnavailable, match="KafkaTimeoutError"):
        log.append(EVENTS, [Entry(b"k", b"v")])
    assert log._producer is None, "the next append gets another one"


def test_a_log_is_closed_whatever_its_producer_says(log: KafkaLog) -> None:
    log.close()
