"""What events do to the tables, told as short stories."""

from __future__ import annotations

from itertools import count
from typing import Any

from events.envelope import Event
from events.payload_fields import EventPayload
from events.payloads import billing, care, clinic, erasure, laboratory, registration, source, staff
from events.payloads.common import Coding, Component, Contact, Coverage, Identifier, Origin, Quantity
from projections.folding import CompleteRows
from projections.folds import FOLDS
from projections.tables import STATE_TABLES


class Story:
    """One stream's events, folded as they are told."""

    def __init__(self, stream: str = "patient-1") -> None:
        self.stream = stream
        self._versions = count(1)
        self._rows = CompleteRows(STATE_TABLES)

    def tell(self, payload: EventPayload) -> bytes:
        """Folds one event; its id."""
        version = next(self._versions)
        event = Event(
            bytes([version]) * 16, None, self.stream, version, None, 1000 + version, 2000, {}, None, None,
            payload.to_payload(),
        )  # fmt: skip
        self._rows.stream = self.stream
        FOLDS[event.payload[0]](event, self._rows)
        return event.event_id

    def rows(self, name: str) -> list[dict[str, Any]]:
        table = next(table for table in STATE_TABLES if table.name == name)
        columns = [column.name for column in table.columns]
        return [dict(zip(columns, row, strict=True)) for row in self._rows.ordered(table)]

    def row(self, name: str) -> dict[str, Any]:
        (row,) = self.rows(name)
        return row


LOINC = Coding(system="http://loinc.org", code="8867-4", display="Heart rate")
ORIGIN = Origin(
    source="fhir", resource_type="Observation", resource_id="o1", content_sha256=b"s" * 32, original=b"z"
)


def _heart_rate(value: str, **more: Any) -> care.ObservationRecorded:
    quantity = Quantity(value=value, unit="/min", code="/min")
    return care.ObservationRecorded(record_id="o", status="final", code=LOINC, quantity=quantity, **more)


def test_a_correction_takes_the_place_of_what_it_corrects() -> None:
    story = Story()
    first = story.tell(_heart_rate("72.0"))
    second = story.tell(_heart_rate("27", corrects=first, reason="transposed"))
    row = story.row("observations")
    assert (row["quantity_value"], row["quantity_unit_code"], row["code"]) == ("27", "/min", "8867-4")
    assert (row["event_id"], row["version"], row["voided_by"]) == (second, 2, None)


def test_what_was_entered_in_error_stays_and_says_so() -> None:
    story = Story()
    first = story.tell(_heart_rate("720"))
    void = story.tell(care.EnteredInError(kind="observation", record_id="o", target=first, reason="typo"))
    row = story.row("observations")
    assert (row["status"], row["voided_by"], row["event_id"]) == ("entered-in-error", void, first)
    assert row["quantity_value"] == "720"
    story.tell(_heart_rate("72", corrects=void))
    assert (story.row("observations")["status"], story.row("observations")["voided_by"]) == ("final", None)


def test_every_kind_of_record_can_be_entered_in_error() -> None:
    story = Story()
    fields: dict[str, Any] = {"record_id": "r", "status": "active"}
    story.tell(care.EncounterRecorded(**fields, encounter_class="AMB"))
    story.tell(care.ObservationRecorded(**fields))
    story.tell(care.DiagnosisRecorded(**fields))
    story.tell(care.AllergyRecorded(**fields))
    story.tell(care.ProcedureRecorded(**fields))
    story.tell(care.MedicationPrescribed(**fields))
    story.tell(care.MedicationAdministered(**fields))
    story.tell(care.ImmunisationGiven(**fields))
    story.tell(care.NoteWritten(record_id="r", kind="soap", text="t"))
    story.tell(laboratory.LaboratoryOrdered(**fields))
    story.tell(laboratory.SpecimenCollected(**fields))
    story.tell(laboratory.LaboratoryResulted(**fields))
    story.tell(laboratory.LaboratoryReported(**fields))
    for kind, table in {
        "encounter": "encounters", "observation": "observations", "diagnosis": "diagnoses",
        "allergy": "allergies", "procedure": "procedures", "prescription": "prescriptions",
        "administration": "administrations", "immunisation": "immunisations", "note": "notes",
        "laboratory_order": "laboratory_orders", "specimen": "specimens",
        "laboratory_result": "laboratory_results", "laboratory_report": "laboratory_reports",
    }.items():  # fmt: skip
        assert story.row(table)["status"] != "entered-in-error"
        story.tell(care.EnteredInError.model_validate({"kind": kind, "record_id": "r", "target": b"t" * 16}))
        assert story.row(table)["status"] == "entered-in-error", kind


def test_what_refers_to_nothing_changes_nothing() -> None:
    story = Story()
    story.tell(care.EnteredInError(kind="note", record_id="no", target=b"t" * 16))
    story.tell(billing.ChargeVoided(record_id="no"))
    story.tell(billing.PaymentVoided(record_id="no"))
    story.tell(billing.ClaimUnfinalised(record_id="no", reason="r"))
    story.tell(registration.ContactsChanged(contacts=[]))
    story.tell(registration.PatientUnmerged(survivor="patient-2"))
    story.tell(erasure.RestrictionLifted(scope="all"))
    story.tell(staff.StaffRoleRevoked(role="nurse"))
    assert not any(story.rows(table.name) for table in STATE_TABLES)


