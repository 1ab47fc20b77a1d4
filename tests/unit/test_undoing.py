"""Undoing, told as short stories: what is appended for what was done."""

from __future__ import annotations

from typing import Any

import pytest

from events.envelope import Event
from events.payload_fields import EventPayload
from events.payloads import billing, care, erasure, laboratory, registration, source
from events.payloads.common import Contact, Coverage, Identifier, Origin, Quantity
from services.undoing import staying
from services.undoing.planning import Plan, plan_undo
from services.undoing.telling import change_words, plan_json
from tests.property.test_undoing import carried_out
from tests.undone import compare, folded

STREAM = "patient-1"


class Story:
    """A patient's events as they are told; `then` marks the moment to go back to."""

    def __init__(self, *payloads: EventPayload) -> None:
        self.events: list[Event] = []
        self.mark = 0
        self.tell(registration.PatientRegistered(name="Sari", sex="female", medical_record_number="1"))
        self.tell(*payloads)
        self.then()

    def tell(self, *payloads: EventPayload) -> Story:
        for payload in payloads:
            version = len(self.events) + 1
            previous = self.events[-1].event_id if self.events else None
            actor = {"id": "nurse", "role": "nurse", "system": "test"}
            event_id = bytes([version]) * 16
            self.events.append(
                Event(
                    event_id, None, STREAM, version, previous, version, 0, actor, None, None,
                    payload.to_payload(),
                )
            )  # fmt: skip
        return self

    def then(self) -> Story:
        self.mark = len(self.events)
        return self

    def undone(self) -> Plan:
        """The plan, carried out and seen to do what it should."""
        then = self.events[: self.mark]
        plan = plan_undo(STREAM, then, self.events, "why")
        after = carried_out(self.events, plan)
        compare(folded(then), folded(after), plan)
        assert plan_undo(STREAM, then, after, "why").steps == []
        return plan


def types(plan: Plan) -> list[str]:
    return [step.payload[0].rpartition(".")[2] for step in plan.steps]


def why(plan: Plan) -> list[str]:
    return [stays.why for stays in plan.stays]


def origin(content: str, kind: str = "Observation", resource_id: str = "o") -> Origin:
    digest = content.encode().ljust(32, b"-")
    return Origin(
        source="s", resource_type=kind, resource_id=resource_id, content_sha256=digest, original=b"z"
    )


def pulse(value: str, record_id: str = "o", **more: Any) -> care.ObservationRecorded:
    quantity = Quantity(value=value, unit="/min", code="/min")
    return care.ObservationRecorded(
        record_id=record_id, status="final", text="pulse", quantity=quantity, **more
    )


def test_nothing_done_is_nothing_undone() -> None:
    assert Story(pulse("70")).undone().changes == ()


def test_what_was_corrected_is_said_as_it_was() -> None:
    plan = Story(pulse("70")).tell(pulse("700")).undone()
    [step] = plan.steps
    name, fields = step.payload
    assert name == "id.rekam.care.ObservationRecorded" and fields["quantity"]["value"] == "70"
    assert fields["corrects"] == bytes([3]) * 16 and fields["reason"] == "why"
    assert step.cause == bytes([2]) * 16 and step.occurred_at == 2


def test_what_was_not_there_is_marked_newest_first() -> None:
    plan = Story().tell(pulse("1", "a"), pulse("2", "b")).undone()
    assert types(plan) == ["EnteredInError", "EnteredInError"]
    assert [step.payload[1]["record_id"] for step in plan.steps] == ["b", "a"]
    assert [change.then for change in plan.changes] == [None, None]


def test_a_void_is_taken_back_and_a_void_that_was_stands() -> None:
    error = care.EnteredInError(kind="observation", record_id="o", target=b"2" * 16)
    assert types(Story(pulse("70")).tell(error).undone()) == ["ObservationRecorded"]
    assert types(Story(pulse("70"), error).tell(pulse("70")).undone()) == [
        "ObservationRecorded",
        "EnteredInError",
    ]
    back = pulse("70").to_payload()
    story = Story(pulse("70"), error).tell(pulse("70"))
    story.events[-1] = story.events[-1]._replace(occurred_at=2)
    assert back == story.events[-1].payload
    assert types(story.undone()) == ["EnteredInError"], "it says the same, so marking it is enough"


