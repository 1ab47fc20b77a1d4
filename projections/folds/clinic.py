"""Folds of the clinic, staff and source families."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from events.envelope import Event
from projections import tables
from projections.columns import Document
from projections.folds.records import put_resource
from projections.parts import to_document
from projections.rows import Fold, Row, Rows

_CODE_COLUMNS = {"code_system": "system", "code": "code", "code_display": "display"}
_FIRST = 5
"""stream, record_id, event_id, version, occurred_at come before what an event says of a place or a person."""


def _set_by(event: Event) -> Row:
    return event.event_id, event.version, event.occurred_at


def _directory_fold(table: sa.Table, kind: str) -> Fold:
    """Organisations, locations, practitioners: rare events, so plainly column by column."""
    columns = [(c.name, isinstance(c.type, Document)) for c in list(table.columns)[_FIRST:]]

    def fold(event: Event, rows: Rows) -> None:
        fields = event.payload[1]
        code = fields["code"] or {}
        content = [
            code.get(_CODE_COLUMNS[name])
            if name in _CODE_COLUMNS
            else to_document(fields[name])
            if is_document
            else fields[name]
            for name, is_document in columns
        ]
        rows.put(table, (event.stream, fields["record_id"], *_set_by(event), *content))
        if fields["origin"] is not None:
            put_resource(event, rows, kind)

    return fold


def number_reserved(event: Event, rows: Rows) -> None:
    """A number belongs to the first who reserved it."""
    f = event.payload[1]
    key = (f["series"], f["sequence"])
    if rows.get(tables.NUMBERS, key) is None:
        content = (f["number"], f["subject"], f["subject_id"])
        rows.put(tables.NUMBERS, (event.stream, *key, *_set_by(event), *content))


def setting_changed(event: Event, rows: Rows) -> None:
    f = event.payload[1]
    rows.put(tables.SETTINGS, (event.stream, f["name"], *_set_by(event), f["value"]))


def staff_registered(event: Event, rows: Rows) -> None:
    f = event.payload[1]
    content = (f["name"], f["username"], f["practitioner"], f["active"])
    rows.put(tables.STAFF, (event.stream, *_set_by(event), *content))


def role_granted(event: Event, rows: Rows) -> None:
    f = event.payload[1]
    rows.put(tables.STAFF_ROLES, (event.stream, f["role"], *_set_by(event), f["location"], f["until"], None))


def role_revoked(event: Event, rows: Rows) -> None:
    row = rows.get(tables.STAFF_ROLES, (event.payload[1]["role"],))
    if row is not None:
        rows.put(tables.STAFF_ROLES, (*row[:-1], event.event_id))


def credential_changed(event: Event, rows: Rows) -> None:
    f = event.payload[1]
    rows.put(tables.STAFF_CREDENTIALS, (event.stream, f["kind"], *_set_by(event), f["credential"]))


def resource_kept(event: Event, rows: Rows) -> None:
    put_resource(event, rows, None)


FOLDS: Mapping[str, Fold] = {
    "id.rekam.clinic.OrganisationRecorded": _directory_fold(tables.ORGANISATIONS, "organisation"),
    "id.rekam.clinic.LocationRecorded": _directory_fold(tables.LOCATIONS, "location"),
    "id.rekam.clinic.PractitionerRecorded": _directory_fold(tables.PRACTITIONERS, "practitioner"),
    "id.rekam.clinic.NumberReserved": number_reserved,
    "id.rekam.clinic.SettingChanged": setting_changed,
    "id.rekam.staff.StaffRegistered": staff_registered,
    "id.rekam.staff.StaffRoleGranted": role_granted,
    "id.rekam.staff.StaffRoleRevoked": role_revoked,
    "id.rekam.staff.StaffCredentialChanged": credential_changed,
    "id.rekam.source.ResourceKept": resource_kept,
}
