"""From objectives to a rhythm: the RPO sets how often is shipped, the RTO when a snapshot is taken. Pure.

What is lost with every disk but the archive's is, at worst, what was written since the checkpoint before the one under
way: an interval and two checkpoints' time. What a recovery takes is restoring the log, loading the snapshot and
replaying what came after it; only the last of these can a new snapshot shorten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from events.position import EVENTS, Position
from replicator.entries import SnapshotEntry
from replicator.planning import Rates

DEFAULT_INTERVAL_SECONDS = 10.0
SHORTEST_INTERVAL_SECONDS = 0.2
LONGEST_INTERVAL_SECONDS = 60.0
SHIPPING_SECONDS = 0.5
"""What a checkpoint takes, at least, from reading the log's ends to the note in an archive across a network."""
NEAR = 0.8
"""Of the RTO: when the estimated recovery takes so much of it, a snapshot is due."""
WORTH = 0.1
"""Of the estimated recovery: a snapshot that shortens it by less is not taken."""
ROWS_A_RECORD = 1.5
"""Of a snapshot that nobody took yet."""


@dataclass(frozen=True)
class Objectives:
    """What the operator wants; None: nothing."""

    rpo_seconds: float | None = None
    rto_seconds: float | None = None


class Tail(NamedTuple):
    """What a recovery would have to read."""

    records: int
    """Of the log."""
    events: int
    """Of them, of rekam.events."""
    behind: int
    """Of those, behind the newest snapshot; all where there is none."""
    rows: int
    """Of the newest snapshot; 0 where there is none."""


@dataclass(frozen=True)
class Cadence:
    """The rhythm that objectives ask for, and whether it can keep them."""

    interval_seconds: float
    snapshot_due: bool
    recovery_seconds: float
    """What a recovery with everything lost but the archive is estimated to take now."""
    fresh_seconds: float
    """The same right after a snapshot."""
    keeps_rpo: bool
    keeps_rto: bool
    """Whether a snapshot, however new, would be enough for the RTO."""


def cadence(objectives: Objectives, rates: Rates, tail: Tail) -> Cadence:
    """What is due, and what cannot be kept."""
    rpo, rto = objectives.rpo_seconds, objectives.rto_seconds
    interval = interval_seconds(objectives)
    now = rates.seconds(restored=tail.records, rows=tail.rows, replayed=tail.behind)
    held = tail.events - tail.behind
    a_record = tail.rows / held if tail.rows and held > 0 else ROWS_A_RECORD
    fresh = min(now, rates.seconds(restored=tail.records, rows=round(a_record * tail.events)))
    return Cadence(
        interval_seconds=interval,
        snapshot_due=rto is not None and now >= NEAR * rto and now - fresh > WORTH * now,
        recovery_seconds=now,
        fresh_seconds=fresh,
        keeps_rpo=rpo is None or worst_loss_seconds(interval) <= rpo,
        keeps_rto=rto is None or fresh <= rto,
    )


def interval_seconds(objectives: Objectives) -> float:
    """How often is to be shipped: half of what the RPO leaves, so that a checkpoint that is late breaks nothing."""
    if objectives.rpo_seconds is None:
        return DEFAULT_INTERVAL_SECONDS
    wanted = (objectives.rpo_seconds - 2 * SHIPPING_SECONDS) / 2
    return min(max(wanted, SHORTEST_INTERVAL_SECONDS), LONGEST_INTERVAL_SECONDS)


def worst_loss_seconds(interval: float) -> float:
    """The oldest work that can be missing with every disk but the archive's lost, shipping every `interval`."""
    return interval + 2 * SHIPPING_SECONDS


def tail_of(end: Position, snapshots: Iterable[SnapshotEntry]) -> Tail:
    """Of a log that ends at `end`, with these snapshots in its archive."""
    newest = max(snapshots, key=lambda s: s.position.records(), default=None)
    events = sum(end.of(EVENTS).values())
    held = sum(newest.position.of(EVENTS).values()) if newest else 0
    return Tail(end.records(), events, max(0, events - held), newest.rows if newest else 0)


class Work(NamedTuple):
    """What a recovery did, and the seconds that it took."""

    restored: int
    restore_seconds: float
    rows: int
    replayed: int
    tables_seconds: float


LEAST_SECONDS = 1.0
"""A shorter step says nothing of a machine: starting weighs more than working."""


def measured(rates: Rates, work: Work) -> Rates:
    """The rates after a recovery: with them the same work is estimated to take what it took."""
    restore, replay, load = rates.restore_per_second, rates.replay_per_second, rates.load_per_second
    if work.restored and work.restore_seconds >= LEAST_SECONDS:
        restore = work.restored / work.restore_seconds
    if (work.rows or work.replayed) and work.tables_seconds >= LEAST_SECONDS:
        faster = (work.rows / load + work.replayed / replay) / work.tables_seconds
        replay, load = replay * faster, load * faster
    return Rates(replay, restore, load)
