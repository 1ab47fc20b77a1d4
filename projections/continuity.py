"""Whether a log is the one that the tables stand in, beyond its name: the last record that they hold is still there.

A log that lost its end and was written to again (an older copy of its file put back, a broker that became leader
without the newest records) bears the same name and is long enough, and whoever goes on from the cursor would mix two
histories (law 5). Asked once by whoever opened the tables; one record of each partition is read.
"""

from __future__ import annotations

from events.control import NOTHING_KNOWN, Known
from events.errors import LogGap, LogRecreated
from events.log import LogReader, Record
from events.position import CONTROL, CONTROL_PARTITION, Partition, Position
from projections.judging import logged_at
from projections.store import Tables
from projections.system_tables import CONTROL as CONTROL_TABLE
from projections.system_tables import KEPT_IN, UNREADABLE


def refuse_diverged(log: LogReader, tables: Tables, position: Position) -> None:
    """Raises LogRecreated where the log's record before the tables' `position` is not the one that they hold.

    The log must cover the position. What it no longer holds at all is not asked about.
    """
    pending = tables.journal_from() or Position()
    for partition, stop in position.items():
        if stop <= (0 if partition.topic == CONTROL else pending[partition]):
            continue
        try:
            (batch,) = log.read(partition, stop - 1, stop)
        except LogGap:
            continue
        if not _holds(tables, partition, batch[0]):
            raise LogRecreated(
                f"{partition}: the log's record at offset {stop - 1} is not the one that the tables were made from",
                "the log lost its end and was written to again: 'rekam recover --to latest' makes the tables anew",
            )


def known_rewinds(log: LogReader, tables: Tables) -> Known:
    """The rewinds that the tables have read, up to their cursor; nothing where they do not stand in this very log."""
    with tables.reading():
        identity, position = tables.identity(), tables.position()
        if dict(log.identity()) != identity or not log.end().covers(position):
            return NOTHING_KNOWN
        try:
            refuse_diverged(log, tables, Position({CONTROL_PARTITION: position.control}))
        except LogRecreated:
            return NOTHING_KNOWN
        return Known(tables.control(), position.control)


def _holds(tables: Tables, partition: Partition, record: Record) -> bool:
    topic, number = partition
    find = tables.database.find
    listed = find(UNREADABLE, ["topic", "log_partition", "log_offset"], [(topic, number, record.offset)])
    if listed:
        columns = [c.name for c in UNREADABLE.columns]
        row = dict(zip(columns, listed[0], strict=True))
        return (row["logged_at"], row["size_bytes"]) == (logged_at(record.time), len(record.value or b""))
    if topic == CONTROL:
        rows = find(CONTROL_TABLE, ["log_offset"], [(record.offset,)])
    else:
        stream = (record.key or b"").decode(errors="replace")
        rows = find(KEPT_IN[topic], ["stream", "log_offset"], [(stream, record.offset)])
    return any(row[-1] == record.value for row in rows)
