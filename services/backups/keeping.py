"""Taking backups and verifying the archive when that is due, beside the shipping, which never waits for them.

A backup that fails is told and tried again; the shipping goes on meanwhile, and status shows what is overdue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from random import Random

from events.errors import RekamError
from replicator.archive import ArchiveIndex
from replicator.backups import Backup, Kind
from replicator.verifications import Depth
from services.backups.cadence import Cadence, cadence, tail_of
from services.backups.rehearsing import Check
from services.backups.retaining import expire, plan_now
from services.backups.schedule import due, due_drill, due_verification
from services.backups.taking import back_up
from services.backups.verifying import record, verify_backup
from services.drilling import drill, keep
from services.recovery.measuring import read_rates
from services.system import System

LOOK_SECONDS = 30.0
"""How often is looked what is due."""
OPEN_MILLIS = 3_600_000
"""After so long the archive is opened anew, from its newest summary: what is read of it meanwhile stays in memory."""
RETRY_SECONDS = 300.0
"""After a backup that failed."""

Tell = Callable[[str], object]


def back_up_forever(
    system: System, stop: threading.Event, tell: Tell, *, look_seconds: float = LOOK_SECONDS
) -> None:
    """Takes what is due until `stop`."""
    index: ArchiveIndex | None = None
    opened = 0
    while not stop.is_set():
        pause = look_seconds
        try:
            if index is None or abs(system.clock() - opened) >= OPEN_MILLIS:
                index, opened = system.archive(), system.clock()
            else:
                index.refresh()
            kind = due_now(system, index)
            if kind is not None:
                backup = take(system, kind)
                tell(f"backup {backup.label}: {backup.events:,} events, {backup.new_bytes:,} new bytes")
                expire_old(system, tell)
                index.refresh()
            verify_due(system, index, stop, tell)
            drill_when_due(system, index, stop, tell)
        except Stopped:
            return
        except RekamError as error:
            tell(f"a backup or a verification is due, and waits: {error}")
            index, pause = None, min(RETRY_SECONDS, 30 * look_seconds)
        stop.wait(pause)


class Stopped(Exception):
    """The process is to end: a verification is given up, and due again the next time."""


def verify_due(system: System, index: ArchiveIndex, stop: threading.Event, tell: Tell) -> None:
    """Verifies all of the archive as deeply as is due, if any is. Raises Stopped soon after `stop`."""
    check = _checking(stop)
    deepest = Depth.SENTINEL if _opens(index) else Depth.DIGESTS
    depth = due_verification(index.verifications, index.backups, system.clock(), system.schedule, deepest)
    if depth is not None:
        check()
        found = verify_backup(system, None, depth, check=check)
        record(system, found)
        index.refresh()
        tell(
            f"verification, {depth.value}: {found.outcome.value}, {found.counts.get('objects', 0):,} objects"
        )


def drill_when_due(system: System, index: ArchiveIndex, stop: threading.Event, tell: Tell) -> None:
    """Rehearses a recovery, if that is due and the archive can be opened here. Raises Stopped soon after `stop`."""
    if not (_opens(index) and due_drill(index.drills, index.backups, system.clock(), system.schedule)):
        return
    done = drill(system, Random(), _checking(stop))
    keep(system, done)
    index.refresh()
    tell(f"drill: {done.outcome.value}, {done.records:,} records in {done.rto_millis / 1000:.1f} s")


def _checking(stop: threading.Event) -> Check:
    def check() -> None:
        if stop.is_set():
            raise Stopped

    return check


def _opens(index: ArchiveIndex) -> bool:
    """Whether what the archive holds can be read here."""
    return index.identity_key is not None or not index.recipients


def expire_old(system: System, tell: Tell) -> None:
    """After a backup: those that have been kept long enough go, where the owner lets that be done by itself."""
    if not system.retention.automatic:
        return
    planned = plan_now(system, system.archive())
    if planned.keys:
        with closing(system.log()) as log:
            checkpoint = expire(system, log, planned, "replicator")
        tell(
            f"{len(planned.backups)} backups were kept long enough: off the catalogue, checkpoint {checkpoint}"
        )


def due_now(system: System, index: ArchiveIndex) -> Kind | None:
    """What is to be taken now, of what the archive held when `index` was read."""
    rhythm = cadence_of(system, index)
    return due(index.backups, system.clock(), system.schedule, snapshot_due=rhythm.snapshot_due)


def cadence_of(system: System, index: ArchiveIndex) -> Cadence:
    return cadence(system.schedule.objectives, read_rates(system), tail_of(index.end(), index.snapshots))


def take(system: System, kind: Kind) -> Backup:
    with closing(system.log()) as log:
        return back_up(system, log, kind)
