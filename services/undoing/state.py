"""One stream's state rows in memory, which of them are the same, and which event gave each its content.

A *slot* is what one event fills and a later one replaces: a record's row, an imported resource's row, the patient's
registration, what a payer decided on a claim. Rows name the event that filled them, so what must be appended to bring
a slot back is known without guessing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

import sqlalchemy as sa

from events.envelope import Event, EventId
from projections.columns import key_of
from projections.folding import CompleteRows, fold_all
from projections.folds import FOLDS
from projections.folds.care import KINDS
from projections.parts import VOID
from projections.record_tables import ADJUDICATIONS, CHARGES, CLAIMS, PAYMENTS
from projections.rows import Key, Row
from projections.tables import (
    CONTACTS,
    COVERAGES,
    IDENTIFIERS,
    PATIENTS,
    RESOURCES,
    STATE_TABLES,
)

Fields: TypeAlias = dict[str, Any]
"""column -> value."""
Slot: TypeAlias = tuple[str, Key]
"""(a table's name, or DECISION; the key after the stream)."""

RECORDS: Mapping[str, sa.Table] = {
    **KINDS,
    "charge": CHARGES,
    "payment": PAYMENTS,
    "adjudication": ADJUDICATIONS,
}
"""kind -> the table of its records. Claims are apart: what was submitted cannot be taken back."""
KIND_OF: Mapping[str, str] = {table.name: kind for kind, table in RECORDS.items()}
DECISION = "claims.decision"
ADJUDICATED = "id.rekam.billing.ClaimAdjudicated"

SET_BY = frozenset(("stream", "event_id", "version", "voided_by"))
"""Of a row: by what it came about, which is never the same twice."""
DECIDED = ("outcome", "approved_amount", "patient_amount")
SETTLED = "paid_amount"
_PROGRESS = frozenset(("status", "adjudicated_by", *DECIDED, "finalised_by", SETTLED))
_NOT_DETAILS = frozenset(
    ("occurred_at", "contact_count", "coverage_count", "survivor", "merged_by", "erased_by")
)
"""Columns of a patient that the registration's content does not decide, and when it was given."""
_ITEM_PLACE = frozenset(("stream", "number", "event_id", "version"))


class State:
    """The rows of one stream after some of its events."""

    def __init__(self, stream: str, events: Iterable[Event] = ()) -> None:
        """`events`: applied ones, opened, in order."""
        self.stream = stream
        self._rows = CompleteRows(STATE_TABLES)
        fold_all(events, self._rows, FOLDS)

    def fold(self, event: Event) -> None:
        fold_all([event], self._rows, FOLDS)

    def row(self, table: sa.Table, key: Key) -> Fields | None:
        found = self._rows.shelves[table].rows.get((self.stream, *key))
        return None if found is None else _fields(table, found)

    def rows(self, table: sa.Table) -> Iterator[tuple[Key, Fields]]:
        """(key after the stream, row) of a table, in key order."""
        key = key_of(table)
        for row in self._rows.ordered(table):
            yield key(row)[1:], _fields(table, row)

    @property
    def patient(self) -> Fields | None:
        """The registration; None before there is one."""
        return self.row(PATIENTS, ())

    @property
    def survivor(self) -> str | None:
        """Where this record goes on after a merge."""
        patient = self.patient
        return None if patient is None else patient["survivor"]

    def items(self, table: sa.Table) -> list[Fields]:
        """A patient's identifiers, contacts or coverages, as events hold them."""
        return [
            {name: value for name, value in row.items() if name not in _ITEM_PLACE}
            for _, row in self.rows(table)
        ]

    def fillers(self) -> dict[Slot, EventId]:
        """slot -> the event that filled it."""
        found = {
            (table.name, key): row["event_id"]
            for table in (*RECORDS.values(), RESOURCES, PATIENTS)
            for key, row in self.rows(table)
            if row.get("kind") != "claim" or table is not RESOURCES
        }
        decided = ((key, row["adjudicated_by"]) for key, row in self.rows(CLAIMS))
        return found | {(DECISION, key): event_id for key, event_id in decided if event_id is not None}


@cache
def _names(table: sa.Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns)


def _fields(table: sa.Table, row: Row) -> Fields:
    return dict(zip(_names(table), row, strict=True))


class _Touched:
    """Rows that only note which slots a fold writes to."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.slots: set[Slot] = set()

    def get(self, table: sa.Table, key: Key) -> Row | None:
        return None

    def put(self, table: sa.Table, row: Row) -> None:
        self.slots.add((table.name, key_of(table)(row)[1:]))

    def delete(self, table: sa.Table, key: Key) -> None:
        """Nothing of a slot goes away."""

    def blank(self) -> None:
        """An erasure fills no slot."""


def touched(event: Event) -> set[Slot]:
    """The slots that an event fills, whatever stood there."""
    rows = _Touched(event.stream)
    fold = FOLDS.get(event.payload[0])
    if fold is not None:
        fold(event, rows)
    if event.payload[0] == ADJUDICATED:
        return {(DECISION if table == CLAIMS.name else table, key) for table, key in rows.slots}
    return {slot for slot in rows.slots if slot[0] != CLAIMS.name}


def filled_by(row: Fields | None, column: str = "event_id") -> EventId | None:
    """The event that a row names; None where there is no row."""
    return None if row is None else row[column]


# ---- what is the same


def content(row: Fields) -> Fields:
    """What a record says, without how far it is valid."""
    return {name: value for name, value in row.items() if name not in SET_BY and name != "status"}


def is_void(row: Fields) -> bool:
    return bool(row["status"] == VOID)


def details(state: State) -> tuple[Fields, list[Fields]] | None:
    """What a registration says of a patient, contacts and coverages apart."""
    patient = state.patient
    if patient is None:
        return None
    skipped = SET_BY | _NOT_DETAILS
    return {n: v for n, v in patient.items() if n not in skipped}, state.items(IDENTIFIERS)


def submitted(claim: Fields) -> Fields:
    """What was submitted, without how far the claim is."""
    return {name: value for name, value in claim.items() if name not in SET_BY | _PROGRESS}


def decision(claim: Fields | None) -> tuple[Any, ...] | None:
    """What a payer decided; None where nothing yet."""
    return (
        None if claim is None or claim["adjudicated_by"] is None else tuple(claim[name] for name in DECIDED)
    )


def filled_alike(slot: Slot, then: State, now: State) -> bool:
    """Whether a slot that was filled then holds the same now. Of a record that was void, what it says is compared."""
    name, key = slot
    if name == PATIENTS.name:
        return details(then) == details(now)
    if name == DECISION:
        return decision(then.row(CLAIMS, key)) == decision(now.row(CLAIMS, key))
    table = RESOURCES if name == RESOURCES.name else RECORDS[KIND_OF[name]]
    was, is_ = then.row(table, key), now.row(table, key)
    if was is None or is_ is None:
        return was is is_
    if table is RESOURCES:
        return all(was[column] == is_[column] for column in ("content_sha256", "kind", "record_id"))
    return content(was) == content(is_) and (was["voided_by"] is not None or was["status"] == is_["status"])


LISTS: Mapping[str, sa.Table] = {"contacts": CONTACTS, "coverages": COVERAGES}
"""A patient's lists that have an event of their own."""
