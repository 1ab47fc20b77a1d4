"""Where an event stands on the log: by the tables' journal where they can be asked, else by reading the events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

from events.codec import Unreadable, decode_events
from events.envelope import EventId
from events.errors import RekamError
from events.log import LogReader, Record
from events.partitioning import partition_number
from events.position import EVENTS, Partition
from events.rules import Verdict
from replicator.targets import Located
from services.recovery.looking import View
from services.system import System


def locate(system: System, view: View, event_id: EventId) -> Located | None:
    """The record in which the event applied, as far as the journal knows, else its first one; None: there is none."""
    reader: LogReader = view.log if view.log is not None else view.archive
    stops = view.end.of(EVENTS)
    for partition, offset in _by_journal(system, event_id):
        if offset < stops.get(partition, 0):
            for batch in reader.read(partition, offset, offset + 1):
                for found in _located(partition, batch, event_id):  # the log may be another than the tables'
                    return found
    for partition, stop in stops.items():
        for batch in reader.read(partition, 0, stop):
            at_home = (r for r in batch if partition_number(r.key, len(stops)) == partition.number)
            for found in _located(partition, at_home, event_id):
                return found
    return None


def _by_journal(system: System, event_id: EventId) -> list[tuple[Partition, int]]:
    """Where its records stand, the applied one first. Tables that are lost or damaged say nothing."""
    try:
        with closing(system.tables()) as tables:
            rows = tables.occurrences(event_id)
    except RekamError:
        return []
    rows.sort(key=lambda row: (row.verdict != Verdict.APPLIED, row.log_offset))
    return [(row.partition, row.log_offset) for row in rows]


def _located(partition: Partition, records: Iterable[Record], event_id: EventId) -> Iterator[Located]:
    bearing = [record for record in records if event_id in (record.value or b"")]
    for record, event in zip(bearing, decode_events([r.value for r in bearing]), strict=True):
        if isinstance(event, Unreadable) or record.key != event.stream.encode():
            continue  # no event of ours, as projections/judging.py says
        if event.event_id == event_id:
            yield Located(partition, record.offset, event.epoch, record.time)