@pytest.mark.parametrize(
    ("recorded", "voided", "other"),
    [
        (
            billing.ChargeRecorded(record_id="c", amount="100", currency="IDR"),
            billing.ChargeVoided(record_id="c"),
            "ChargeVoided",
        ),
        (
            billing.PaymentReceived(record_id="c", amount="100", currency="IDR", method="cash"),
            billing.PaymentVoided(record_id="c"),
            "PaymentVoided",
        ),
    ],
)
def test_charges_and_payments_have_their_own_voids(
    recorded: EventPayload, voided: EventPayload, other: str
) -> None:
    assert types(Story().tell(recorded).undone()) == [other]
    assert types(Story(recorded).tell(voided).undone()) == [type(recorded).__name__]


def test_a_result_is_said_once_more_as_a_correction() -> None:
    first = laboratory.LaboratoryResulted(record_id="r", status="final", value_text="positive")
    wrong = laboratory.LaboratoryResultCorrected(record_id="r", status="final", value_text="negative")
    assert types(Story(first).tell(wrong).undone()) == ["LaboratoryResultCorrected"]


def test_notes_read_as_they_read() -> None:
    written = care.NoteWritten(record_id="n", kind="soap", title="Visit", text="a")
    amended = care.NoteAmended(record_id="n", text="b")
    titled = care.NoteAmended(record_id="n", title="Another", text="c", practitioner="p")
    assert types(Story(written).tell(amended).undone()) == ["NoteWritten"]
    assert types(Story(written, amended).tell(titled).undone()) == ["NoteWritten", "NoteAmended"]
    plan = Story(written, titled).tell(amended).undone()
    assert types(plan) == ["NoteAmended"]
    assert plan.steps[0].payload[1]["title"] == "Another"
    plan = Story(written, titled, amended).tell(care.NoteAmended(record_id="n", title="X", text="x")).undone()
    assert types(plan) == ["NoteAmended"]
    assert plan.steps[0].payload[1]["title"] == "Another", "an amendment that left the title has it told"


def test_an_import_and_a_correction_by_hand_come_back_in_their_order() -> None:
    story = Story(pulse("70", origin=origin("A")), pulse("71")).tell(pulse("99", origin=origin("B")))
    plan = story.undone()
    assert types(plan) == ["ObservationRecorded", "ObservationRecorded"]
    assert [step.payload[1]["quantity"]["value"] for step in plan.steps] == ["70", "71"]


def test_a_record_that_reads_the_same_is_not_spoilt_by_its_resource() -> None:
    """The import of then brings the resource back, and with it the record as it was before the correction by hand."""
    story = Story(pulse("70", origin=origin("A")), pulse("71"))
    story.tell(pulse("99", origin=origin("B")), pulse("71"))
    story.events[-1] = story.events[-1]._replace(occurred_at=story.events[-3].occurred_at)
    plan = story.undone()
    assert [step.payload[1]["quantity"]["value"] for step in plan.steps] == ["70", "71"]


def test_registration_contacts_and_coverage() -> None:
    contact = Contact(contact_id="1", relationship="self", system="phone", value="1")
    coverage = Coverage(coverage_id="1", kind="bpjs", payer="BPJS")
    contacts = registration.ContactsChanged(contacts=[contact])
    coverages = registration.CoverageChangedV2(coverages=[coverage])
    none = registration.ContactsChanged()
    assert types(Story(contacts, coverages).tell(none).undone()) == ["ContactsChanged"]
    assert types(Story().tell(contacts, coverages).undone()) == ["ContactsChanged", "CoverageChangedV2"]
    wrong = registration.PatientCorrected(
        name="Sari B", sex="female", medical_record_number="2", identifiers=[Identifier(value="7")]
    )
    plan = Story(contacts, coverages).tell(wrong).undone()
    assert types(plan) == ["PatientCorrected"], "one event, with the lists"
    assert len(plan.steps[0].payload[1]["contacts"]) == len(plan.steps[0].payload[1]["coverages"]) == 1
    assert why(plan) == [staying.NUMBER]


