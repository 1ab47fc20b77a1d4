"""The payloads that take something back: an earlier event's content again, or the void of its family. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from events.envelope import Event, EventId, Micros, Payload
from services.undoing.state import Fields, filled_by

REGISTERED = "id.rekam.registration.PatientRegistered"
CORRECTED = "id.rekam.registration.PatientCorrected"
RESULTED = "id.rekam.laboratory.LaboratoryResulted"
RESULT_CORRECTED = "id.rekam.laboratory.LaboratoryResultCorrected"
NOTE_WRITTEN = "id.rekam.care.NoteWritten"
NOTE_AMENDED = "id.rekam.care.NoteAmended"
_CORRECTIONS = {REGISTERED: CORRECTED, RESULTED: RESULT_CORRECTED}
"""What is said first, and the type that says it once more: with a reason, and what it corrects."""


class Step(NamedTuple):
    """One event to append."""

    payload: Payload
    occurred_at: Micros | None
    """Clinical time, microseconds; None: when it is appended."""
    cause: EventId | None
    """The event that says it once more, or that it takes back."""
    planned_id: EventId = b""
    """Stands for its id in the payloads of later steps, and is its command's key."""


def again(event: Event, corrects: EventId | None, reason: str, **changed: Any) -> Step:
    """An earlier event's content as a new event. `corrects`: the event that it takes the place of, if there is one."""
    name, fields = event.payload
    if name in _CORRECTIONS:
        name, fields = _CORRECTIONS[name], {**fields, "corrects": None, "reason": None}
    said = {"corrects": corrects, "reason": reason}
    told = {field: value for field, value in said.items() if field in fields}
    return Step((name, {**fields, **told, **changed}), event.occurred_at, event.event_id)


def note_again(event: Event, was: Fields, now: Fields | None, reason: str) -> list[Step]:
    """An amended note as it read. What an amendment does not say stays, so where that is too much it is written anew.

    `was`, `now`: its rows.
    """
    said = {name: was[name] for name in ("title", "text", "practitioner")}
    amended = again(event, filled_by(now), reason, **said)
    if now is not None and _amending_does(was, now):
        return [amended]
    fields = {"record_id": was["record_id"], "encounter_id": was["encounter_id"], "kind": was["kind"], **said}
    return [Step((NOTE_WRITTEN, {**fields, "origin": None}), event.occurred_at, event.event_id), amended]


def _amending_does(was: Fields, now: Fields) -> bool:
    kept = all(was[name] == now[name] for name in ("encounter_id", "kind"))
    return kept and all(was[name] or was[name] == now[name] for name in ("title", "practitioner"))


def void(kind: str, row: Fields, reason: str) -> Step:
    """A record is marked as entered in error. `row`: as it stands."""
    record_id, event_id = row["record_id"], row["event_id"]
    fields = {"record_id": record_id, "target": event_id, "reason": reason}
    match kind:
        case "charge":
            payload: Payload = ("id.rekam.billing.ChargeVoided", fields)
        case "payment":
            payload = ("id.rekam.billing.PaymentVoided", fields)
        case _:
            payload = ("id.rekam.care.EnteredInError", {"kind": kind, **fields})
    return Step(payload, None, event_id)


def contacts_changed(items: list[Fields], reason: str) -> Step:
    return Step(("id.rekam.registration.ContactsChanged", {"contacts": items, "reason": reason}), None, None)


def coverages_changed(items: list[Fields], reason: str) -> Step:
    payload: Payload = (
        "id.rekam.registration.CoverageChangedV2",
        {"coverages": items, "reason": reason},
    )
    return Step(payload, None, None)


def unmerge(survivor: str, merge: EventId, reason: str) -> Step:
    fields = {"survivor": survivor, "merge": merge, "reason": reason}
    return Step(("id.rekam.registration.PatientUnmerged", fields), None, merge)


def unfinalise(record_id: str, finalisation: EventId, reason: str) -> Step:
    fields = {"record_id": record_id, "target": finalisation, "reason": reason}
    return Step(("id.rekam.billing.ClaimUnfinalised", fields), None, finalisation)


def with_real_ids(step: Step, real: Mapping[EventId, EventId]) -> Payload:
    """The step's payload, with the ids of events that the same undo appended in the place of the planned ones."""
    name, fields = step.payload
    return name, {
        field: real.get(value, value) if isinstance(value, bytes) else value
        for field, value in fields.items()
    }
