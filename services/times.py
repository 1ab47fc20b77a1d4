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
from events.rules import Rewind, Verdict
from projections.continuity import known_rewinds
from projections.store import Tables
from replicator.targets import Located, Point, Range, Target, instant, refuse_beyond, resolve
from services.system import System

MICROS = 1000


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
    marks, now = marks_at_hand(system), system.clock()
    if time > max(now, marks.last.time if marks else now):
        raise Refused(
            f"{instant(time, zone)} is after now ({instant(now, zone)})", "name a moment that is over"
        )
    times = LiveTimes(log, known)
    return Moment(cut(time, marks, times), times.control, final=bool(marks) and marks.last.time >= time)


def resolve_target_for_reading(system: System, log: EventLog, tables: Tables, target: Target) -> Moment:
    """The position of a target other than the newest state, on the log and the tables at hand, archive or not.

    Raises Refused for a time after now, an event that is not on the log or never took effect, or a position of
    another log; BeyondArchive for a position that the log does not reach; Busy while the journal is being filled.
    """
    known = known_rewinds(log, tables)
    if target.time is not None:
        return resolve_for_reading(system, log, target.time, known)
    marks, times, now = marks_at_hand(system), LiveTimes(log, known), system.clock()
    if target.position is not None:
        refuse_beyond(target.position, times.end())
        point = Point(target.position, target.moment)
    else:
        located = _located(tables, target)
        point = resolve(target, Range(0, now), marks, times, now, located=located, control=times.control)
    covered = bool(marks) and marks.last.position.covers(point.position)
    return Moment(point.position, times.control, covered)


def _located(tables: Tables, target: Target) -> Located | None:
    """The record in which the target's event applied, else its first one; None: there is none."""
    rows = tables.occurrences(target.event) if target.event is not None else []
    row = min(rows, key=lambda row: (row.verdict != Verdict.APPLIED, row.log_offset), default=None)
    return row and Located(row.partition, row.log_offset, row.epoch, row.logged_at // MICROS)


def marks_at_hand(system: System) -> Marks:
    """The archive's checkpoints; none where it cannot be read: then the answer is not final, and says so."""
    try:
        return system.archive().marks
    except (Unavailable, LostData, Refused):
        return ListedMarks()
