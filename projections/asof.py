"""One stream as it stood at a position: from the journal alone, under the chain of that position.

The tables hold the present; the past is folded when it is asked for. A stream's events are few, so this takes
milliseconds, and it needs neither log nor archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from events.envelope import Event
from events.errors import Refused
from events.position import Position
from events.rules import Effect, Rewind, Verdict
from projections.folding import CompleteRows, fold_all
from projections.judging import Standing
from projections.rewinding import judge_again
from projections.rows import Row
from projections.store import JournalRow, Tables


def history_at(
    tables: Tables,
    stream: str,
    position: Position | None = None,
    control: Iterable[tuple[int, Rewind]] | None = None,
) -> list[JournalRow]:
    """A stream's events up to `position` (the tables' own by default), in log order, with their verdicts there.

    `control`: (offset, rewind) of the rewinds on a control prefix that holds `position`'s; by default those that the
    tables have read. Raises Refused where the tables do not stand that far yet, Busy while the journal is filled.
    """
    at, effect = _effect(tables, position, control)
    judged = judge_again(tables.journal(stream, at), effect, Standing({}, {}))
    return [row._replace(verdict=verdict.value) for row, verdict, _ in judged]


def as_of(
    tables: Tables,
    stream: str,
    position: Position | None = None,
    control: Iterable[tuple[int, Rewind]] | None = None,
) -> dict[str, list[Row]]:
    """state table -> the stream's rows as they stood at `position`, in key order. Raises as `history_at`."""
    rows = CompleteRows(tables.definition.tables)
    fold_all(applied_at(tables, stream, position, control), rows, tables.definition.folds)
    return {table.name: rows.ordered(table) for table in tables.definition.tables}


def applied_at(
    tables: Tables,
    stream: str,
    position: Position | None = None,
    control: Iterable[tuple[int, Rewind]] | None = None,
) -> Iterator[Event]:
    """The stream's events that had taken effect at `position`, in order, opened. Raises as `history_at`."""
    at, effect = _effect(tables, position, control)
    judged = judge_again(tables.journal_values(stream, at), effect, Standing({}, {}))
    return (tables.reveal(event) for _, verdict, event in judged if verdict is Verdict.APPLIED)


def _effect(
    tables: Tables, position: Position | None, control: Iterable[tuple[int, Rewind]] | None
) -> tuple[Position, Effect]:
    """The position that is asked for, and what was in effect there."""
    here = tables.position()
    at = here if position is None else position
    if not here.covers(at):
        raise Refused(f"the tables stand at {here}, not yet at {at}", "project the log first")
    return at, Effect(tables.control() if control is None else control, at)
