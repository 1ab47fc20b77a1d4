"""The places where a log can stand, one for each adapter: what the contract suite needs beside the port.

A new adapter joins by a class with these five methods and a line in `PLACES`.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest
from kafka import KafkaAdminClient, TopicPartition

from events.kafka_log import KafkaLog, KafkaRestorer
from events.kafka_log.address import parse_address
from events.kafka_log.topics import Topics
from events.log import EventLog, LogRestorer
from events.memory_log import MemoryPlace, MemoryRestorer
from events.position import Partition
from events.sqlite_log import SqliteLog, SqliteRestorer
from tests.servers import BUSY_SECONDS


class Place(Protocol):
    """Where one log may stand."""

    def open(self, partitions: Mapping[str, int] | None = None, *, create: bool = False) -> EventLog: ...

    def restorer(self) -> LogRestorer: ...

    def lose(self) -> None:
        """The log is gone, as after the loss of its disks; whoever has it open has closed it."""
        ...

    def lose_records(self, topic: str, number: int, stop: int) -> None:
        """Records before `stop` are gone that were there."""
        ...

    def discard(self) -> None: ...


class MemorySite:
    def __init__(self) -> None:
        self._place = MemoryPlace()
        self.open = self._place.open

    def restorer(self) -> LogRestorer:
        return MemoryRestorer(self._place)

    def lose(self) -> None:
        self._place.log = None

    def lose_records(self, topic: str, number: int, stop: int) -> None:
        self.open().drop(Partition(topic, number), stop)

    def discard(self) -> None:
        pass


class SqliteSite:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.db"
        self._opened: list[SqliteLog] = []

    def open(self, partitions: Mapping[str, int] | None = None, *, create: bool = False) -> SqliteLog:
        log = SqliteLog(self.path, create=create, partitions=partitions)
        self._opened.append(log)
        return log

    def restorer(self) -> LogRestorer:
        return SqliteRestorer(self.path)

    def lose(self) -> None:
        self.path.unlink()

    def lose_records(self, topic: str, number: int, stop: int) -> None:
        with sqlite3.connect(self.path) as connection:
            (id_,) = connection.execute(
                "SELECT id FROM partitions WHERE topic = ? AND number = ?", (topic, number)
            ).fetchone()
            connection.execute(f'DELETE FROM records_{id_} WHERE "offset" < ?', (stop,))
        connection.close()

    def discard(self) -> None:
        for log in self._opened:
            log.close()


class KafkaSite:
    """A log of its own on a shared broker, by its prefix."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self.prefix = f"contract-{uuid.uuid4().hex[:12]}."
        self.url = f"kafka://{servers}/{self.prefix}?deadline_seconds={BUSY_SECONDS}"

    def open(self, partitions: Mapping[str, int] | None = None, *, create: bool = False) -> KafkaLog:
        return KafkaLog.open(self.url, create=create, partitions=partitions)

    def restorer(self) -> LogRestorer:
        return KafkaRestorer(self.url)

    def lose(self) -> None:
        topics = Topics(parse_address(self.url))
        topics.delete(topics.standing())
        topics.close()

    def lose_records(self, topic: str, number: int, stop: int) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self._servers)
        admin.delete_records({TopicPartition(self.prefix + topic, number): stop})
        admin.close()

    def discard(self) -> None:
        self.lose()


PLACES: dict[str, Callable[[pytest.FixtureRequest], Place]] = {
    "memory": lambda request: MemorySite(),
    "sqlite": lambda request: SqliteSite(request.getfixturevalue("tmp_path")),
    "kafka": lambda request: KafkaSite(request.getfixturevalue("kafka_server")),
}
