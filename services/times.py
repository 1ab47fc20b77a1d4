"""From a moment to a position, with whatever is at hand: the archive's checkpoints make it final, the log knows the
newest part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo

from events.control import NOTHING_KNOWN, Known, LiveTimes
from events.effective import ListedMarks, Marks, cut
from events.errors import LostData, Refused, Unavailable
from events.log import EventLog
from events.position import Position
from events.rules import Rewind
from replicator.targets import instant
from services.system import System


@dataclass(frozen=True)
class Moment:
    """A time resolved for reading."""

    position: Position
    control: Sequence[tuple[int, Rewind]]
    final: bool
    """Whether a checkpoint covers it: then no late record can change what it means."""


def resolve_for_reading(
    system: System, log: EventLog, time: int, known: Known = NOTHING_KNOWN, zone: tzinfo = UTC
) -> Moment:
    """The position at `time`, on the log at hand. Raises Refused for a time after now.

    `known`: what need not be read of its control. What a checkpoint covers is over by the log's clock, whatever our
    own says. `zone`: in which messages tell times.
    """
    marks, now = _marks(system), system.clock()
    if time > max(now, marks.last.time if marks else now):
        raise Refused(
            f"{instant(time, zone)} is after now ({instant(now, zone)})", "name a moment that is over"
        )
    times = LiveTimes(log, known)
    return Moment(cut(time, marks, times), times.control, final=bool(marks) and marks.last.time >= time)


def _marks(system: System) -> Marks:
    """The archive's checkpoints; none where it cannot be read: then the answer is not final, and says so."""
    try:
        return system.archive().marks
    except (Unavailable, LostData, Refused):
        return ListedMarks()
