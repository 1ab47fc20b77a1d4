"""Looking before acting: what the archive holds and what stands beside it, as a plan needs to know it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from events.control import NOTHING_KNOWN, Known, LiveTimes, rewinds_upto
from events.effective import TimeIndex
from events.envelope import Epoch
from events.errors import LogMissing, LogRecreated, TablesDamaged, TablesOutdated
from events.log import EventLog
from events.position import EVENTS, Position
from events.rules import Effect, Rewind
from projections.continuity import known_rewinds, refuse_diverged
from projections.store import Tables
from replicator.archive import ArchiveIndex
from replicator.planning import Holdings, Situation
from services.system import System


@dataclass
class View:
    """What was found. Close it: the log is open."""

    archive: ArchiveIndex
    log: EventLog | None
    times: TimeIndex
    """Over the log where it stands, else over the archive."""
    holdings: Holdings
    situation: Situation
    end: Position
    """The log's end, or the archive's where the log is lost."""

    @property
    def newest(self) -> Epoch | None:
        """The epoch that a rewind decided on this view names."""
        return Effect(self.situation.control, self.end).newest

    def effect_now(self, log: EventLog) -> Effect:
        """At the end of `log`, which holds what was found, as it is now."""
        end = log.end()
        return Effect(rewinds_upto(log, end.control, Known(self.situation.control, self.end.control)), end)

    def close(self) -> None:
        if self.log is not None:
            self.log.close()


def find_log(system: System) -> EventLog | None:
    """None only where there is certainly no log; whatever does not answer is an error, not a loss."""
    try:
        return system.log()
    except LogMissing:
        return None


def look(system: System, log: EventLog | None) -> View:
    """Reads archive, log and tables; changes nothing."""
    archive = system.archive()
    holdings = archive.holdings()
    if log is None:
        times: TimeIndex = archive
        end = archive.end()
        control = archive.control
    else:
        live = LiveTimes(log, _known(system, log))
        times, end, control = live, live.end(), live.control
    tables = _tables_position(system, log, end)
    idle = _idle(times, holdings, control, end)
    situation = Situation(end if log is not None else None, control, tables, idle)
    return View(archive, log, times, holdings, situation, end)


def _known(system: System, log: EventLog) -> Known:
    """What the tables have read of control, where they can be asked: in the years of a clinic that is most of it."""
    try:
        with closing(system.tables()) as tables:
            return known_rewinds(log, tables)
    except (TablesDamaged, TablesOutdated):
        return NOTHING_KNOWN


def _tables_position(system: System, log: EventLog | None, end: Position) -> Position | None:
    """Where the tables stand; None where they cannot go on with this log."""
    if log is None:
        return None
    try:
        with closing(system.tables()) as tables:
            return _standing(tables, log, end)
    except (TablesDamaged, TablesOutdated):
        return None


def _standing(tables: Tables, log: EventLog, end: Position) -> Position | None:
    position = tables.position()
    known = tables.identity()
    if known and dict(known) != dict(log.identity()):
        return None
    if not end.covers(position):
        return None
    try:
        refuse_diverged(log, tables, position)
    except LogRecreated:
        return None
    # Tables that were just made count as lost where there is much to fold: the bulk path is faster.
    return None if not position.records() and end.records() else position


def _idle(
    times: TimeIndex, holdings: Holdings, control: Sequence[tuple[int, Rewind]], end: Position
) -> frozenset[Epoch]:
    """The newest epochs in effect that no event names."""
    offsets = {rewind.epoch: offset for offset, rewind in control}
    idle: set[Epoch] = set()
    for link in reversed(Effect(control, end).links):
        if link.epoch is None or _written(times, holdings.marks.unseen(offsets[link.epoch]), end, link.epoch):
            break
        idle.add(link.epoch)
    return frozenset(idle)


def _written(times: TimeIndex, start: Position, end: Position, epoch: Epoch) -> bool:
    """Whether any event from `start` to `end` names the epoch."""
    return any(
        times.first_naming(p, start[p], stop, frozenset([epoch])) is not None
        for p, stop in end.of(EVENTS).items()
    )
