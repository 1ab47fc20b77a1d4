"""Folds of the care family."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from events.envelope import Event
from projections import record_tables as tables
from projections.folds.records import put_resource, record_fold
from projections.parts import CURRENT, voided
from projections.rows import Fold, Rows

AMENDED = "amended"
_TITLE, _PRACTITIONER = (
    [c.name for c in tables.NOTES.columns].index(name) for name in ("title", "practitioner")
)
_ENCOUNTER, _KIND = ([c.name for c in tables.NOTES.columns].index(name) for name in ("encounter_id", "kind"))

KINDS: Mapping[str, sa.Table] = {
    "encounter": tables.ENCOUNTERS,
    "observation": tables.OBSERVATIONS,
    "diagnosis": tables.DIAGNOSES,
    "allergy": tables.ALLERGIES,
    "procedure": tables.PROCEDURES,
    "prescription": tables.PRESCRIPTIONS,
    "administration": tables.ADMINISTRATIONS,
    "immunisation": tables.IMMUNISATIONS,
    "note": tables.NOTES,
    "document": tables.DOCUMENTS,
    "laboratory_order": tables.LABORATORY_ORDERS,
    "specimen": tables.SPECIMENS,
    "laboratory_result": tables.LABORATORY_RESULTS,
    "laboratory_report": tables.LABORATORY_REPORTS,
}
"""The table of each RecordKind."""


def note_amended(event: Event, rows: Rows) -> None:
    """What the amendment does not say stays; an amendment of a note that is not there is the note."""
    fields = event.payload[1]
    old = rows.get(tables.NOTES, (fields["record_id"],))
    rows.put(
        tables.NOTES,
        (
            event.stream,
            fields["record_id"],
            AMENDED,
            None,
            event.event_id,
            event.version,
            event.occurred_at,
            old and old[_ENCOUNTER],
            old[_KIND] if old else "note",
            fields["title"] or (old and old[_TITLE]),
            fields["text"],
            fields["practitioner"] or (old and old[_PRACTITIONER]),
        ),
    )
    if fields["origin"] is not None:
        put_resource(event, rows, "note")


def entered_in_error(event: Event, rows: Rows) -> None:
    """Marks the record, if it is there."""
    fields = event.payload[1]
    void(KINDS[fields["kind"]], event, rows)


def void(table: sa.Table, event: Event, rows: Rows) -> None:
    row = rows.get(table, (event.payload[1]["record_id"],))
    if row is not None:
        rows.put(table, voided(row, event))


FOLDS: Mapping[str, Fold] = {
    "id.rekam.care.EncounterRecorded": record_fold(tables.ENCOUNTERS, "encounter"),
    "id.rekam.care.ObservationRecorded": record_fold(tables.OBSERVATIONS, "observation"),
    "id.rekam.care.DiagnosisRecorded": record_fold(tables.DIAGNOSES, "diagnosis"),
    "id.rekam.care.AllergyRecorded": record_fold(tables.ALLERGIES, "allergy"),
    "id.rekam.care.ProcedureRecorded": record_fold(tables.PROCEDURES, "procedure"),
    "id.rekam.care.MedicationPrescribed": record_fold(tables.PRESCRIPTIONS, "prescription"),
    "id.rekam.care.MedicationAdministered": record_fold(tables.ADMINISTRATIONS, "administration"),
    "id.rekam.care.ImmunisationGiven": record_fold(tables.IMMUNISATIONS, "immunisation"),
    "id.rekam.care.NoteWritten": record_fold(tables.NOTES, "note", CURRENT),
    "id.rekam.care.NoteAmended": note_amended,
    "id.rekam.care.DocumentAttached": record_fold(tables.DOCUMENTS, "document"),
    "id.rekam.care.EnteredInError": entered_in_error,
}
