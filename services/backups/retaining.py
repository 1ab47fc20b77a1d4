"""Which backups have been kept long enough: planned purely, shown, carried out by a tombstone.

By the store's clock: how old a backup is says when its object was stored, so a client's clock that runs ahead expires
nothing. The newest of each kind stay however old they are; what a kept one builds on stays with it, and so does what
is under a hold. No moment is lost by any of this, since the log's segments stay: some take longer to restore.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from events.errors import Refused
from events.log import EventLog
from replicator.archive import ArchiveIndex
from replicator.backups import Kind
from replicator.entries import BackupEntry, SnapshotEntry
from replicator.tombstones import add_tombstone
from services.backups.policy import Policy
from services.replicating import ship
from services.system import System

DAY_MILLIS = 86_400_000


class Expiry(NamedTuple):
    """What has been kept long enough."""

    backups: tuple[BackupEntry, ...]
    snapshots: tuple[SnapshotEntry, ...]
    """Of those backups, and others that no backup names and that are older than full backups get."""

    @property
    def keys(self) -> list[str]:
        return [entry.key for entry in (*self.backups, *self.snapshots)]

    @property
    def size_bytes(self) -> int:
        return sum(b.size_bytes for b in self.backups) + sum(
            s.size_bytes + s.parts_bytes for s in self.snapshots
        )


def plan_expiry(
    backups: Sequence[BackupEntry],
    snapshots: Sequence[SnapshotEntry],
    stored: Mapping[str, int],
    policy: Policy,
    now: int,
) -> Expiry:
    """`stored`: key -> when it was stored; what is not there counts as stored now. Times are the store's."""

    def age_days(key: str) -> float:
        return (now - stored.get(key, now)) / DAY_MILLIS

    kept = {b.label for b in backups if not _may_go(b, backups, policy, age_days(b.key))}
    labels = {b.label: b for b in backups}
    for label in list(kept):  # and whatever those build on
        parent = labels[label].parent
        while parent in labels and parent not in kept:
            kept.add(parent)
            parent = labels[parent].parent
    gone = tuple(b for b in backups if b.label not in kept)
    named = {b.snapshot for b in backups if b.label in kept}
    days = policy.keep[Kind.FULL].days
    newest = max(snapshots, key=lambda s: s.position.records(), default=None)
    old = tuple(s for s in snapshots if s.id not in named and s is not newest and age_days(s.key) > days)
    return Expiry(gone, old)


def _may_go(backup: BackupEntry, backups: Sequence[BackupEntry], policy: Policy, age_days: float) -> bool:
    keep = policy.keep[Kind(backup.backup)]
    newest = [b.label for b in backups if b.backup == backup.backup][-keep.newest :] if keep.newest else []
    held = any(hold.first <= backup.complete_through <= hold.last for hold in policy.holds)
    return age_days > keep.days and backup.label not in newest and not held


def plan_now(system: System, index: ArchiveIndex) -> Expiry:
    """What may go now, by the clock of the archive's store. Raises StoreUnavailable."""
    store = system.writer().store
    stored = {s.key: s.modified for prefix in ("backups/", "snapshots/") for s in store.list(prefix)}
    return plan_expiry(index.backups, index.snapshots, stored, system.retention, store.now())


def expire(system: System, log: EventLog, expiry: Expiry, actor: str) -> int:
    """Commits the tombstone; gives the checkpoint's number. Raises Refused where something is gone by now."""
    index = system.archive()
    current = {entry.key for entry in index.entries}
    if missing := [key for key in expiry.keys if key not in current]:
        raise Refused(f"{missing[0]} does not count any more", "plan again")
    reason = f"kept long enough: {len(expiry.backups)} backups, {len(expiry.snapshots)} snapshots"
    tombstone = add_tombstone(system.writer(), expiry.keys, time=system.clock(), actor=actor, reason=reason)
    return ship(system, log, entries=[tombstone]).checkpoint


def in_words(expiry: Expiry) -> Iterable[str]:
    yield f"{len(expiry.backups):,} backups and {len(expiry.snapshots):,} snapshots have been kept long enough."
    for backup in expiry.backups:
        yield f"  {backup.label}"
    for snapshot in expiry.snapshots:
        yield f"  snapshot {snapshot.id}"
    if expiry.keys:
        yield f"{expiry.size_bytes:,} bytes may be pruned after the grace. Every moment can still be restored."
