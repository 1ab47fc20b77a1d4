"""Planning a recovery: what to load, what to rebuild, what to append. Pure; nothing here touches a disk.

A target is resolved into a position first (targets.py), then `plan_recovery` compares that position with what stands:

* the log is gone: all of it is restored from the archive up to the newest checkpoint, and its first new control
  record is a rewind to there in a fresh epoch (a new generation), since the world may have seen what was lost;
* the position is earlier than what the log holds in effect: a rewind to it is appended; nothing is taken off;
* the tables are gone, or stand on another log: they are rebuilt beside whatever stands, from the newest usable
  snapshot and the tail; else they follow the log incrementally.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from events.effective import Marks
from events.envelope import Epoch
from events.position import EVENTS, Partition, Position
from events.rules import Effect, Link, Rewind, usable
from replicator.targets import Point, Range, Target

START_SECONDS = 1.0


@dataclass(frozen=True)
class Rates:
    """How fast this machine recovers. The defaults are assumed until a recovery was measured; estimates use them."""

    replay_per_second: float = 45_000.0
    """Events read, judged and folded."""
    restore_per_second: float = 100_000.0
    """Records restored onto a lost log."""
    load_per_second: float = 135_000.0
    """Rows loaded from a snapshot."""

    def seconds(self, *, restored: int = 0, rows: int = 0, replayed: int = 0) -> float:
        """What so much takes."""
        return (
            START_SECONDS
            + restored / self.restore_per_second
            + rows / self.load_per_second
            + replayed / self.replay_per_second
        )


ASSUMED = Rates()


@dataclass(frozen=True)
class SnapshotPoint:
    """A snapshot that the archive holds."""

    id: str
    position: Position
    links: tuple[Link, ...]
    size_bytes: int
    rows: int


@dataclass(frozen=True)
class BackupPoint:
    """A backup of the catalogue."""

    label: str
    position: Position
    snapshot: str | None
    """Of a full one."""
    parent: str | None


@dataclass(frozen=True)
class SegmentFact:
    """One segment that the archive holds."""

    partition: Partition
    first: int
    stop: int
    size_bytes: int


@dataclass(frozen=True)
class Holdings:
    """What the archive holds, as far as planning needs it."""

    range: Range | None
    marks: Marks
    snapshots: Sequence[SnapshotPoint]
    segments: Sequence[SegmentFact]
    backups: Sequence[BackupPoint] = ()
    """In commit order."""


@dataclass(frozen=True)
class Situation:
    """What stands outside the archive."""

    log: Position | None
    """The log's end; None where the log is lost."""
    control: Sequence[tuple[int, Rewind]]
    """The rewinds on control, as (offset, rewind), of the log or, where it is lost, of the archive."""
    tables: Position | None
    """Where the tables stand; None where they are lost or belong to another log."""
    idle: frozenset[Epoch]
    """The newest epochs that no event names, one rewind after another back from control's end."""


@dataclass(frozen=True)
class RecoveryPlan:
    """What will be done, in order: restore the log, append the rewind, bring the tables to the log's end."""

    target: Target
    position: Position
    """The recovery point."""
    time: int | None
    """The moment that it is the state of, milliseconds UTC; None for the newest state."""
    restore_log: Position | None
    """Restore the log up to here, in a new generation; None: the log stands."""
    rewind: bool
    tables: str
    """`stand`, `follow` or `rebuild`."""
    snapshot: str | None
    backups: tuple[str, ...]
    """Labels of the backups that it restores from: the full one of the snapshot, and the newest that continues it."""
    segments: int
    """Segments that are read."""
    tail_segments: Mapping[Partition, int]
    """Of them, those behind the snapshot."""
    size_bytes: int
    records: int
    """What is read of the archive."""
    replayed: int
    """Records that are folded: behind the snapshot, or all of them."""
    set_aside_records: int
    """Records of events beyond the recovery point, which the rewind sets aside."""
    expected_seconds: float


def already_there(position: Position, situation: Situation, end: Position) -> bool:
    """Whether the history in effect at `end` is the one at `position`, so that no rewind is needed."""
    here, there = Effect(situation.control, end).links, Effect(situation.control, position).links
    wanted = _of_events(there)
    while _of_events(here) != wanted:
        if here[-1].epoch is None or here[-1].epoch not in situation.idle:
            return False
        here = here[:-1]  # nothing was written in it: without it, the same events are in effect
    return True


