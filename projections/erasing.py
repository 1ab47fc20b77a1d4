"""Erasure in the tables: which rows of a snapshot do not come back, and streams folded anew once a key is gone.

The rows of a stream are a pure function of its applied events and of what can be opened. So where a key is destroyed
(or came back), the stream is folded again from the journal, whatever its history went through; an erased patient's
stream folds to one blank row, or to none where the erasure stands in no effective history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from events.rules import Effect
from projections.rewinding import refold
from projections.rows import Row
from projections.store import Tables


def without_erased(table: sa.Table, rows: Iterable[Row], erased: Collection[str]) -> Iterable[Row]:
    """A snapshot's rows without those of erased patients; what it holds of their erasure itself stays."""
    if not erased or table.name == "streams":
        return rows
    names = [column.name for column in table.columns]
    mark = names.index("erased_by") if "erased_by" in names else None
    return (row for row in rows if row[0] not in erased or (mark is not None and row[mark] is not None))


def fold_again(tables: Tables, streams: Iterable[str]) -> None:
    """Brings the streams' rows to what can be opened now, in one transaction.

    Raises Busy while the journal is filled.
    """
    tables.require_journal()
    tables.reveal.refresh()
    with tables.database.writing():
        effect = Effect(tables.control(), tables.position())
        refold(tables.database, tables.definition, effect, sorted(set(streams)), tables.reveal)
