"""Which patient a person means."""

from __future__ import annotations

from events.errors import Refused
from projections.store import Tables


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
