"""One patient's record and history, now or as they stood, as plain values for commands and pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from events.position import EVENTS
from projections.asof import as_of, history_at
from projections.store import JournalRow, Tables
from services.times import Moment

Record = dict[str, list[dict[str, Any]]]
"""table -> rows, column -> value; ids are bytes, times microseconds."""


def event_json(row: JournalRow, show_time: Callable[[int], str]) -> dict[str, Any]:
    """One event of a history, for people and programs."""
    return {
        "version": row.version,
        "verdict": row.verdict,
        "type": row.type,
        "event_id": row.event_id.hex(),
        "epoch": None if row.epoch is None else row.epoch.hex(),
        "occurred_at": show_time(row.occurred_at),
        "recorded_at": show_time(row.recorded_at),
        "logged_at": show_time(row.logged_at),
        "actor": f"{row.actor_role}:{row.actor_id}",
        "system": row.actor_system,
        "position": f"{EVENTS}/{row.log_partition}@{row.log_offset}",
    }


def record_of(tables: Tables, stream: str, moment: Moment | None) -> Record:
    """Every state table's rows of one stream."""
    with tables.reading():
        if moment is None:
            rows = {table.name: tables.rows(table, stream) for table in tables.definition.tables}
        else:
            rows = as_of(tables, stream, moment.position, moment.control)
    columns = {table.name: [c.name for c in table.columns] for table in tables.definition.tables}
    return {
        name: [dict(zip(columns[name], row, strict=True)) for row in found] for name, found in rows.items()
    }


def history_of(tables: Tables, stream: str, moment: Moment | None) -> list[JournalRow]:
    """Every event of one stream in log order, as judged now or at the moment."""
    if moment is None:
        return history_at(tables, stream)
    return history_at(tables, stream, moment.position, moment.control)
