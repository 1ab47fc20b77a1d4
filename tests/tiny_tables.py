"""A small definition with every kind of column and every way in which a fold may touch rows."""

from __future__ import annotations

import json

import sqlalchemy as sa

from events.envelope import Event
from projections.columns import (
    Boolean,
    Dec,
    Digest,
    Document,
    Id,
    Instant,
    Integer,
    Text,
    column,
    state_table,
)
from projections.definition import Definition
from projections.rows import Rows

METADATA = sa.MetaData()
READINGS = state_table(
    METADATA,
    "readings",
    ("record_id",),
    column("record_id", Text(), nullable=False),
    column("value", Dec()),
    column("corrections", Integer(), nullable=False),
    column("corrected", Boolean()),
    column("at", Instant(), nullable=False),
    column("event_id", Id(), nullable=False),
)
NOTES = state_table(
    METADATA,
    "notes",
    ("kind", "number"),
    column("kind", Text(), nullable=False),
    column("number", Integer(), nullable=False),
    column("text", Text()),
    column("document", Document()),
    column("sketch", Digest()),
)


def fold_reading(event: Event, rows: Rows) -> None:
    fields = event.payload[1]
    before = rows.get(READINGS, (fields["record_id"],))
    corrections = 0 if before is None else before[3] + 1
    quantity = fields["quantity"]
    rows.put(
        READINGS,
        (
            event.stream,
            fields["record_id"],
            quantity and quantity["value"],
            corrections,
            None if before is None else True,
            event.occurred_at,
            event.event_id,
        ),
    )


def fold_void(event: Event, rows: Rows) -> None:
    rows.delete(READINGS, (event.payload[1]["record_id"],))


def fold_note(event: Event, rows: Rows) -> None:
    """Numbers the notes of a kind: what it writes depends on every note before it."""
    fields = event.payload[1]
    number = 1
    while rows.get(NOTES, (fields["kind"], number)) is not None:
        number += 1
    document = json.dumps({"title": fields["title"]}, sort_keys=True, separators=(",", ":"))
    text = fields["text"]
    rows.put(NOTES, (event.stream, fields["kind"], number, text, document, text.encode() or None))


FOLDS = {
    "id.rekam.care.ObservationRecorded": fold_reading,
    "id.rekam.care.EnteredInError": fold_void,
    "id.rekam.care.NoteWritten": fold_note,
}


def tiny() -> Definition:
    return Definition((READINGS, NOTES), FOLDS)
