"""Shipping and snapshots, as commands and recoveries ask for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from events.errors import Busy, Refused, Unavailable
from events.log import EventLog
from events.rules import Effect
from projections.columns import kind_of
from projections.store import Tables
from projections.system_tables import STREAMS
from replicator.blobs import BlobShipping, not_held
from replicator.entries import Entry
from replicator.pruning import extend_locks, needed
from replicator.shipper import Shipped
from replicator.snapshot import TableImage, write_snapshot
from replicator.upkeep import upkeep, upkeep_due
from services.ledger import missing_from_ledger
from services.projecting import catch_up_whole
from services.system import System

MILLIS = 1000
CLOCK_PATIENCE_SECONDS = 10.0
"""How long a broker's clock may lag behind ours before a moment that is over by ours counts as out of reach."""
CLOCK_PAUSE_SECONDS = 0.1
"""Between the checkpoints that wait for it."""
RETRY_SECONDS = 2.0
LENGTHENED = 3
"""How many times in a lock's term the locks of what is needed are lengthened: twice may fail."""
UPKEEP_MILLIS = 300_000
"""How often is looked whether segments are to be merged and checkpoints to be joined."""

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Outcome:
    """What one `replicate --once` did."""

    shipped: Shipped
    snapshot: str | None

    def to_json(self) -> dict[str, Any]:
        shipped = self.shipped
        return {
            "checkpoint": shipped.checkpoint,
            "complete_through": shipped.time,
            "position": shipped.position.to_json(),
            "segments": shipped.segments,
            "records": shipped.records,
            "size_bytes": shipped.size_bytes,
            "snapshot": self.snapshot,
            "missing_attachments": shipped.missing_blobs,
        }


def ship(
    system: System, log: EventLog, *, entries: Sequence[Entry] = (), not_before: int | None = None
) -> Shipped:
    """Ships all there is and commits a checkpoint that names `entries`.

    `not_before`: a time (milliseconds UTC) that is over by our clock and that the checkpoint must cover; the log's
    clock may lag a little. Raises as Shipper.ship_once.
    """
    deadline = time.monotonic() + CLOCK_PATIENCE_SECONDS
    while True:
        shipped = system.shipper(log).ship_once(entries=entries)
        system.remember(shipped.note)
        reached = not_before is None or shipped.time >= not_before
        if reached or time.monotonic() > deadline:
            return shipped
        entries = ()
        time.sleep(CLOCK_PAUSE_SECONDS)


def missing_words(missing: int) -> str:
    return (
        f"{missing:,} attachments that events name are not on this machine, and were not shipped; all else was. "
        "Put them back into the attachments folder from a copy"
    )


def take_snapshot(system: System, tables: Tables) -> Entry:
    """The tables as they stand, into the archive; it counts once a checkpoint names it."""
    with tables.reading():
        position = tables.position()
        links = Effect(tables.control(), position).links
        return write_snapshot(system.writer(), position, links, _images(tables))


def _images(tables: Tables) -> Iterator[TableImage]:
    for table in (*tables.definition.tables, STREAMS):
        columns = [(column.name, kind_of(column).value) for column in table.columns]
        yield TableImage(table.name, columns, tables.all_rows(table))


def replicate_once(system: System, *, snapshot: bool) -> Outcome:
    """Ships everything, the tables' snapshot first where it is wanted."""
    entries: list[Entry] = []
    with closing(system.log()) as log:
        if snapshot:
            with closing(system.tables()) as tables:
                catch_up_whole(system.log_opener(), log, tables)
                entries.append(take_snapshot(system, tables))
        taken = entries[0].raw["id"] if entries else None
        shipped = ship(system, log, entries=[*entries, *keep_up(system, log)])
    return Outcome(shipped, taken)


def keep_up(system: System, log: EventLog) -> list[Entry]:
    """Erasures that the ledger lacks, attachments that were missing and turned up, and what merging and joining made:
    the next checkpoint must name it."""
    writer, index = system.writer(), system.archive()
    entries = missing_from_ledger(system, writer, index)
    entries += BlobShipping(writer, system.blobs(), index).entries(list(not_held(index)))
    return [*entries, *(upkeep(log, writer, index) if upkeep_due(index) else [])]


def _try_to_lengthen_locks(system: System, tell: Tell) -> None:
    """Shipping goes on where it is refused: what was locked stays so for two thirds of its term yet."""
    try:
        lengthen_locks(system)
    except Refused as error:
        tell(f"the archive's locks were not lengthened: {error}")


def lengthen_locks(system: System) -> int:
    """Locks anew what the archive needs, for a whole term from now on: how many objects."""
    index = system.archive()
    return extend_locks(index.store, system.writer().store, needed(index))


def replicate_forever(system: System, stop: threading.Event, tell: Tell) -> None:
    """Ships what is due every interval, and keeps the archive small to list.

    What does not answer is tried again; lost data ends it, since it needs a person. Backups are taken beside
    (backups/keeping.py), since shipping must not wait for them.
    """
    while not stop.is_set():
        try:
            with closing(system.log()) as log:
                _replicate_while_answered(system, log, stop, tell)
        except (Unavailable, Busy) as error:
            tell(f"replicating waits: {error}")
            stop.wait(min(RETRY_SECONDS, system.interval_seconds))


def _replicate_while_answered(system: System, log: EventLog, stop: threading.Event, tell: Tell) -> None:
    shipper = system.shipper(log)
    upkeep_due_at = locks_due_at = system.clock()
    while not stop.is_set():
        entries: list[Entry] = []
        if system.clock() >= upkeep_due_at:
            entries += keep_up(system, log)
            upkeep_due_at = system.clock() + UPKEEP_MILLIS
        if system.lock_millis and system.clock() >= locks_due_at:
            _try_to_lengthen_locks(system, tell)
            locks_due_at = system.clock() + system.lock_millis // LENGTHENED
        if entries or shipper.due():
            shipped = shipper.ship_once(entries)
            system.remember(shipped.note)
            if shipped.missing_blobs:
                tell(missing_words(shipped.missing_blobs))
        stop.wait(system.interval_seconds)
