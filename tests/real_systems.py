"""Systems for tests under the real clock, on logs, tables and stores that outlast a process."""

from __future__ import annotations

import secrets
import time
import uuid
from pathlib import Path
from random import Random

import psycopg
from kafka import KafkaProducer

from events.clock import wall_millis
from events.errors import LogMissing
from events.kafka_log import KafkaLog
from events.log import EventLog, LogRestorer
from events.patient_keys import SECRET_BYTES
from events.position import EVENTS
from events.sqlite_keys import SqliteKeys
from replicator.stores import ObjectStore
from tests.log_places import Place
from tests.systems import HandClock, TestSystem


class WallClock(HandClock):
    """The machine's clock. Setting it waits until it is that late."""

    def __init__(self) -> None:
        pass

    def __call__(self) -> int:
        return wall_millis()

    @property
    def now(self) -> int:  # type: ignore[override]
        return wall_millis()

    @now.setter
    def now(self, now: int) -> None:
        while wall_millis() < now:
            time.sleep(0.001)


class RealSystem(TestSystem):
    """A system whose log stands at `site`, opened once and kept until it is lost; patients' keys in `folder`."""

    def __init__(
        self, site: Place, store: ObjectStore, tables_at: str, counts: dict[str, int], folder: Path
    ) -> None:
        self.site = site
        self.folder = folder
        self._log: EventLog | None = None
        super().__init__(tables_at, WallClock(), store, counts)
        self._keep(site.open(counts, create=True))

    def _keep(self, log: EventLog) -> EventLog:
        self._close, log.close = log.close, lambda: None  # type: ignore[method-assign]
        self._log = log
        return log

    def log(self) -> EventLog:
        return self._log or self._keep(self.site.open())

    def new_keys(self) -> SqliteKeys:
        for lost in self.folder.glob("patients.db*"):
            lost.unlink()
        wrapping = self.folder / "wrapping.key"
        wrapping.write_text(secrets.token_hex(SECRET_BYTES))
        return SqliteKeys(self.folder / "patients.db", wrapping)

    def restorer(self) -> LogRestorer:
        return self.site.restorer()

    @property
    def log_stands(self) -> bool:
        try:
            self.log()
        except LogMissing:
            return False
        return True

    def lose_log(self) -> None:
        self._let_go()
        self.site.lose()

    def _let_go(self) -> None:
        if self._log is not None:
            self._log = None
            self._close()

    def lose_tables(self) -> None:
        if self.tables_at.startswith("sqlite:"):
            super().lose_tables()
        else:
            url, _, schema = self.tables_at.partition("?schema=")
            with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())

    def misplace(self, key: bytes, value: bytes, random: Random) -> None:
        """Only where anybody can produce."""
        log = self.log()
        if not isinstance(log, KafkaLog):
            return
        producer = KafkaProducer(bootstrap_servers=list(log.address.servers), acks="all")
        for number in range(log.partitions[EVENTS]):
            if random.random() < 0.5:
                sent = producer.send(log.address.physical(EVENTS), value, key, partition=number)
                sent.get(timeout=30)
        producer.close()

    def discard(self) -> None:
        self._let_go()
        self.site.discard()
        self.lose_tables()
        self.kept_keys.close()


def fresh_schema(url: str) -> str:
    """The tables' URL with a schema of its own."""
    return f"{url}?schema=laws_{uuid.uuid4().hex[:12]}"
