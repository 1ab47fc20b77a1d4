"""Whole systems for tests: a log, tables, an archive, each in memory or on the disk, under one clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from events.attachments import Attachments
from events.blobs import BlobStore, MemoryBlobs
from events.log import EventLog, LogReader, LogRestorer, Record, TimeType
from events.memory_log import MemoryPlace, MemoryRestorer
from events.patient_keys import KeyStore, MemoryKeys
from events.position import EVENTS
from events.sealing import Encoder, Opener, Reveal, Sealer
from projections.store import Tables, open_tables
from replicator.archive import Archive, ArchiveIndex, open_archive
from replicator.backups import Kind
from replicator.encryption import Identity, new_identity
from replicator.key_backup import KeyBackup
from replicator.memory_store import MemoryStore
from replicator.note import Signer
from replicator.shipper import Shipper
from replicator.stores import ObjectStore, Stored
from services.backups.policy import Keep, Policy
from services.backups.schedule import Schedule

CLINIC = "c" * 32
START = 1_700_000_000_000


@dataclass
class HandClock:
    """Milliseconds that only a test moves."""

    now: int = START

    def __call__(self) -> int:
        return self.now


class Died(Exception):
    """The process ended here."""


class DyingStore:
    """A store whose user dies at its n-th operation: before it, or after it was done and nobody heard of it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._left: int | None = None
        self._lock = threading.Lock()

    def die_after(self, operations: int) -> None:
        self._left = operations

    def live(self) -> None:
        self._left = None

    def _step(self) -> None:
        with self._lock:
            if self._left is not None:
                self._left -= 1
                if self._left < 0:
                    raise Died

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self._step()
        return self._store.get(key, start, length)

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        self._step()
        return self._store.list(prefix, after)

    def create(self, key: str, data: bytes) -> None:
        self._step()
        self._store.create(key, data)
        self._step()

    def remove(self, key: str) -> None:
        self._step()
        self._store.remove(key)


@dataclass
class TestSystem:
    """services.system.System over a log in memory, an object store, and tables in a file or at a URL."""

    __test__ = False  # not a class of tests

    tables_at: str
    clock: HandClock = field(default_factory=HandClock)
    store: ObjectStore = field(default_factory=MemoryStore)
    counts: dict[str, int] | None = None

    def __post_init__(self) -> None:
        self.seen: bytes | None = None
        self.rates: bytes | None = None
        self.planned = Schedule(full_millis=3_600_000)
        self.note: bytes | None = None
        text, recipient = new_identity()
        self.identity = Identity(text)
        self.signer = Signer(f"rekam/{CLINIC}", bytes(range(32)))
        self.kept_keys = self.new_keys()
        self.kept_blobs = MemoryBlobs()
        self.key_store: ObjectStore = MemoryStore(self.clock)
        self.place = MemoryPlace(self.clock)
        self.place.open(self.counts, create=True)
        Archive.create(
            self.store,
            self.signer,
            clinic_id=CLINIC,
            clinic_name="Test",
            archive_id="a" * 32,
            recipients=[recipient],
        )

    def new_keys(self) -> KeyStore:
        """An empty store of patients' keys."""
        return MemoryKeys(self.clock)

    def log(self) -> EventLog:
        return self.place.open()

    def restorer(self) -> LogRestorer:
        return MemoryRestorer(self.place)

    def tables(self, *, check: bool = True) -> Tables:
        return open_tables(self.tables_at, create=True, check=check, reveal=self.reveal())

    def patient_keys(self) -> KeyStore:
        return self.kept_keys

    def reveal(self) -> Reveal:
        return Opener(self.kept_keys)

    def encoder(self) -> Encoder:
        return Sealer(self.kept_keys, sealing=True)

    def blobs(self) -> BlobStore:
        return self.kept_blobs

    def attachments(self, keys: KeyStore) -> Attachments:
        return Attachments(self.kept_blobs, keys, sealing=True, limit_bytes=1_000_000)

    def discard_tables(self) -> None:
        self.lose_tables()

    def archive(self) -> ArchiveIndex:
        return open_archive(self.store, self.identity, self.seen, [self.signer.verifier])

    @property
    def interval_seconds(self) -> float:
        return 1.0

    @property
    def lock_millis(self) -> int:
        return 0

    @property
    def retention(self) -> Policy:
        return Policy(dict.fromkeys(Kind, Keep(1, 3_650)), automatic=False)

    @property
    def schedule(self) -> Schedule:
        return self.planned

    def remember(self, note: bytes) -> None:
        self.seen = note

    def begun(self) -> bytes | None:
        return self.note

    def keep_begun(self, note: bytes | None) -> None:
        self.note = note

    def measured(self) -> bytes | None:
        return self.rates

    def keep_measured(self, note: bytes) -> None:
        self.rates = note

    def writer(self) -> Archive:
        return Archive.open(self.store, self.signer)

    def shipper(self, log: EventLog) -> Shipper:
        backup = self.key_backup()
        ready = lambda: backup.bring_up_to_date(self.kept_keys)  # noqa: E731
        return Shipper(
            log, self.writer(), segment_bytes=2_000, clock=self.clock, ready=ready, blobs=self.kept_blobs
        )

    def key_backup(self) -> KeyBackup:
        recipients = self.identity.recipients
        return KeyBackup(
            lambda create: self.key_store,
            CLINIC,
            recipients,
            place="there",
            keep_days=1,
            signer=lambda: self.signer,
            verifiers=lambda: [self.signer.verifier],
            clock=self.clock,
        )

    def log_opener(self) -> Callable[[], LogReader]:
        return self.log

    def archive_opener(self) -> Callable[[], ArchiveIndex]:
        return self.archive

    @property
    def log_stands(self) -> bool:
        return self.place.log is not None

    def discard(self) -> None:
        """Nothing of it is needed any more."""

    # -- what disasters do -------------------------------------------------------------------------------------

    def lose_keys(self) -> None:
        """As after a checkpoint: what was sealed since, under a key that nobody backed up, is lost with the store."""
        self.key_backup().bring_up_to_date(self.kept_keys)
        self.kept_keys.close()
        self.kept_keys = self.new_keys()

    def lose_blobs(self) -> None:
        self.kept_blobs = MemoryBlobs()

    def misplace(self, key: bytes, value: bytes, random: Random) -> None:
        """A producer that chooses partitions by itself."""
        for partition, records in self.place.open().records.items():
            if partition.topic == EVENTS and random.random() < 0.5:
                records.append(Record(len(records), self.clock(), TimeType.APPEND, key, (), value))

    def lose_log(self) -> None:
        self.place.log = None

    def lose_tables(self) -> None:
        """Only for tables in a file."""
        path = Path(self.tables_at.removeprefix("sqlite:"))
        for lost in path.parent.glob(path.name + "*"):
            lost.unlink()
