"""When backups and verifications are due: a pure decision over the catalogue, the time and the settings.

Counted from when the newest of its kind began, so that one that was missed while the machine was off is done once, and
not as often as it was missed. A clock that was set back by more than an interval does not hold one up for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from replicator.backups import Kind, newest
from replicator.entries import BackupEntry, DrillEntry, VerificationEntry
from replicator.outcome import Outcome
from replicator.verifications import Depth, last_whole
from services.backups.cadence import Objectives

HOUR = 3_600_000
DAY = 24 * HOUR
"""Milliseconds."""
FIRST_MILLIS = HOUR
"""After the first backup: then the first verification, so that nobody believes for long what was never proven."""
NAMED = {"hourly": HOUR, "daily": DAY, "weekly": 7 * DAY, "monthly": 30 * DAY, "never": None}
UNITS = {"s": 1_000, "min": 60_000, "h": HOUR, "d": DAY}
_COUNTED = re.compile(r"([0-9]{1,6}) ?(s|min|h|d)\Z")


@dataclass(frozen=True)
class Schedule:
    """How often what is done, in milliseconds; None: never by itself."""

    full_millis: int | None = None
    differential_millis: int | None = None
    objectives: Objectives = field(default_factory=Objectives)
    verification: Mapping[Depth, int] = field(default_factory=dict)
    """depth -> how often all of the archive is verified so deeply."""
    drill_millis: int | None = None


def parse_every(text: str) -> int | None:
    """Milliseconds of 'daily', '6 h' and the like; None for 'never'. Raises ValueError."""
    if text in NAMED:
        return NAMED[text]
    found = _COUNTED.match(text)
    if not found or not int(found[1]):
        raise ValueError(f"say {', '.join(NAMED)}, or a number of s, min, h or d such as '6 h'")
    return int(found[1]) * UNITS[found[2]]


def full_millis(full: str | None, snapshot_hours: float | None, objectives: Objectives) -> int | None:
    """How often a full backup is taken: as is said, else as the RTO needs it (None), else weekly."""
    if full is not None:
        return parse_every(full)
    if objectives.rto_seconds is not None:
        return None
    return 7 * DAY if snapshot_hours is None else round(snapshot_hours * HOUR)


def due(
    backups: Sequence[BackupEntry], now: int, schedule: Schedule, *, snapshot_due: bool = False
) -> Kind | None:
    """The backup that is to be taken now: one at most, since a full one is a differential one's better.

    `snapshot_due`: what the RTO asks for (cadence.py).
    """
    wanted = schedule.full_millis is not None or schedule.objectives.rto_seconds is not None
    full = newest(backups, Kind.FULL)
    if snapshot_due or (wanted and (full is None or _over(full, now, schedule.full_millis))):
        return Kind.FULL
    base = newest(backups, Kind.FULL, Kind.DIFFERENTIAL)
    if full is not None and base is not None and _over(base, now, schedule.differential_millis):
        return Kind.DIFFERENTIAL
    return None


def due_verification(
    verifications: Sequence[VerificationEntry],
    backups: Sequence[BackupEntry],
    now: int,
    schedule: Schedule,
    deepest: Depth = Depth.SENTINEL,
) -> Depth | None:
    """The depth to verify to now: the deepest of those that are due, since it takes in the others.

    A first time comes FIRST_MILLIS after the first backup, or an interval if that is shorter. `deepest`: how deep can
    be looked from here at all; what is due beyond it is not done.
    """
    wanted = {depth: every for depth, every in schedule.verification.items() if deepest.takes_in(depth)}
    return next(
        (d for d in reversed(Depth) if d in wanted and _verify(d, wanted[d], verifications, backups, now)),
        None,
    )


def _verify(
    depth: Depth,
    every: int,
    verifications: Sequence[VerificationEntry],
    backups: Sequence[BackupEntry],
    now: int,
) -> bool:
    last = last_whole(verifications, depth)
    if last is not None:
        return abs(now - last.time) >= every
    return bool(backups) and abs(now - backups[0].begun) >= min(every, FIRST_MILLIS)


def due_drill(
    drills: Sequence[DrillEntry], backups: Sequence[BackupEntry], now: int, schedule: Schedule
) -> bool:
    """Whether a recovery is to be rehearsed now; the first time as for verifications, and so soon again where the last
    came to no result."""
    every = schedule.drill_millis
    if every is None:
        return False
    if drills:
        undecided = drills[-1].outcome == Outcome.INCONCLUSIVE
        return abs(now - drills[-1].time) >= (min(every, FIRST_MILLIS) if undecided else every)
    return bool(backups) and abs(now - backups[0].begun) >= min(every, FIRST_MILLIS)


def _over(backup: BackupEntry, now: int, every: int | None) -> bool:
    return every is not None and abs(now - backup.begun) >= every
