"""The tables of records: care, laboratory and billing. See `tables` for what all state tables have in common.

Laboratory results have a table of their own, and imported Observations of category laboratory are in it: whoever
looks for results finds all of them there. All other observations are in `observations`.
"""

from __future__ import annotations

import sqlalchemy as sa

from projections.columns import Dec, Id, Instant, Integer, Text, column, state_table
from projections.parts import (
    coding,
    decimal,
    digest,
    document,
    instant,
    integer,
    quantity,
    record_table,
    text,
)

STATE = sa.MetaData()


def set_by() -> tuple[sa.Column[bytes], sa.Column[int], sa.Column[int]]:
    """The event that gave the row its content."""
    return (
        column("event_id", Id(), nullable=False),
        column("version", Integer(), nullable=False),
        column("occurred_at", Instant(), nullable=False),
    )


# ---- care

ENCOUNTERS = record_table(
    STATE,
    "encounters",
    text("encounter_class"),
    coding("code"),
    text("text"),
    coding("complaint"),
    text("complaint_text"),
    instant("started_at"),
    instant("ended_at"),
    text("practitioner"),
    text("location"),
    text("organisation"),
    coding("discharge"),
    comment="Visits and stays.",
)

OBSERVATIONS = record_table(
    STATE,
    "observations",
    text("encounter_id"),
    text("category"),
    coding("code"),
    text("text"),
    quantity("quantity"),
    coding("coded"),
    text("value_text"),
    text("interpretation"),
    document("components"),
    text("practitioner"),
    comment="Vital signs, surveys and other findings; laboratory results have a table of their own.",
)

DIAGNOSES = record_table(
    STATE,
    "diagnoses",
    text("encounter_id"),
    text("verification"),
    text("category"),
    text("rank"),
    coding("code"),
    text("text"),
    text("onset"),
    text("abatement"),
    text("severity"),
    text("practitioner"),
    comment="Diagnoses and problems.",
)

ALLERGIES = record_table(
    STATE,
    "allergies",
    text("encounter_id"),
    text("verification"),
    text("kind"),
    document("categories"),
    text("criticality"),
    coding("code"),
    text("text"),
    text("onset"),
    document("reactions"),
    text("practitioner"),
    comment="Allergies and intolerances.",
)

PROCEDURES = record_table(
    STATE,
    "procedures",
    text("encounter_id"),
    coding("code"),
    text("text"),
    instant("started_at"),
    instant("ended_at"),
    coding("indication"),
    text("outcome"),
    text("practitioner"),
    text("location"),
    comment="Procedures that were done.",
)

PRESCRIPTIONS = record_table(
    STATE,
    "prescriptions",
    text("encounter_id"),
    coding("code"),
    text("text"),
    text("dosage"),
    quantity("dose"),
    coding("route"),
    quantity("quantity"),
    integer("days"),
    coding("indication"),
    text("practitioner"),
    comment="Medications prescribed.",
)

ADMINISTRATIONS = record_table(
    STATE,
    "administrations",
    text("encounter_id"),
    text("prescription_id"),
    coding("code"),
    text("text"),
    quantity("dose"),
    coding("route"),
    instant("ended_at"),
    coding("indication"),
    text("practitioner"),
    comment="Medications given.",
)

IMMUNISATIONS = record_table(
    STATE,
    "immunisations",
    text("encounter_id"),
    coding("code"),
    text("text"),
    text("lot_number"),
    text("expires_on"),
    text("dose_number"),
    quantity("dose"),
    coding("site"),
    coding("route"),
    text("manufacturer"),
    text("practitioner"),
    text("location"),
    comment="Vaccines given.",
)

NOTES = record_table(
    STATE,
    "notes",
    text("encounter_id"),
    text("kind"),
    text("title"),
    text("text"),
    text("practitioner"),
    comment="Clinical notes as they read now; status current or amended.",
)

DOCUMENTS = record_table(
    STATE,
    "documents",
    text("encounter_id"),
    coding("code"),
    text("text"),
    text("title"),
    text("media_type"),
    integer("size_bytes"),
    digest("content_sha256"),
    digest("blob_sha256"),
    text("practitioner"),
    comment="Attached files: what they are, and the digests that name and prove them.",
)

# ---- laboratory

LABORATORY_ORDERS = record_table(
    STATE,
    "laboratory_orders",
    text("encounter_id"),
    text("priority"),
    document("tests"),
    text("text"),
    text("practitioner"),
    comment="Tests ordered.",
)

SPECIMENS = record_table(
    STATE,
    "specimens",
    text("order_id"),
    coding("code"),
    text("text"),
    text("container"),
    text("practitioner"),
    comment="Specimens taken.",
)

LABORATORY_RESULTS = record_table(
    STATE,
    "laboratory_results",
    text("encounter_id"),
    text("order_id"),
    text("specimen_id"),
    coding("code"),
    text("text"),
    quantity("quantity"),
    coding("coded"),
    text("value_text"),
    decimal("range_low"),
    decimal("range_high"),
    text("range_text"),
    text("interpretation"),
    document("components"),
    text("practitioner"),
    comment="Laboratory results, imported ones included.",
)

LABORATORY_REPORTS = record_table(
    STATE,
    "laboratory_reports",
    text("encounter_id"),
    text("order_id"),
    text("category"),
    coding("code"),
    text("text"),
    document("results"),
    text("conclusion"),
    instant("issued_at"),
    text("practitioner"),
    comment="Laboratory and other diagnostic reports.",
)

# ---- billing

CHARGES = record_table(
    STATE,
    "charges",
    text("encounter_id"),
    text("claim_id"),
    text("invoice_number"),
    coding("code"),
    text("text"),
    decimal("quantity"),
    decimal("unit_amount"),
    decimal("amount"),
    text("currency"),
    text("coverage_id"),
    comment="What was charged; status recorded, or entered-in-error where it is void.",
)

PAYMENTS = record_table(
    STATE,
    "payments",
    text("encounter_id"),
    text("claim_id"),
    text("invoice_number"),
    decimal("amount"),
    text("currency"),
    text("method"),
    text("payer"),
    text("receipt_number"),
    comment="Money received; status received, or entered-in-error where it is void.",
)

CLAIM_PARTS = (
    text("encounter_id"),
    text("claim_number"),
    text("sep_number"),
    text("group_code"),
    text("kind"),
    text("use"),
    text("payer"),
    text("coverage_id"),
    document("diagnosis_ids"),
    document("procedure_ids"),
    document("items"),
    decimal("amount"),
    text("currency"),
    instant("started_at"),
    instant("ended_at"),
    text("practitioner"),
    text("organisation"),
)

CLAIMS = state_table(
    STATE,
    "claims",
    ("record_id",),
    column("record_id", Text(), nullable=False),
    column("status", Text(), nullable=False),
    *set_by(),
    *(c for part in CLAIM_PARTS for c in part.columns),
    column("adjudicated_by", Id()),
    column("outcome", Text()),
    column("approved_amount", Dec()),
    column("patient_amount", Dec()),
    column("finalised_by", Id()),
    column("paid_amount", Dec()),
    comment="Claims and how far they are: submitted, adjudicated, finalised.",
)

ADJUDICATIONS = record_table(
    STATE,
    "adjudications",
    text("claim_id"),
    text("disposition"),
    text("payer"),
    decimal("submitted_amount"),
    decimal("approved_amount"),
    decimal("patient_amount"),
    decimal("paid_amount"),
    text("currency"),
    comment="What payers decided on claims; status is the outcome.",
)