def test_an_erased_patient_leaves_the_same_row_whatever_stood_there() -> None:
    """Folded after the key is gone, what came before is nothing: the rows must not depend on it."""
    bare, full = Story(), Story()
    full.tell(care.ObservationRecorded(record_id="o", status="final"))
    full.tell(registration.PatientRegistered(name="Siti", sex="female", nik="3273010101010001"))
    full.tell(erasure.PatientRestricted(scope="all", reason="asked for"))
    for story in (bare, full):
        story.tell(erasure.PatientErased())
    rows = {table.name: full.rows(table.name) for table in STATE_TABLES}
    [(_, row)] = [(name, row) for name, found in rows.items() for row in found]
    assert (row["name"], row["nik"], row["sex"]) == ("", None, "unknown")
    assert row["erased_by"] is not None
    [other] = bare.rows("patients")
    same = set(row) - {"event_id", "version", "occurred_at", "erased_by"}
    assert {c: row[c] for c in same} == {c: other[c] for c in same}


def test_components_are_canonical_json() -> None:
    story = Story()
    part = Component(code=LOINC, quantity=Quantity(value="120"))
    story.tell(care.ObservationRecorded(record_id="bp", status="final", components=[part]))
    assert story.row("observations")["components"].startswith('[{"code":{"code":"8867-4","display":"Heart')


def test_laboratory_results_have_their_own_table() -> None:
    story = Story()
    first = story.tell(laboratory.LaboratoryResulted(record_id="r", status="final", range_low="3.5"))
    story.tell(
        laboratory.LaboratoryResultCorrected(
            record_id="r", status="corrected", corrects=first, range_low="3.50"
        )
    )
    assert (story.row("laboratory_results")["status"], story.row("laboratory_results")["range_low"]) == (
        "corrected",
        "3.50",
    )
    assert story.rows("observations") == []


def test_an_amended_note_keeps_what_the_amendment_does_not_say() -> None:
    story = Story()
    story.tell(care.NoteWritten(record_id="n", encounter_id="e", kind="soap", title="Kontrol", text="first"))
    story.tell(care.NoteAmended(record_id="n", text="second", reason="incomplete"))
    note = story.row("notes")
    assert (note["text"], note["title"], note["kind"], note["encounter_id"], note["status"]) == (
        "second", "Kontrol", "soap", "e", "amended",
    )  # fmt: skip
    story.tell(care.NoteAmended(record_id="other", text="alone"))
    assert [n["kind"] for n in story.rows("notes")] == ["soap", "note"]


def _patient(**more: Any) -> registration.PatientRegistered:
    return registration.PatientRegistered(name="Siti Aminah", sex="female", nik="3171025501900001", **more)


def _contact(n: int) -> Contact:
    return Contact(contact_id=str(n), relationship="self", system="phone", value=f"0812{n}")


def test_contacts_and_coverages_are_replaced_and_the_surplus_goes() -> None:
    story = Story()
    numbers = [Identifier(value="P0001")]
    story.tell(_patient(contacts=[_contact(n) for n in range(3)], identifiers=numbers))
    assert len(story.rows("contacts")) == story.row("patients")["contact_count"] == 3
    story.tell(registration.ContactsChanged(contacts=[_contact(9)]))
    assert [c["value"] for c in story.rows("contacts")] == ["08129"]
    coverage = Coverage(coverage_id="1", kind="bpjs", payer="BPJS Kesehatan", member_number="0001234567890")
    story.tell(registration.CoverageChangedV2(coverages=[coverage]))
    assert story.row("coverages")["payer"] == "BPJS Kesehatan"
    story.tell(
        registration.PatientCorrected(name="Siti Aminah S.", sex="female", corrects=b"c" * 16, reason="ejaan")
    )
    assert story.row("patients")["name"] == "Siti Aminah S." and story.row("patients")["nik"] is None
    assert story.rows("contacts") == story.rows("coverages") == story.rows("identifiers") == []


def test_a_merge_can_be_undone_and_done_again() -> None:
    story = Story()
    story.tell(_patient())
    first = story.tell(registration.PatientMerged(survivor="patient-2"))
    assert (story.row("patients")["survivor"], story.row("patients")["merged_by"]) == ("patient-2", first)
    undo = story.tell(registration.PatientUnmerged(survivor="patient-2"))
    assert (story.row("patients")["survivor"], story.row("merges")["undone_by"]) == (None, undo)
    second = story.tell(registration.PatientMerged(survivor="patient-3"))
    story.tell(registration.PatientUnmerged(survivor="patient-2", merge=first))
    assert (story.row("patients")["survivor"], story.row("patients")["merged_by"]) == ("patient-3", second)
    story.tell(_patient())
    assert story.row("patients")["survivor"] == "patient-3", "a correction does not undo a merge"


