"""What a mapping function takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from services.fhir.elements import Fields
from services.fhir.references import Naming

Resource: TypeAlias = Mapping[str, Any]


class Mapped(NamedTuple):
    """An event's content, without what the importer adds: origin, corrects, reason."""

    type: str
    """Without the namespace root: `care.EncounterRecorded`."""
    fields: Fields
    occurred_at: int | None
    """Clinical time, microseconds UTC; None where the resource tells none."""
    correction: str | None = None
    """The event type of a correction, where that is another one."""


Map: TypeAlias = Callable[[Resource, Naming], Mapped | None]
