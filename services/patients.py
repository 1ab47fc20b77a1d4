"""Which patient a person means."""

from __future__ import annotations

from events.errors import Refused
from events.patient_keys import ERASED, KeyStore, Mark
from projections.store import Tables

RESTRICTED = "restricted"
HELD = "held"
"""Marks: data that is not to be used; data that is not to be erased."""
HOLD_SCOPE = "hold"
"""The scope of an event that tells of the latter."""


def refuse_restricted(keys: KeyStore, stream: str) -> None:
    """Raises Refused where a patient's data is kept, and not to be used: whatever a rewind did to its history.

    Of an erased patient nothing is kept, so no restriction stands, and none can be lifted.
    """
    if stream in keys.marks(ERASED):
        return
    if standing(keys, stream, RESTRICTED) is not None:
        raise Refused(
            "this patient's data is restricted: it is kept, and not to be used",
            "'rekam restrict PATIENT --lift --reason TEXT' ends that",
        )


def erased_words(keys: KeyStore, stream: str) -> str | None:
    """What to tell whoever looks at an erased patient, who would think that nothing was ever there."""
    if stream not in keys.marks(ERASED):
        return None
    return "this patient was erased: what they were recorded with is gone for ever"


def standing(keys: KeyStore, stream: str, name: str) -> Mark | None:
    """The mark of that name, unless it was lifted."""
    mark = keys.marks(name).get(stream)
    return None if mark is None or mark.body.get("lifted") else mark


def one_patient(tables: Tables, text: str) -> str:
    """The stream that `text` names: a stream, a medical record number, a NIK or a FHIR id. Raises Refused.

    What was typed may be an identity number, so no error repeats it.
    """
    found = tables.find_patient(text)
    if not found:
        raise Refused(
            "no such patient", "give a stream (patient-…), a medical record number, a NIK or a FHIR id"
        )
    if len(found) > 1:
        raise Refused(f"{len(found)} patients bear that", f"name one by its stream: {', '.join(found[:5])}")
    return found[0]


def one_stream(tables: Tables, text: str) -> str:
    """As `one_patient`; by its name also a stream that stands in set-aside history alone. Raises Busy too."""
    return text if tables.journal(text) else one_patient(tables, text)
