"""Drills: rehearsed recoveries, each kept in the archive with what it took and whether it gave the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from events.position import Position
from replicator.archive import Archive
from replicator.canonical import canonical, utc_second
from replicator.entries import DrillEntry
from replicator.manifest import FORMAT
from replicator.outcome import Outcome

DRILLS = "drills/"


@dataclass(frozen=True)
class Drill:
    """One drill. Times are milliseconds UTC."""

    time: int
    """When it began."""
    target: int
    """The moment that was recovered to."""
    position: Position
    checkpoint: int
    """The newest when it began."""
    outcome: Outcome
    records: int
    """How many were restored onto the scratch log."""
    rto_millis: int
    """Until log, tables and journal were whole; 0 where they never were."""
    rpo_millis: int
    """How much work the loss of everything but the archive would have cost when it began."""
    findings: tuple[str, ...]
    """What differed from the live history, or could not be looked at."""

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "position": self.position.to_json(),
            "outcome": self.outcome.value,
            "findings": list(self.findings),
        }


def add_drill(archive: Archive, drill: Drill) -> DrillEntry:
    """Stores what was found and gives its entry, which the next checkpoint must name."""
    return archive.add_plain(
        "drill",
        lambda digest, _: f"{DRILLS}{utc_second(drill.time)}-{digest}.json",
        canonical({"format": FORMAT, **drill.to_json()}),
        DrillEntry,
        time=drill.time,
        target=drill.target,
        outcome=drill.outcome.value,
        rto_millis=drill.rto_millis,
        rpo_millis=drill.rpo_millis,
    )


def failing(drills: Sequence[DrillEntry]) -> bool:
    """Whether the newest that came to a result found that a recovery does not give the truth."""
    decided = [drill.outcome for drill in drills if drill.outcome != Outcome.INCONCLUSIVE]
    return bool(decided) and decided[-1] == Outcome.INVALID
