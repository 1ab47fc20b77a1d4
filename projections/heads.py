"""What the tables know of streams, as a base for a client that follows the log on from there (events/heads.py)."""

from __future__ import annotations

from events.envelope import EventId
from events.heads import Known
from events.position import Position
from events.rules import Head, Verdict
from projections.store import JournalRow, Tables
from projections.system_tables import JOURNAL


class TablesBase:
    """`Base` over tables of its caller's own: it asks them from whichever thread asks it, one at a time."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def position(self) -> Position:
        return self._tables.position()

    def head(self, stream: str) -> tuple[Head, Position]:
        with self._tables.reading():
            return self._tables.head(stream), self._tables.position()

    def find(self, stream: str, event_id: EventId) -> Known | None:
        """Raises Busy while the journal is being filled: until then nobody knows what was done already."""
        with self._tables.reading():
            self._tables.require_journal()
            found = [
                JournalRow(*row) for row in self._tables.database.find(JOURNAL, ["event_id"], [(event_id,)])
            ]
        mine = [row for row in found if row.stream == stream]
        row = max(mine, key=lambda r: (r.verdict == Verdict.APPLIED.value, r.log_offset), default=None)
        return row and Known(row.partition, row.log_offset, row.version, Verdict(row.verdict))
