"""The state tables: what stands in the record now, folded from the applied events of rekam.events.

Every row depends on exactly one stream, which its first column names, so tables folded in any sharding by stream
are the same. A row carries the event that gave it its content (`event_id`, `version`); what stood before is in the
journal. A record that was entered in error stays, with status entered-in-error and `voided_by`.

The tables of records (care, laboratory, billing) are in `record_tables`, the others here.

The order of STATE_TABLES is that of digests and snapshots.
"""

from __future__ import annotations

import sqlalchemy as sa

from projections.columns import Boolean, Digest, Document, Id, Instant, Integer, Text, column, state_table
from projections.parts import coding
from projections.record_tables import STATE, set_by

# ---- registration

PATIENTS = state_table(
    STATE,
    "patients",
    (),
    *set_by(),
    column("medical_record_number", Text()),
    column("nik", Text()),
    column("name", Text(), nullable=False),
    column("given", Document()),
    column("family", Text()),
    column("birth_date", Text()),
    column("birth_place", Text()),
    column("sex", Text(), nullable=False),
    column("deceased", Boolean(), nullable=False),
    column("death_date", Text()),
    column("marital_status", Text()),
    column("religion", Text()),
    column("education", Text()),
    column("occupation", Text()),
    column("mother_name", Text()),
    column("language", Text()),
    column("address", Document()),
    column("managing_organisation", Text()),
    column("identifier_count", Integer(), nullable=False),
    column("contact_count", Integer(), nullable=False),
    column("coverage_count", Integer(), nullable=False),
    column("survivor", Text()),
    column("merged_by", Id()),
    column("erased_by", Id()),
    comment="One row a patient: the registration as it stands, and where the record goes on after a merge.",
)
sa.Index("patients_medical_record_number", PATIENTS.c.medical_record_number)
sa.Index("patients_nik", PATIENTS.c.nik)

IDENTIFIERS = state_table(
    STATE,
    "identifiers",
    ("number",),
    column("number", Integer(), nullable=False),
    column("system", Text()),
    column("value", Text(), nullable=False),
    column("use", Text()),
    column("event_id", Id(), nullable=False),
    column("version", Integer(), nullable=False),
    comment="The patients' other numbers, numbered from 1 as their event gave them.",
)
sa.Index("identifiers_value", IDENTIFIERS.c.value)

CONTACTS = state_table(
    STATE,
    "contacts",
    ("number",),
    column("number", Integer(), nullable=False),
    column("contact_id", Text(), nullable=False),
    column("relationship", Text(), nullable=False),
    column("name", Text()),
    column("system", Text()),
    column("value", Text()),
    column("use", Text()),
    column("event_id", Id(), nullable=False),
    column("version", Integer(), nullable=False),
    comment="Ways to reach a patient and those close to them.",
)

COVERAGES = state_table(
    STATE,
    "coverages",
    ("number",),
    column("number", Integer(), nullable=False),
    column("coverage_id", Text(), nullable=False),
    column("kind", Text(), nullable=False),
    column("payer", Text(), nullable=False),
    column("member_number", Text()),
    column("class_of_care", Text()),
    column("facility_code", Text()),
    column("valid_from", Text()),
    column("valid_until", Text()),
    column("event_id", Id(), nullable=False),
    column("version", Integer(), nullable=False),
    comment="Who pays for a patient.",
)

MERGES = state_table(
    STATE,
    "merges",
    ("merge",),
    column("merge", Id(), nullable=False),
    column("version", Integer(), nullable=False),
    column("occurred_at", Instant(), nullable=False),
    column("survivor", Text(), nullable=False),
    column("reason", Text()),
    column("undone_by", Id()),
    comment="Every merge of a record into another, undone ones too; `merge` is the event.",
)

RESTRICTIONS = state_table(
    STATE,
    "restrictions",
    ("scope",),
    column("scope", Text(), nullable=False),
    *set_by(),
    column("legal_basis", Text()),
    column("reason", Text()),
    column("lifted_by", Id()),
    comment="Which parts of a patient's record may be kept but not used; the newest restriction of each scope.",
)

# ---- clinic, staff, sources