def _of_events(links: Sequence[Link]) -> list[tuple[bytes | None, Mapping[Partition, int]]]:
    return [(link.epoch, link.stop.of(EVENTS)) for link in links]


def plan_recovery(
    target: Target, point: Point, holdings: Holdings, situation: Situation, rates: Rates = ASSUMED
) -> RecoveryPlan:
    """The plan that brings log and tables to a recovery point (from `targets.resolve`)."""
    position = point.position
    held = holdings.marks.last.position
    end = situation.log if situation.log is not None else held
    rewind = not already_there(position, situation, end)
    restore = held if situation.log is None else None
    tables = _tables(situation, end, rewind, restore is not None)
    links = chain_after(situation.control, position if rewind else None, end)
    snapshot = newest_usable(holdings.snapshots, links) if tables == "rebuild" else None
    read = _needed(holdings.segments, snapshot, restore is not None, tables)
    start = snapshot.position if snapshot else Position()
    replayed = sum(max(0, n - start[p]) for p, n in end.items()) if tables == "rebuild" else 0
    return RecoveryPlan(
        target=target,
        position=position,
        time=point.time,
        restore_log=restore,
        rewind=rewind,
        tables=tables,
        snapshot=snapshot.id if snapshot else None,
        backups=restored_from(holdings.backups, snapshot, position) if tables == "rebuild" else (),
        segments=len(read),
        tail_segments=Counter(s.partition for s in read if s.stop > start[s.partition]),
        size_bytes=sum(s.size_bytes for s in read) + (snapshot.size_bytes if snapshot else 0),
        records=sum(s.stop - s.first for s in read),
        replayed=replayed,
        set_aside_records=beyond(position, end) if rewind else 0,
        expected_seconds=round(_seconds(rates, replayed, restore, snapshot), 1),
    )


def beyond(position: Position, end: Position) -> int:
    """How many records of events stand between a recovery point and the log's end."""
    return sum(n - position[p] for p, n in end.of(EVENTS).items())


def _tables(situation: Situation, end: Position, rewind: bool, log_lost: bool) -> str:
    if situation.tables is None or log_lost:
        return "rebuild"
    return "follow" if rewind or situation.tables != end else "stand"


def chain_after(control: Sequence[tuple[int, Rewind]], target: Position | None, end: Position) -> list[Link]:
    """The links once a rewind to `target` (None: no rewind) stands at control's end."""
    effect = Effect(control, end)
    if target is None:
        return effect.links
    fresh = Rewind(b"\0" * 16, effect.newest, target)
    longer = end.replace({p: n + 1 for p, n in end.items() if p.topic != EVENTS})
    return Effect([*control, (end.control, fresh)], longer).links


def newest_usable(snapshots: Sequence[SnapshotPoint], links: Sequence[Link]) -> SnapshotPoint | None:
    """The snapshot that leaves the shortest tail to the state that `links` describe."""
    fit = [s for s in snapshots if usable(s.links, links)]
    return max(fit, key=lambda s: (sum(s.position.of(EVENTS).values()), s.position.records()), default=None)


def restored_from(
    backups: Sequence[BackupPoint], snapshot: SnapshotPoint | None, position: Position
) -> tuple[str, ...]:
    """The full backup of a snapshot, and the newest one that continues it towards a position."""
    full = next((b for b in backups if snapshot is not None and b.snapshot == snapshot.id), None)
    if full is None:
        return ()
    line, last = {full.label}, None
    for backup in backups:  # a parent was committed before what builds on it
        if backup.parent in line:
            line.add(backup.label)
            last = backup if position.covers(backup.position) else last
    return (full.label, last.label) if last else (full.label,)


def _needed(
    segments: Sequence[SegmentFact], snapshot: SnapshotPoint | None, restore: bool, tables: str
) -> list[SegmentFact]:
    if restore:
        return list(segments)
    if tables != "rebuild":
        return []
    start = snapshot.position if snapshot else Position()
    return [s for s in segments if s.stop > start[s.partition]]


def _seconds(rates: Rates, replayed: int, restore: Position | None, snapshot: SnapshotPoint | None) -> float:
    restored = restore.records() if restore is not None else 0
    return rates.seconds(restored=restored, rows=snapshot.rows if snapshot else 0, replayed=replayed)
