"""Folds of the billing family.

A claim's row is what was submitted, and beside it how far the claim is. The two come from different events, in any
order that a source may deliver: an adjudication of a claim that is not there makes the row, and the submission
fills it later without taking the decision back.
"""

from __future__ import annotations

from collections.abc import Mapping

from events.envelope import Event
from projections import record_tables as tables
from projections.folds.care import void
from projections.folds.records import put_resource, record_fold
from projections.parts import compile_row
from projections.rows import Fold, Row, Rows

SUBMITTED, ADJUDICATED, FINALISED = "submitted", "adjudicated", "finalised"

_submission = compile_row(tables.CLAIM_PARTS, SUBMITTED, voidable=False)
_decision = record_fold(tables.ADJUDICATIONS, "adjudication", status_from="outcome")
_COLUMNS = [c.name for c in tables.CLAIMS.columns]
_STATUS = _COLUMNS.index("status")
_PROGRESS = _COLUMNS.index("adjudicated_by")
"""From here on a row says how far its claim is: adjudicated_by, outcome, approved, patient's, finalised_by, paid."""
_CONTENT = _COLUMNS.index("occurred_at") + 1
_NOTHING_YET: Row = (None,) * (len(_COLUMNS) - _PROGRESS)


def claim_submitted(event: Event, rows: Rows) -> None:
    fields = event.payload[1]
    stream, record_id, *content = _submission(event)
    old = rows.get(tables.CLAIMS, (record_id,))
    status, progress = (old[_STATUS], old[_PROGRESS:]) if old else (SUBMITTED, _NOTHING_YET)
    rows.put(tables.CLAIMS, (stream, record_id, status, *content, *progress))
    if fields["origin"] is not None:
        put_resource(event, rows, "claim")


def _claim(event: Event, rows: Rows, record_id: str) -> Row:
    """The claim's row; where it is not there, one that says no more than that it exists."""
    row = rows.get(tables.CLAIMS, (record_id,))
    if row is not None:
        return row
    set_by = (event.event_id, event.version, event.occurred_at)
    unknown = (None,) * (_PROGRESS - _CONTENT)
    return (event.stream, record_id, SUBMITTED, *set_by, *unknown, *_NOTHING_YET)


def _advanced(row: Row, status: str, progress: Row) -> Row:
    return (*row[:_STATUS], status, *row[_STATUS + 1 : _PROGRESS], *progress)


def claim_adjudicated(event: Event, rows: Rows) -> None:
    """A settled claim stays settled, whatever else its payer says."""
    _decision(event, rows)
    fields = event.payload[1]
    row = _claim(event, rows, fields["claim_id"])
    finalised = row[_PROGRESS + 4 :]
    decided = (event.event_id, fields["outcome"], fields["approved_amount"], fields["patient_amount"])
    status = FINALISED if row[_STATUS] == FINALISED else ADJUDICATED
    rows.put(tables.CLAIMS, _advanced(row, status, (*decided, *finalised)))


def claim_finalised(event: Event, rows: Rows) -> None:
    fields = event.payload[1]
    row = _claim(event, rows, fields["record_id"])
    decided = row[_PROGRESS : _PROGRESS + 4]
    rows.put(tables.CLAIMS, _advanced(row, FINALISED, (*decided, event.event_id, fields["paid_amount"])))


def claim_unfinalised(event: Event, rows: Rows) -> None:
    """Back to how far it was before."""
    row = rows.get(tables.CLAIMS, (event.payload[1]["record_id"],))
    if row is not None:
        decided = row[_PROGRESS : _PROGRESS + 4]
        status = SUBMITTED if decided[0] is None else ADJUDICATED
        rows.put(tables.CLAIMS, _advanced(row, status, (*decided, None, None)))


def charge_voided(event: Event, rows: Rows) -> None:
    void(tables.CHARGES, event, rows)


def payment_voided(event: Event, rows: Rows) -> None:
    void(tables.PAYMENTS, event, rows)


FOLDS: Mapping[str, Fold] = {
    "id.rekam.billing.ChargeRecorded": record_fold(tables.CHARGES, "charge", "recorded"),
    "id.rekam.billing.ChargeVoided": charge_voided,
    "id.rekam.billing.PaymentReceived": record_fold(tables.PAYMENTS, "payment", "received"),
    "id.rekam.billing.PaymentVoided": payment_voided,
    "id.rekam.billing.ClaimSubmitted": claim_submitted,
    "id.rekam.billing.ClaimAdjudicated": claim_adjudicated,
    "id.rekam.billing.ClaimFinalised": claim_finalised,
    "id.rekam.billing.ClaimUnfinalised": claim_unfinalised,
}
