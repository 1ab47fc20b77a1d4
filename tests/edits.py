"""Random edits of one patient's record, of every type that its families have, so that they meet each other."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from events import catalogue
from events.envelope import Event, derive_id
from services.undoing.state import touched
from tests.payload_strategies import MICROS, payloads

FAMILIES = ("registration", "care", "laboratory", "billing", "source")
TYPES = [
    *(name for name in catalogue.event_types() if name.split(".")[2] in FAMILIES),
    "id.rekam.erasure.PatientRestricted",
    "id.rekam.erasure.RestrictionLifted",
]
GROUPS = [
    ["care.NoteWritten", "care.NoteAmended", "care.EnteredInError"],
    ["care.ObservationRecorded", "care.EnteredInError"],
    ["laboratory.LaboratoryResulted", "laboratory.LaboratoryResultCorrected"],
    [
        "billing.ClaimSubmitted",
        "billing.ClaimAdjudicated",
        "billing.ClaimFinalised",
        "billing.ClaimUnfinalised",
    ],
    ["billing.ChargeRecorded", "billing.ChargeVoided", "billing.PaymentReceived", "billing.PaymentVoided"],
    ["registration.PatientCorrected", "registration.ContactsChanged", "registration.CoverageChangedV2"],
    ["registration.PatientMerged", "registration.PatientUnmerged", "registration.PatientCorrected"],
]
"""Types that write over one another."""
REGISTERED = "id.rekam.registration.PatientRegistered"
ACTORS = ("nurse", "script")

Edit = tuple[str, dict[str, Any], int, str]
"""(event type, its fields, when it happened, the actor's id)"""


def _meeting(
    payload: tuple[str, dict[str, Any]],
    record_id: str,
    claim_id: str,
    survivor: str,
    imported: str | None,
    kind: str | None,
    at: int,
    actor: str,
) -> Edit:
    """The edit with ids that others bear too; an import of one record is of one resource, as sources have it."""
    name, fields = payload
    said = {"record_id": record_id, "claim_id": claim_id, "scope": "all", "survivor": survivor, "merge": None}
    fields = {**fields, **{field: value for field, value in said.items() if field in fields}}
    if name.endswith(".EnteredInError") and kind is not None:
        fields["kind"] = kind
    if fields.get("origin") is not None and imported is not None:
        known = {"source": "s", "resource_type": resource_type(name, fields), "resource_id": imported}
        fields["origin"] = {**fields["origin"], **known}
    elif "origin" in fields and name != "id.rekam.source.ResourceKept":
        fields["origin"] = None
    return name, fields, at, actor


def resource_type(name: str, fields: dict[str, Any]) -> str:
    """What a source would call it: types that fill one table are one resource type."""
    event = Event(b"", None, "p", 1, None, 0, 0, {}, None, None, (name, fields))
    tables = {table for table, _ in touched(event)} - {"resources"}
    return "patients" if "patients" in tables else min(tables, default=name)


def edits_of(types: list[str]) -> st.SearchStrategy[Edit]:
    """Edits of some event types."""
    return st.builds(
        _meeting,
        payloads(*types),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["patient-x", "patient-y"]),
        st.none() | st.sampled_from(["a", "b"]),
        st.sampled_from([None, "note", "observation"]),
        MICROS,
        st.sampled_from(ACTORS),
    )


_FIRST = st.builds(
    _meeting,
    payloads(REGISTERED),
    *map(st.just, ("a", "a", "patient-x")),
    st.none() | st.just("a"),
    st.none(),
    MICROS,
    st.just("nurse"),
)


def histories(longest: int) -> st.SearchStrategy[list[Edit]]:
    """Mostly of patients who are registered first, as they should be, and of a few types, so that edits meet."""
    few = st.lists(st.sampled_from(TYPES), min_size=1, max_size=4, unique=True)
    meeting = st.sampled_from([[f"id.rekam.{name}" for name in group] for group in GROUPS])
    types = st.just(TYPES) | few | meeting
    rest = types.flatmap(lambda of: st.lists(edits_of(of), min_size=1, max_size=longest - 1))
    return rest | st.builds(lambda first, then: [first, *then], _FIRST, rest)


def as_events(stream: str, edits: list[Edit]) -> list[Event]:
    """The edits as applied events."""
    found: list[Event] = []
    for version, (name, fields, at, actor) in enumerate(edits, 1):
        event_id = derive_id("edit", stream, str(version))
        previous = found[-1].event_id if found else None
        who = {"id": actor, "role": "r", "system": "test"}
        found.append(Event(event_id, None, stream, version, previous, at, 0, who, None, None, (name, fields)))
    return found
