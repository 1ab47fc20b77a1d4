"""Folds of the registration and erasure families.

A patient's identifiers, contacts and coverages are lists that an event replaces whole. Their rows are numbered
from 1, and the patient's row holds how many there are, so that replacing a long list by a short one takes the
surplus away without searching. What comes before the patient is registered has no row to change; it stays in
history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from events.envelope import Event, EventId
from projections import tables
from projections.folds.records import put_resource
from projections.parts import to_document
from projections.rows import Fold, Row, Rows

_AT: Mapping[str, int] = {c.name: n for n, c in enumerate(tables.PATIENTS.columns)}
_PLAIN = (
    "medical_record_number",
    "nik",
    "name",
    "given",
    "family",
    "birth_date",
    "birth_place",
    "sex",
    "deceased",
    "death_date",
    "marital_status",
    "religion",
    "education",
    "occupation",
    "mother_name",
    "language",
    "address",
    "managing_organisation",
)
_BLANK: Mapping[str, Any] = {"name": "", "sex": "unknown", "deceased": False}
"""What stands in the columns of an erased patient that must hold something."""
_DOCUMENTS = frozenset(("given", "address"))
_LISTS = (
    (tables.IDENTIFIERS, "identifiers", "identifier_count", ("system", "value", "use")),
    (
        tables.CONTACTS,
        "contacts",
        "contact_count",
        ("contact_id", "relationship", "name", "system", "value", "use"),
    ),
    (
        tables.COVERAGES,
        "coverages",
        "coverage_count",
        (
            "coverage_id",
            "kind",
            "payer",
            "member_number",
            "class_of_care",
            "facility_code",
            "valid_from",
            "valid_until",
        ),
    ),
)


def registered(event: Event, rows: Rows) -> None:
    """A registration and its correction: the full content. Merges and erasures of before stay."""
    fields = event.payload[1]
    old = rows.get(tables.PATIENTS, ())
    for table, field, counted, columns in _LISTS:
        _replace_list(event, rows, table, columns, fields[field], old[_AT[counted]] if old else 0)
    content = [to_document(fields[n]) if n in _DOCUMENTS else fields[n] for n in _PLAIN]
    counts = [len(fields[field]) for _, field, _, _ in _LISTS]
    kept = old[_AT["survivor"] :] if old else (None, None, None)
    set_by = (event.event_id, event.version, event.occurred_at)
    rows.put(tables.PATIENTS, (event.stream, *set_by, *content, *counts, *kept))
    if fields["origin"] is not None:
        put_resource(event, rows, "patient")


def _replace_list(
    event: Event,
    rows: Rows,
    table: sa.Table,
    columns: Sequence[str],
    items: Sequence[Mapping[str, Any]],
    before: int,
) -> None:
    for number, item in enumerate(items, 1):
        content = [item[column] for column in columns]
        rows.put(table, (event.stream, number, *content, event.event_id, event.version))
    for number in range(len(items) + 1, before + 1):
        rows.delete(table, (number,))


def _changed(row: Row, **values: Any) -> Row:
    changed = list(row)
    for name, value in values.items():
        changed[_AT[name]] = value
    return tuple(changed)


def _list_changed(n: int) -> Fold:
    table, field, counted, columns = _LISTS[n]

    def fold(event: Event, rows: Rows) -> None:
        patient = rows.get(tables.PATIENTS, ())
        if patient is not None:
            items = event.payload[1][field]
            _replace_list(event, rows, table, columns, items, patient[_AT[counted]])
            rows.put(tables.PATIENTS, _changed(patient, **{counted: len(items)}))

    return fold


def merged(event: Event, rows: Rows) -> None:
    fields = event.payload[1]
    content = (event.version, event.occurred_at, fields["survivor"], fields["reason"], None)
    rows.put(tables.MERGES, (event.stream, event.event_id, *content))
    patient = rows.get(tables.PATIENTS, ())
    if patient is not None:
        changed = _changed(patient, survivor=fields["survivor"], merged_by=event.event_id)
        rows.put(tables.PATIENTS, changed)


def unmerged(event: Event, rows: Rows) -> None:
    """Undoes the merge that it names, or else the one that stands."""
    patient = rows.get(tables.PATIENTS, ())
    standing: EventId | None = patient[_AT["merged_by"]] if patient else None
    undone = event.payload[1]["merge"] or standing
    row = rows.get(tables.MERGES, (undone,)) if undone is not None else None
    if row is not None:
        rows.put(tables.MERGES, (*row[:-1], event.event_id))
    if patient is not None and undone == standing:
        rows.put(tables.PATIENTS, _changed(patient, survivor=None, merged_by=None))


def restricted(event: Event, rows: Rows) -> None:
    fields = event.payload[1]
    set_by = (event.event_id, event.version, event.occurred_at)
    content = (fields["legal_basis"], fields["reason"], None)
    rows.put(tables.RESTRICTIONS, (event.stream, fields["scope"], *set_by, *content))


def restriction_lifted(event: Event, rows: Rows) -> None:
    """Lifts the restriction that stands in its scope, unless it names an older one."""
    fields = event.payload[1]
    row = rows.get(tables.RESTRICTIONS, (fields["scope"],))
    if row is not None and fields["restriction"] in (None, row[2]):
        rows.put(tables.RESTRICTIONS, (*row[:-1], event.event_id))


def erased(event: Event, rows: Rows) -> None:
    """Nothing is left of the patient but that they were erased, and by which event: whatever stood there before."""
    rows.blank()
    content = [_BLANK.get(name) for name in _PLAIN]
    counts = [0 for _ in _LISTS]
    set_by = (event.event_id, event.version, event.occurred_at)
    rows.put(tables.PATIENTS, (event.stream, *set_by, *content, *counts, None, None, event.event_id))


FOLDS: Mapping[str, Fold] = {
    "id.rekam.registration.PatientRegistered": registered,
    "id.rekam.registration.PatientCorrected": registered,
    "id.rekam.registration.ContactsChanged": _list_changed(1),
    "id.rekam.registration.CoverageChangedV2": _list_changed(2),
    "id.rekam.registration.PatientMerged": merged,
    "id.rekam.registration.PatientUnmerged": unmerged,
    "id.rekam.erasure.PatientRestricted": restricted,
    "id.rekam.erasure.RestrictionLifted": restriction_lifted,
    "id.rekam.erasure.PatientErased": erased,
}