def test_a_claim_goes_its_way_and_back() -> None:
    story = Story()
    submitted = billing.ClaimSubmitted(record_id="c", amount="150000", currency="IDR")
    decision = billing.ClaimAdjudicated(
        record_id="a", claim_id="c", outcome="complete", approved_amount="120000", patient_amount="30000"
    )
    story.tell(submitted)
    assert story.row("claims")["status"] == "submitted"
    adjudicated = story.tell(decision)
    row = story.row("claims")
    assert (row["status"], row["approved_amount"], row["adjudicated_by"]) == (
        "adjudicated",
        "120000",
        adjudicated,
    )
    assert story.row("adjudications")["status"] == "complete"
    finalised = story.tell(billing.ClaimFinalised(record_id="c", paid_amount="120000"))
    assert (story.row("claims")["status"], story.row("claims")["finalised_by"]) == ("finalised", finalised)
    story.tell(submitted)
    assert story.row("claims")["status"] == "finalised", "a correction of the content decides nothing"
    story.tell(billing.ClaimUnfinalised(record_id="c", reason="kurang bayar"))
    row = story.row("claims")
    assert (row["status"], row["finalised_by"], row["paid_amount"]) == ("adjudicated", None, None)


def test_a_decision_may_come_before_its_claim() -> None:
    story = Story()
    story.tell(billing.ClaimAdjudicated(record_id="a", claim_id="c", outcome="complete", approved_amount="1"))
    story.tell(billing.ClaimSubmitted(record_id="c", amount="2", currency="IDR"))
    row = story.row("claims")
    assert (row["status"], row["approved_amount"], row["amount"]) == ("adjudicated", "1", "2")


def test_a_void_charge_and_payment_stay() -> None:
    story = Story()
    charge = billing.ChargeRecorded(record_id="h", amount="50000", currency="IDR", quantity="2")
    payment = billing.PaymentReceived(record_id="p", amount="50000", currency="IDR", method="qris")
    story.tell(charge)
    story.tell(payment)
    assert (story.row("charges")["status"], story.row("payments")["status"]) == ("recorded", "received")
    void = story.tell(billing.ChargeVoided(record_id="h"))
    story.tell(billing.PaymentVoided(record_id="p"))
    assert (story.row("charges")["status"], story.row("charges")["voided_by"]) == ("entered-in-error", void)
    assert (
        story.row("payments")["status"] == "entered-in-error" and story.row("payments")["amount"] == "50000"
    )


def test_the_clinic_and_its_staff() -> None:
    story = Story("clinic-1")
    story.tell(
        clinic.PractitionerRecorded(record_id="d", name="dr. Budi", sex="male", code=LOINC, given=["Budi"])
    )
    story.tell(clinic.OrganisationRecorded(record_id="o", name="Klinik"))
    story.tell(clinic.LocationRecorded(record_id="l", name="Poli Umum", organisation="o"))
    doctor = story.row("practitioners")
    assert (doctor["code"], doctor["given"], doctor["active"]) == ("8867-4", '["Budi"]', True)
    reserved = clinic.NumberReserved(series="invoice", sequence=1, number="INV-1", subject="patient-1")
    first = story.tell(reserved)
    story.tell(reserved.model_copy(update={"subject": "patient-2"}))
    assert (story.row("numbers")["subject"], story.row("numbers")["event_id"]) == ("patient-1", first)
    story.tell(clinic.SettingChanged(name="zone", value='"Asia/Jakarta"'))
    story.tell(clinic.SettingChanged(name="zone", value='"Asia/Makassar"'))
    assert story.row("settings")["value"] == '"Asia/Makassar"'
    story.tell(staff.StaffRegistered(name="Ani", username="ani"))
    story.tell(staff.StaffRoleGranted(role="nurse"))
    revoked = story.tell(staff.StaffRoleRevoked(role="nurse"))
    story.tell(staff.StaffCredentialChanged(kind="password", credential="$argon2id$"))
    assert story.row("staff_roles")["revoked_by"] == revoked
    assert story.row("staff_credentials")["credential"] == "$argon2id$"


def test_restrictions_hold_until_lifted() -> None:
    story = Story()
    first = story.tell(erasure.PatientRestricted(scope="all", legal_basis="UU 27/2022"))
    story.tell(erasure.RestrictionLifted(scope="all", restriction=b"o" * 16))
    assert story.row("restrictions")["lifted_by"] is None
    lifted = story.tell(erasure.RestrictionLifted(scope="all", restriction=first))
    assert story.row("restrictions")["lifted_by"] == lifted


def test_an_imported_record_leads_to_its_original() -> None:
    story = Story()
    event_id = story.tell(_heart_rate("72", origin=ORIGIN))
    row = story.row("resources")
    assert (row["resource_id"], row["kind"], row["record_id"], row["event_id"]) == (
        "o1", "observation", "o", event_id,
    )  # fmt: skip
    kept = Origin(**{**ORIGIN.model_dump(), "resource_type": "CarePlan"})
    story.tell(source.ResourceKept(origin=kept))
    assert [r["kind"] for r in story.rows("resources")] == [None, "observation"]
