"""The catalogue of backups: what each is, what it builds on, and what restoring it needs. Pure but for reading objects.

A full backup is a snapshot and the log up to it; a differential one, the log since the last full in few large objects;
an incremental one, what continuous shipping had brought by then. Each is one small object that an entry names; the
entry tells what decisions need, the object everything. The log's segments belong to all of them: what a backup needs
is asked of the archive as it stands, since merging goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from events.errors import Corrupt, Refused
from events.position import EVENTS, Position
from replicator.archive import Archive, ArchiveIndex
from replicator.canonical import canonical, parse_canonical, utc_second
from replicator.entries import BackupEntry, BlobEntry, Entry, SchemaEntry, SegmentEntry, SnapshotEntry
from replicator.fetching import fetch_ahead
from replicator.manifest import FORMAT
from replicator.snapshot import load_snapshot

BACKUPS = "backups/"


class Kind(StrEnum):
    FULL = "full"
    DIFFERENTIAL = "differential"
    INCREMENTAL = "incremental"


@dataclass(frozen=True)
class Backup:
    """One backup, as its object tells. Times are milliseconds UTC."""

    label: str
    kind: Kind
    begun: int
    complete_through: int
    """Whatever was logged up to here is in it."""
    checkpoint: int
    """The one that it builds on."""
    position: dict[str, int]
    events: int
    """Records of events before its position."""
    new_bytes: int
    """Stored bytes that came with it; of an incremental one, those shipped since its parent."""
    all_bytes: int
    """Stored bytes that restoring it reads, log included, when it was taken."""
    objects: int
    """Objects that restoring it reads, when it was taken."""
    parent: str | None
    snapshot: str | None
    duration_millis: int
    note: str

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical({"format": FORMAT, **asdict(self), "kind": self.kind.value})


_BACKUP = TypeAdapter(Backup)


def parse_backup(data: bytes, where: str) -> Backup:
    """Raises Corrupt naming `where`."""
    raw = parse_canonical(data, where)
    if raw.pop("format", None) != FORMAT:
        raise Corrupt(f"{where} is not a backup of format {FORMAT}")
    try:
        return _BACKUP.validate_python(raw)
    except ValidationError as error:
        raise Corrupt(f"{where} is not a backup ({error.error_count()} members are wrong)") from None


def add_backup(archive: Archive, backup: Backup) -> BackupEntry:
    """Stores a backup's object and gives its entry, which the next checkpoint must name."""
    return archive.add_plain(
        "backup",
        lambda digest, _: f"{BACKUPS}{backup.label}-{digest}.json",
        backup.to_bytes(),
        BackupEntry,
        label=backup.label,
        backup=backup.kind.value,
        begun=backup.begun,
        complete_through=backup.complete_through,
        checkpoint=backup.checkpoint,
        position=backup.position,
        parent=backup.parent,
        snapshot=backup.snapshot,
    )


def read_backups(index: ArchiveIndex, wanted: Iterable[BackupEntry] | None = None) -> list[Backup]:
    """The objects of the catalogue, or of some of it, in commit order. Raises as `fetching.fetch`."""
    entries = index.backups if wanted is None else wanted
    return [parse_backup(data, entry.key) for entry, data in fetch_ahead(index.store, entries, None)]


def label_of(begun: int, kind: Kind, taken: Collection[str]) -> str:
    """`20261124T103000Z-full`; where that is taken, with a number behind."""
    label = f"{utc_second(begun)}-{kind.value}"
    numbered = (f"{label}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (label, *numbered) if name not in taken)


def newest(backups: Sequence[BackupEntry], *kinds: Kind) -> BackupEntry | None:
    """The newest of these kinds (none given: of any)."""
    return next((b for b in reversed(backups) if not kinds or b.backup in kinds), None)


def named(backups: Iterable[BackupEntry], label: str) -> BackupEntry:
    """The backup of that label. Raises Refused where there is none."""
    found = next((b for b in backups if b.label == label), None)
    if found is None:
        raise Refused("the archive holds no backup of that label", "rekam backup list shows those it holds")
    return found


def full_of(backups: Sequence[BackupEntry], backup: BackupEntry | None) -> BackupEntry | None:
    """The full backup at the beginning of the line of parents; None where there is none (any more)."""
    labels = {b.label: b for b in backups}
    for _ in labels:
        if backup is None or backup.snapshot is not None:
            return backup
        backup = labels.get(backup.parent or "")
    return None


class Reading(NamedTuple):
    """What a restore reads."""

    objects: int
    size_bytes: int
    """Stored."""


def reading(
    index: ArchiveIndex, current: Mapping[str, Entry], position: Position, snapshot: str | None
) -> Reading:
    """What restoring log and tables at a position reads, of the entries that count; a snapshot's parts included."""
    entries = needed(current, position, snapshot)
    parts = sum(len(load_snapshot(index, e).parts) for e in entries if isinstance(e, SnapshotEntry))
    return Reading(len(entries) + parts, size_of(entries))


def needed(current: Mapping[str, Entry], position: Position, snapshot: str | None) -> list[Entry]:
    """The entries of it."""
    segments = [
        e for e in current.values() if isinstance(e, SegmentEntry) and e.first < position[e.partition]
    ]
    blobs = {digest for segment in segments for digest in segment.blobs}
    return [entry for entry in current.values() if _needs(entry, position, snapshot, blobs)]


def _needs(entry: Entry, position: Position, snapshot: str | None, blobs: Collection[bytes]) -> bool:
    match entry:
        case SegmentEntry():
            return entry.first < position[entry.partition]
        case BlobEntry():
            return entry.plain in blobs
        case SnapshotEntry():
            return entry.id == snapshot
        case _:
            return isinstance(entry, SchemaEntry)


def size_of(entries: Iterable[Entry]) -> int:
    """Stored bytes, a snapshot's tables included."""
    return sum(e.size_bytes + (e.parts_bytes if isinstance(e, SnapshotEntry) else 0) for e in entries)


def events_in(position: Position) -> int:
    return sum(position.of(EVENTS).values())


def to_json(backup: Backup) -> dict[str, Any]:
    return {**asdict(backup), "kind": backup.kind.value}
