"""A small clinic with a log in memory and an archive, for tests of the archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from events import catalogue
from events.codec import MAGIC, encode_control, rewound
from events.log import Entry, Record
from events.memory_log import MemoryLog
from events.position import ACCESS, CONTROL, EVENTS, Position
from events.rules import Rewind
from replicator.archive import Archive, ArchiveIndex, open_archive
from replicator.encryption import Identity, new_identity
from replicator.memory_store import MemoryStore
from replicator.note import Signer
from replicator.shipper import Shipper

CLINIC, ARCHIVE = "c" * 32, "a" * 32
SIGNER = Signer(f"rekam/{CLINIC}", bytes(range(32)))
IDENTITY_TEXT, RECIPIENT = new_identity()
IDENTITY = Identity(IDENTITY_TEXT)
PARTITIONS = {EVENTS: 2, ACCESS: 1, CONTROL: 1}


def event_value(number: int, epoch: bytes | None = None, body: bytes = b"") -> bytes:
    """What stands where an event's envelope begins; nothing here decodes further."""
    branch = b"\0" if epoch is None else b"\2" + epoch
    return MAGIC + catalogue.current_fingerprint() + number.to_bytes(16, "big") + branch + body


def rewind_value(
    number: int, epoch: bytes, after: bytes | None, target: Position, kind: str = "recovery"
) -> bytes:
    return encode_control(
        rewound(
            control_id=number.to_bytes(16, "big"),
            recorded_at=0,
            actor={"id": "operator", "role": "owner", "system": "test"},
            rewind=Rewind(epoch, after, target),
            kind=kind,  # type: ignore[arg-type]
            target_time=None,
            reason="a test",
        )
    )


class Hands:
    """A clock that only tests move."""

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@dataclass
class World:
    """One clinic. Randomness is counted, so that the same steps give the same bytes."""

    store: MemoryStore = field(default_factory=MemoryStore)
    clock: Hands = field(default_factory=Hands)
    recipients: Sequence[str] = (RECIPIENT,)
    segment_bytes: int = 2_000
    log: MemoryLog = None  # type: ignore[assignment]
    archive: Archive = None  # type: ignore[assignment]
    drawn: int = 0
    appended: int = 0

    def __post_init__(self) -> None:
        self.log = self.log or MemoryLog(PARTITIONS, clock=self.clock)
        self.archive = self.archive or create_archive(self.store, self.recipients)

    def random(self, size: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(size, "big")

    def shipper(self, **settings) -> Shipper:
        settings = {
            "segment_bytes": self.segment_bytes,
            "clock": self.clock,
            "random": self.random,
            **settings,
        }
        return Shipper(self.log, self.archive, **settings)

    def write(
        self, count: int = 20, epoch: bytes | None = None, topic: str = EVENTS, size: int = 150
    ) -> None:
        """Appends events of ten streams, a millisecond apart."""
        for _ in range(count):
            self.appended += 1
            self.clock.now += 1
            key = b"patient-%d" % (self.appended % 10)
            self.log.append(topic, [Entry(key, event_value(self.appended, epoch, bytes(size)))])

    def control(self, value: bytes) -> None:
        self.clock.now += 1
        self.log.append(CONTROL, [Entry(b"control", value)])

    def ship(self, **settings):
        self.clock.now += 1
        return self.shipper(**settings).ship_once()

    def index(self, **settings) -> ArchiveIndex:
        return open_archive(self.store, IDENTITY, verifiers=[SIGNER.verifier], **settings)


def create_archive(store, recipients: Sequence[str] = (RECIPIENT,)) -> Archive:
    return Archive.create(
        store, SIGNER, clinic_id=CLINIC, clinic_name="Klinik", archive_id=ARCHIVE, recipients=recipients
    )


def everything(index: ArchiveIndex) -> dict[object, list[Record]]:
    """Every record that the archive holds, by partition."""
    end = index.end()
    return {p: [r for batch in index.read(p, 0, end[p]) for r in batch] for p in end}


def logged(log: MemoryLog, end: Position) -> dict[object, list[Record]]:
    """Every record of the log before a position."""
    return {p: log.records[p][: end[p]] for p in end}
