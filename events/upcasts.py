"""Upcasts: what turns a payload of a superseded event type into its successor's.

A released type is never edited. Where it must change in a way that Avro's resolution cannot bridge, a type with a
new name takes its place in the union, and an upcast here carries the old payloads over, for ever. Upcasts are pure
and total: whatever the old schema allowed must come through. They may follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from events.envelope import Payload

Fields: TypeAlias = dict[str, Any]
Upcast: TypeAlias = Callable[[Fields], Payload]


def _coverage_changed(fields: Fields) -> Payload:
    """The first CoverageChanged held one payer; now a patient may have several coverages at once."""
    payer = fields["payer"]
    coverage = {
        "coverage_id": "1",
        "kind": "bpjs" if "bpjs" in payer.lower() else "private",
        "payer": payer,
        "member_number": fields["member_number"],
        "class_of_care": None,
        "facility_code": None,
        "valid_from": None,
        "valid_until": None,
    }
    return "id.rekam.registration.CoverageChangedV2", {"coverages": [coverage], "reason": fields["reason"]}


UPCASTS: Mapping[str, Upcast] = {
    "id.rekam.registration.CoverageChanged": _coverage_changed,
}
"""By the full name of the superseded type."""


def upcast(payload: Payload) -> Payload:
    """The payload in the newest type that its own leads to."""
    while payload[0] in UPCASTS:
        payload = UPCASTS[payload[0]](payload[1])
    return payload
