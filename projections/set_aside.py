"""What one rewind set aside, as the journal has it: the events in effect before it that were not after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from events.envelope import Epoch
from events.position import CONTROL_PARTITION, EVENTS, Position
from events.rules import Effect, Rewind, Verdict
from projections.rewinding import Span, within
from projections.store import JournalRow, Tables
from projections.system_tables import JOURNAL


def spans(control: Sequence[tuple[int, Rewind]], offset: int, end: Position) -> list[Span]:
    """What the rewind at control's `offset` set aside of a log that ends at `end`; nothing where it has no effect.

    What was written later by whoever had not heard of it is among it.
    """
    before = Effect(control, end.replace({CONTROL_PARTITION: offset})).stops
    after = Effect(control, end.replace({CONTROL_PARTITION: offset + 1})).stops
    return difference(before, after)


def difference(before: Mapping[Epoch | None, Position], after: Mapping[Epoch | None, Position]) -> list[Span]:
    """What is in effect with the stops of one chain, and not with those of another."""
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


def counts_in(tables: Tables, span: Span) -> list[tuple[str, str, str, int]]:
    """(type, stream, actor's id, how many) of them that apply now. Raises Busy while the journal is being filled."""
    tables.require_journal()
    where, given = within(tables.database, span)
    by = "type, stream, actor_id"
    sql = f"SELECT {by}, count(*) FROM journal {where} AND verdict = ? GROUP BY {by}"
    return [(t, s, a, int(n)) for t, s, a, n in tables.database.fetch(sql, (*given, Verdict.APPLIED.value))]


def rows_in(tables: Tables, span: Span) -> Iterator[JournalRow]:
    """Them, in log order. Inside `tables.reading()`; raises Busy while the journal is being filled."""
    tables.require_journal()
    where, given = within(tables.database, span)
    for row in tables.database.iterate(JOURNAL, f"{where} ORDER BY log_offset", given):
        yield JournalRow(*row)
