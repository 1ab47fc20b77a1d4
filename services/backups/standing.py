"""How an archive's backups stand: what is overdue, what a schedule or an objective cannot keep. For status."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.errors import LostData
from replicator.archive import ArchiveIndex
from replicator.backups import Kind, newest, read_backups
from replicator.drills import failing
from replicator.entries import BackupEntry, DrillEntry, VerificationEntry
from replicator.outcome import Outcome
from replicator.verifications import last_whole, open_failures
from services.backups.cadence import Cadence, worst_loss_seconds
from services.backups.keeping import cadence_of
from services.backups.schedule import Schedule
from services.moments import show_span
from services.system import System

MILLIS = 1000
LATE = 1.25
"""Of its interval: a backup is overdue when the newest is older."""
VERY_LATE = 2.0
YELLOW, RED = "yellow", "red"

Finding = tuple[str, str]
"""(colour, text)"""


@dataclass
class Standing:
    """What was found."""

    full: BackupEntry | None
    differential: BackupEntry | None
    rpo_seconds: float | None
    recovery_seconds: float
    """What a recovery with everything lost but the archive is estimated to take now."""
    verified: VerificationEntry | None = None
    """The newest verification."""
    drill: DrillEntry | None = None
    """The newest drill."""
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "full": None if self.full is None else self.full.label,
            "differential": None if self.differential is None else self.differential.label,
            "verified": None
            if self.verified is None
            else {"depth": self.verified.depth, "outcome": self.verified.outcome, "time": self.verified.time},
            "drill": None
            if self.drill is None
            else {
                "outcome": self.drill.outcome,
                "time": self.drill.time,
                "rto_millis": self.drill.rto_millis,
            },
            "recovery_seconds": round(self.recovery_seconds, 1),
        }

    def in_words(self, now: int) -> list[str]:
        taken = [
            f"{b.label} ({show_span(max(0, now - b.begun) / MILLIS)} ago)"
            for b in (self.full, self.differential)
            if b is not None
        ]
        words = (
            f"Backups: {', '.join(taken) or 'none taken yet'}; a recovery with all but the archive lost takes"
        )
        lines = [f"{words} about {show_span(self.recovery_seconds)}."]
        if self.verified is not None:
            ago = show_span(max(0, now - self.verified.time) / MILLIS)
            lines.append(f"Verified: {self.verified.depth}, {ago} ago: {self.verified.outcome}.")
        if self.drill is not None:
            ago = show_span(max(0, now - self.drill.time) / MILLIS)
            took = f", in {show_span(self.drill.rto_millis / MILLIS)}" if self.drill.rto_millis else ""
            lines.append(f"Rehearsed: {ago} ago{took}: {self.drill.outcome}.")
        return lines


def backups_of(system: System, index: ArchiveIndex) -> Standing:
    """Of an archive that holds a checkpoint."""
    schedule, rhythm, now = system.schedule, cadence_of(system, index), system.clock()
    standing = Standing(
        newest(index.backups, Kind.FULL),
        newest(index.backups, Kind.DIFFERENTIAL),
        schedule.objectives.rpo_seconds,
        rhythm.recovery_seconds,
        index.verifications[-1] if index.verifications else None,
        index.drills[-1] if index.drills else None,
    )
    standing.findings += overdue(index.backups, now, schedule, since=index.marks.first.time)
    standing.findings += unkept(schedule, rhythm, system.interval_seconds)
    standing.findings += _too_slow(index, schedule)
    standing.findings += unverified(index.verifications, index.backups, now, schedule)
    standing.findings += unrehearsed(index.drills, index.backups, now, schedule)
    return standing


def overdue(backups: Sequence[BackupEntry], now: int, schedule: Schedule, since: int) -> Iterator[Finding]:
    """What should have been taken by now. `since`: where none was taken yet, the time it is counted from."""
    full = newest(backups, Kind.FULL)
    either = newest(backups, Kind.FULL, Kind.DIFFERENTIAL)
    for name, last, every in (
        ("full", full, schedule.full_millis),
        ("differential", either, schedule.differential_millis if full else None),
    ):
        late = now - (last.begun if last else since)
        if every is not None and late > LATE * every:
            said = f"a {name} backup is due every {show_span(every / MILLIS)}"
            what = f"the newest is {show_span(late / MILLIS)} old" if last else "none was taken yet"
            yield (RED if late > VERY_LATE * every else YELLOW), f"{said}, and {what}: rekam backup {name}"


def unkept(schedule: Schedule, rhythm: Cadence, interval_seconds: float) -> Iterator[Finding]:
    """Objectives that the rhythm does not keep."""
    rpo, rto = schedule.objectives.rpo_seconds, schedule.objectives.rto_seconds
    loss = worst_loss_seconds(interval_seconds)
    if rpo is not None and loss > rpo:
        every = f"shipping every {show_span(interval_seconds)} can lose {show_span(loss)}"
        yield YELLOW, f"the RPO of {show_span(rpo)} cannot be kept: {every}"
    if rto is None or rhythm.recovery_seconds <= rto:
        return
    takes = f"a recovery takes about {show_span(rhythm.recovery_seconds)}, and the RTO is {show_span(rto)}"
    if not rhythm.keeps_rto:
        least = f"right after a full backup it would be {show_span(rhythm.fresh_seconds)}"
        yield YELLOW, f"{takes}: it cannot be kept, {least}; it needs a faster machine or more time"
    else:
        yield YELLOW, f"{takes}: a full backup is overdue: rekam backup full"


def unverified(
    verifications: Sequence[VerificationEntry], backups: Sequence[BackupEntry], now: int, schedule: Schedule
) -> Iterator[Finding]:
    """What verification found wrong and not well again, and verifications that did not happen."""
    for failed in open_failures(verifications):
        what = f"the backup {failed.label}" if failed.label else "the archive"
        yield RED, f"{what} failed its verification ({failed.depth}): rekam backup verify says what is wrong"
    if verifications and verifications[-1].outcome == Outcome.INCONCLUSIVE:
        yield YELLOW, f"the newest verification ({verifications[-1].depth}) could not look at everything"
    since = backups[0].begun if backups else now
    for depth, every in schedule.verification.items():
        last = last_whole(verifications, depth)
        late = now - (last.time if last else since)
        if late > VERY_LATE * every:
            often = f"the archive is to be verified ({depth.value}) every {show_span(every / MILLIS)}"
            what = f"last was {show_span(late / MILLIS)} ago" if last else "it never was"
            yield YELLOW, f"{often}, and {what}: rekam backup verify --all --depth {depth.value}"


def unrehearsed(
    drills: Sequence[DrillEntry], backups: Sequence[BackupEntry], now: int, schedule: Schedule
) -> Iterator[Finding]:
    """Drills that failed, took longer than the RTO, or did not happen."""
    if failing(drills):
        yield RED, "the newest drill did not give the truth: rekam drill says what differs"
    rto, last = schedule.objectives.rto_seconds, drills[-1] if drills else None
    if last and rto is not None and last.outcome == Outcome.OK and last.rto_millis > rto * MILLIS:
        took = show_span(last.rto_millis / MILLIS)
        yield YELLOW, f"the newest drill took {took}, and the RTO is {show_span(rto)}"
    every = schedule.drill_millis
    decided = [drill.time for drill in drills if drill.outcome != Outcome.INCONCLUSIVE]
    since = decided[-1] if decided else backups[0].begun if backups else now
    if every is not None and now - since > VERY_LATE * every:
        what = f"last was {show_span((now - since) / MILLIS)} ago" if decided else "it never was"
        yield (
            YELLOW,
            f"a recovery is to be rehearsed every {show_span(every / MILLIS)}, and {what}: rekam drill",
        )


def _too_slow(index: ArchiveIndex, schedule: Schedule) -> Iterator[Finding]:
    """Kinds that take longer than their interval."""
    for kind, every in ((Kind.FULL, schedule.full_millis), (Kind.DIFFERENTIAL, schedule.differential_millis)):
        last = newest(index.backups, kind)
        if last is None or every is None:
            continue
        try:
            (backup,) = read_backups(index, [last])
        except LostData as error:
            yield RED, f"the backup {last.label} cannot be read: {error}"
            continue
        if backup.duration_millis > every:
            took = f"took {show_span(backup.duration_millis / MILLIS)}"
            yield YELLOW, f"the schedule cannot be kept: {last.label} {took}, and is due more often than that"