def test_merges() -> None:
    merged = registration.PatientMerged(survivor="patient-2")
    other = registration.PatientMerged(survivor="patient-3")
    parted = registration.PatientUnmerged(survivor="patient-2")
    assert types(Story().tell(merged).undone()) == ["PatientUnmerged"]
    assert types(Story(merged).tell(parted).undone()) == ["PatientMerged"]
    assert types(Story(merged).tell(other).undone()) == ["PatientUnmerged", "PatientMerged"]
    plan = Story().tell(merged, other).undone()
    assert types(plan) == ["PatientUnmerged", "PatientUnmerged"] and not plan.stays


def test_a_merge_that_a_recovery_brought_back_is_undone() -> None:
    """The moment to go back to is in history that was set aside, where the merge had been undone."""
    merged = registration.PatientMerged(survivor="patient-2")
    story = Story().tell(merged).tell(registration.PatientUnmerged(survivor="patient-2"))
    plan = plan_undo(STREAM, story.events, story.events[:-1], "why")
    assert types(plan) == ["PatientUnmerged"] and not plan.stays


def test_what_was_submitted_and_decided_stays_and_what_we_settled_does_not() -> None:
    claim = billing.ClaimSubmitted(record_id="k", amount="100")
    decided = billing.ClaimAdjudicated(record_id="d", claim_id="k", outcome="complete", approved_amount="90")
    wrong = billing.ClaimAdjudicated(record_id="d", claim_id="k", outcome="error")
    settled = billing.ClaimFinalised(record_id="k", paid_amount="90")
    opened = billing.ClaimUnfinalised(record_id="k", reason="?")
    assert why(Story().tell(claim).undone()) == [staying.CLAIM_NEW]
    assert why(Story(claim).tell(billing.ClaimSubmitted(record_id="k", amount="1")).undone()) == [
        staying.CLAIM_OTHER
    ]
    assert why(Story(claim).tell(decided).undone()) == [staying.DECIDED, staying.DECIDED]
    assert types(Story(claim, decided).tell(wrong).undone()) == ["ClaimAdjudicated"]
    assert types(Story(claim, decided).tell(settled).undone()) == ["ClaimUnfinalised"]
    assert types(Story(claim, decided, settled).tell(opened).undone()) == ["ClaimFinalised"]


def test_restrictions_and_what_was_kept_whole_stay() -> None:
    kept = source.ResourceKept(origin=origin("A", "Basic"))
    changed = source.ResourceKept(origin=origin("B", "Basic"))
    assert why(Story().tell(erasure.PatientRestricted(scope="all")).undone()) == [staying.RESTRICTION]
    assert why(Story().tell(kept).undone()) == [staying.KEPT]
    assert types(Story(kept).tell(changed).undone()) == ["ResourceKept"]
    plan = Story().tell(pulse("1", origin=origin("A"))).undone()
    assert types(plan) == ["EnteredInError"] and why(plan) == [staying.KNOWN_IMPORTS]


def test_the_preview_says_then_now_and_what_is_appended() -> None:
    plan = Story(pulse("70")).tell(pulse("700"), pulse("5", "new")).undone()
    corrected, new = [change_words(change, str) for change in plan.changes]
    assert corrected[0] == "observation o (pulse)"
    assert "    quantity_value: then 70, now 700" in corrected
    assert corrected[-1] == "    appended: care.ObservationRecorded"
    assert new[1].startswith("    then: not there; now: ") and "5" in new[1]
    told = plan_json(plan, str)
    assert told["events"] == 2 and told["changes"][0]["then"]["quantity_value"] == "70"
    assert told["changes"][1]["then"] is None
