"""Folds of records: an event that gives a record its full content becomes the record's row.

A correction is the same again: it puts the new row in the old one's place, and history keeps the old. That needs
no look at what was there, so a batch of new records loads nothing.
"""

from __future__ import annotations

import sqlalchemy as sa

from events.envelope import Event
from projections.parts import compile_row
from projections.rows import Fold, Rows
from projections.tables import RESOURCES


def record_fold(
    table: sa.Table, kind: str, status: str | None = None, *, status_from: str = "status"
) -> Fold:
    """The fold of events that give a row of `table` its content. `kind` names it among imported resources."""
    row_of = compile_row(table.info["parts"], status, status_from=status_from)

    def fold(event: Event, rows: Rows) -> None:
        rows.put(table, row_of(event))
        if event.payload[1]["origin"] is not None:
            put_resource(event, rows, kind)

    return fold


def put_resource(event: Event, rows: Rows, kind: str | None) -> None:
    """The `resources` row of an imported event; its original stays reachable through the event's id."""
    fields = event.payload[1]
    origin = fields["origin"]
    rows.put(
        RESOURCES,
        (
            event.stream,
            origin["source"],
            origin["resource_type"],
            origin["resource_id"],
            event.event_id,
            event.version,
            origin["content_sha256"],
            kind,
            fields.get("record_id"),
        ),
    )
