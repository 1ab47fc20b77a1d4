"""Taking a backup off the catalogue: planned purely, refused where a kept one needs it, carried out by a tombstone.

The log's segments belong to every backup and to every moment, so none is taken off here: whatever could be restored
can be restored afterwards, from further back where a snapshot is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from events.errors import Refused
from events.log import EventLog
from events.position import EVENTS
from replicator.backups import named
from replicator.entries import BackupEntry, SnapshotEntry
from replicator.tombstones import add_tombstone
from services.replicating import ship
from services.system import System


class Deletion(NamedTuple):
    """What deleting a backup does."""

    backup: BackupEntry
    replaces: tuple[str, ...]
    """Keys that do not count any more."""
    size_bytes: int
    """Stored bytes that retention may remove after its grace."""
    slower_from: int | None = None
    """Moments from here (milliseconds UTC) to `slower_to` take longer to restore; None: none does."""
    slower_to: int | None = None
    """None: up to the newest one."""
    instead: str | None = None
    """The snapshot that they start from then; None: the log's beginning."""


def plan_deletion(backups: Sequence[BackupEntry], snapshots: Sequence[SnapshotEntry], label: str) -> Deletion:
    """Raises Refused where there is no such backup, or a kept one builds on it."""
    backup = named(backups, label)
    if needing := [b.label for b in backups if b.parent == label]:
        raise Refused(
            f"{label} is needed by {', '.join(needing)}, which build{'s' if len(needing) == 1 else ''} on it",
            "delete what builds on it first",
        )
    snapshot = next((s for s in snapshots if s.id == backup.snapshot), None)
    if snapshot is None:
        return Deletion(backup, (backup.key,), backup.size_bytes)
    earlier = [s for s in snapshots if _size(s) <= _size(snapshot) and s is not snapshot]
    later = [b for b in backups if b.snapshot is not None and b.begun > backup.begun]
    return Deletion(
        backup,
        (backup.key, snapshot.key),
        backup.size_bytes + snapshot.size_bytes + snapshot.parts_bytes,
        backup.complete_through,
        min((b.complete_through for b in later), default=None),
        max(earlier, key=_size).id if earlier else None,
    )


def _size(snapshot: SnapshotEntry) -> int:
    return sum(snapshot.position.of(EVENTS).values())


def delete(system: System, log: EventLog, deletion: Deletion, actor: str) -> int:
    """Commits the tombstone; gives the checkpoint's number. Raises Refused where it is needed by now, or gone."""
    index = system.archive()
    current = plan_deletion(index.backups, index.snapshots, deletion.backup.label)
    reason = f"backup {current.backup.label} was deleted"
    tombstone = add_tombstone(
        system.writer(), current.replaces, time=system.clock(), actor=actor, reason=reason
    )
    return ship(system, log, entries=[tombstone]).checkpoint