ORGANISATIONS = state_table(
    STATE,
    "organisations",
    ("record_id",),
    column("record_id", Text(), nullable=False),
    *set_by(),
    column("name", Text(), nullable=False),
    *coding("code").columns,
    column("text", Text()),
    column("identifiers", Document()),
    column("address", Document()),
    column("contacts", Document()),
    column("parent", Text()),
    column("active", Boolean(), nullable=False),
    comment="Organisations, the clinic's own among them.",
)

LOCATIONS = state_table(
    STATE,
    "locations",
    ("record_id",),
    column("record_id", Text(), nullable=False),
    *set_by(),
    column("name", Text(), nullable=False),
    *coding("code").columns,
    column("text", Text()),
    column("identifiers", Document()),
    column("address", Document()),
    column("contacts", Document()),
    column("organisation", Text()),
    column("active", Boolean(), nullable=False),
    comment="Rooms, wards, buildings.",
)

PRACTITIONERS = state_table(
    STATE,
    "practitioners",
    ("record_id",),
    column("record_id", Text(), nullable=False),
    *set_by(),
    column("name", Text(), nullable=False),
    column("given", Document()),
    column("family", Text()),
    column("sex", Text(), nullable=False),
    column("nik", Text()),
    column("licence_number", Text()),
    *coding("code").columns,
    column("text", Text()),
    column("identifiers", Document()),
    column("address", Document()),
    column("contacts", Document()),
    column("organisation", Text()),
    column("active", Boolean(), nullable=False),
    comment="Those who treat.",
)

NUMBERS = state_table(
    STATE,
    "numbers",
    ("series", "sequence"),
    column("series", Text(), nullable=False),
    column("sequence", Integer(), nullable=False),
    *set_by(),
    column("number", Text(), nullable=False),
    column("subject", Text(), nullable=False),
    column("subject_id", Text()),
    comment="Numbers that are taken, and what for.",
)

SETTINGS = state_table(
    STATE,
    "settings",
    ("name",),
    column("name", Text(), nullable=False),
    *set_by(),
    column("value", Text(), nullable=False),
    comment="The clinic's settings.",
)

STAFF = state_table(
    STATE,
    "staff",
    (),
    *set_by(),
    column("name", Text(), nullable=False),
    column("username", Text(), nullable=False),
    column("practitioner", Text()),
    column("active", Boolean(), nullable=False),
    comment="Accounts of staff members.",
)
sa.Index("staff_username", STAFF.c.username)

STAFF_ROLES = state_table(
    STATE,
    "staff_roles",
    ("role",),
    column("role", Text(), nullable=False),
    *set_by(),
    column("location", Text()),
    column("until", Instant()),
    column("revoked_by", Id()),
    comment="In which roles a staff member may act; the newest grant of each.",
)

STAFF_CREDENTIALS = state_table(
    STATE,
    "staff_credentials",
    ("kind",),
    column("kind", Text(), nullable=False),
    *set_by(),
    column("credential", Text()),
    comment="What verifies a staff member's credentials; null where it was taken away.",
)

RESOURCES = state_table(
    STATE,
    "resources",
    ("source", "resource_type", "resource_id"),
    column("source", Text(), nullable=False),
    column("resource_type", Text(), nullable=False),
    column("resource_id", Text(), nullable=False),
    column("event_id", Id(), nullable=False),
    column("version", Integer(), nullable=False),
    column("content_sha256", Digest(), nullable=False),
    column("kind", Text()),
    column("record_id", Text()),
    comment="Every imported resource: its last content, and the record it became (kind null: kept whole, unmapped).",
)
sa.Index("resources_resource_id", RESOURCES.c.resource_id)

STATE_TABLES = tuple(STATE.tables[name] for name in (
    "patients", "identifiers", "contacts", "coverages", "merges", "restrictions",
    "encounters", "observations", "diagnoses", "allergies", "procedures", "prescriptions", "administrations",
    "immunisations", "notes", "documents", "laboratory_orders", "specimens", "laboratory_results", "laboratory_reports",
    "charges", "payments", "claims", "adjudications", "organisations", "locations", "practitioners",
    "numbers", "settings", "staff", "staff_roles", "staff_credentials", "resources",
))  # fmt: skip
