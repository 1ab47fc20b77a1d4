"""What one rewind set aside, as the journal has it: the events in effect before it that were not after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from events.position import CONTROL_PARTITION, EVENTS, Position
from events.rules import Effect, Rewind
from projections.rewinding import Span, within
from projections.store import JournalRow, Tables
from projections.system_tables import JOURNAL


def spans(control: Sequence[tuple[int, Rewind]], offset: int, end: Position) -> list[Span]:
    """What the rewind at control's `offset` set aside of a log that ends at `end`; nothing where it has no effect.

    What was written later by whoever had not heard of it is among it.
    """
    before = Effect(control, end.replace({CONTROL_PARTITION: offset})).stops
    after = Effect(control, end.replace({CONTROL_PARTITION: offset + 1})).stops
    found = [
        Span(epoch, partition, after[epoch][partition] if epoch in after else 0, stop)
        for epoch, stops in before.items()
        for partition, stop in stops.of(EVENTS).items()
    ]
    return [span for span in found if span.start < span.stop]


def count_in(tables: Tables, span: Span) -> int:
    """How many events the journal has there. Raises Busy while the journal is being filled."""
    tables.require_journal()
    where, given = within(tables.database, span)
    return int(tables.database.fetch(f"SELECT count(*) FROM journal {where}", given)[0][0])


def rows_in(tables: Tables, span: Span) -> Iterator[JournalRow]:
    """Them, in log order. Inside `tables.reading()`; raises Busy while the journal is being filled."""
    tables.require_journal()
    where, given = within(tables.database, span)
    for row in tables.database.iterate(JOURNAL, f"{where} ORDER BY log_offset", given):
        yield JournalRow(*row)
