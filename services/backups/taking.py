"""Taking a backup: what there is is shipped first, then the backup is made beside, then a checkpoint names it.

Writers are never stopped: a full backup's snapshot is read in one repeatable-read transaction, and merging reads the
log as any reader does. Killed anywhere before the last checkpoint, orphans are left and the catalogue is as it was.
"""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from events.errors import Refused
from events.log import EventLog
from events.position import Position
from replicator.archive import Archive, ArchiveIndex
from replicator.backups import (
    Backup,
    Kind,
    add_backup,
    events_in,
    full_of,
    label_of,
    newest,
    reading,
    size_of,
)
from replicator.entries import BackupEntry, Entry, SnapshotEntry
from replicator.merging import halving, merges, since
from replicator.summary import add_entries
from replicator.upkeep import merge_all
from services.projecting import catch_up_whole
from services.replicating import ship, take_snapshot
from services.system import System


class Made(NamedTuple):
    """What a kind of backup consists of, beside what was shipped already."""

    entries: list[Entry]
    position: Position
    new_bytes: int
    parent: BackupEntry | None = None
    snapshot: str | None = None


def back_up(system: System, log: EventLog, kind: Kind, note: str = "") -> Backup:
    """Takes a backup of that kind into the system's archive; it is in the catalogue on return.

    Raises Refused where a differential one has no full one to build on; else as shipping and merging.
    """
    begun = system.clock()
    ship(system, log)
    writer, index = system.writer(), system.archive()
    made = _MAKE[kind](system, log, writer, index)
    backup = _described(begun, kind, note, index, made, system.clock())
    ship(system, log, entries=[*made.entries, add_backup(writer, backup)])
    return backup


def _full(system: System, log: EventLog, writer: Archive, index: ArchiveIndex) -> Made:
    with closing(system.tables()) as tables:
        catch_up_whole(system.log_opener(), log, tables)
        snapshot = take_snapshot(system, tables)
    assert isinstance(snapshot, SnapshotEntry)
    entries = [snapshot, *merge_all(log, writer, halving(index.segments))]
    return Made(entries, snapshot.position, size_of(entries), snapshot=snapshot.id)


def _differential(system: System, log: EventLog, writer: Archive, index: ArchiveIndex) -> Made:
    full = newest(index.backups, Kind.FULL)
    if full is None:
        raise Refused("there is no full backup that a differential one could build on", "rekam backup full")
    entries = merge_all(log, writer, merges(index.segments, since(full.position)))
    return Made(entries, index.end(), size_of(entries), parent=full)


def _incremental(system: System, log: EventLog, writer: Archive, index: ArchiveIndex) -> Made:
    parent = newest(index.backups)
    held = parent.position if parent else Position()
    fresh = [s for segments in index.segments.values() for s in segments if s.stop > held[s.partition]]
    return Made([], index.end(), size_of(fresh), parent=parent)


_MAKE = {Kind.FULL: _full, Kind.DIFFERENTIAL: _differential, Kind.INCREMENTAL: _incremental}


def _described(begun: int, kind: Kind, note: str, index: ArchiveIndex, made: Made, now: int) -> Backup:
    current = {entry.key: entry for entry in index.entries}
    add_entries(current, made.entries)
    full = full_of(index.backups, made.parent)
    snapshot = made.snapshot or (full.snapshot if full else None)
    reads = reading(index, current, made.position, snapshot)
    return Backup(
        label=label_of(begun, kind, {b.label for b in index.backups}),
        kind=kind,
        begun=begun,
        complete_through=index.manifest.complete_through,
        checkpoint=index.head.n,
        position=made.position.to_json(),
        events=events_in(made.position),
        new_bytes=made.new_bytes,
        all_bytes=reads.size_bytes,
        objects=reads.objects,
        parent=made.parent.label if made.parent else None,
        snapshot=made.snapshot,
        duration_millis=max(0, now - begun),
        note=note,
    )
