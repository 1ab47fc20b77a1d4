"""What an import asks about the record, answered from the tables."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from events.clock import Clock, wall_micros
from events.envelope import Epoch, EventId
from events.log import EventLog
from events.position import Position
from events.rules import Effect, Head
from projections.store import Tables
from projections.tables import IDENTIFIERS, LOCATIONS, ORGANISATIONS, PATIENTS, PRACTITIONERS, RESOURCES
from services.fhir.building.people import MEDICAL_RECORD
from services.fhir.items import Held, Key
from services.fhir.mapping.registration import NIK_SYSTEM
from services.fhir.references import Directory
from services.projecting import PATIENT, Patience, follow_to

PATIENT_NUMBERS = {NIK_SYSTEM: "nik", MEDICAL_RECORD: "medical_record_number"}
"""Identifier system -> the column of the patients' own that holds its numbers."""


class TablesStanding:
    """Projects by itself; where another projector holds the tables, waits for it."""

    def __init__(
        self,
        log: EventLog,
        tables: Tables,
        *,
        clock: Clock = wall_micros,
        patience: Patience = PATIENT,
    ) -> None:
        self._log, self._tables, self._clock, self._patience = log, tables, clock, patience
        table = next(t for t in tables.definition.tables if t.name == "resources")
        names = [column.name for column in table.columns]
        self._digest, self._event, self._kind = (
            names.index(n) for n in ("content_sha256", "event_id", "kind")
        )

    def catch_up(self, end: Position) -> None:
        follow_to(end, self._log, self._tables, clock=self._clock, patience=self._patience)

    def epoch(self) -> Epoch | None:
        return Effect(self._tables.control(), self._tables.position()).newest

    def heads(self, streams: Collection[str]) -> dict[str, Head]:
        return self._tables.heads(streams)

    def held(self, keys: Collection[Key]) -> dict[Key, Held]:
        rows = self._tables.resources(keys)
        return {key: self._of(row) for key, row in rows.items()}

    def _of(self, row: tuple[Any, ...]) -> Held:
        return Held(row[self._digest], row[self._event], row[self._kind] is not None)

    def applied(self, event_ids: Collection[EventId]) -> Collection[EventId]:
        return self._tables.applied_many(event_ids).keys()

    def patients_known_as(self, source: str, system: str, value: str) -> Collection[str]:
        streams = self._bearers(system, value)
        # A number such as the NIK is known to several sources; each means its own record of the person.
        keys = [(stream, source, "Patient") for stream in streams]
        found = (
            self._tables.database.find(RESOURCES, ["stream", "source", "resource_type"], keys) if keys else []
        )
        return {row[0] for row in found}

    def _bearers(self, system: str, value: str) -> set[str]:
        column = PATIENT_NUMBERS.get(system)
        if column is not None:
            return {row[0] for row in self._tables.database.find(PATIENTS, [column], [(value,)])}
        at = [c.name for c in IDENTIFIERS.columns].index("system")
        found = self._tables.database.find(IDENTIFIERS, ["value"], [(value,)])
        return {row[0] for row in found if (row[at] or "") == system}


def directory_of(tables: Tables, clinic_stream: str) -> Directory:
    """Resolves conditional references (`system|value`) to the clinic's practitioners, locations and organisations."""
    found: list[tuple[str, str | None, str]] = []
    for table in (PRACTITIONERS, LOCATIONS, ORGANISATIONS):
        columns = [column.name for column in table.columns]
        record_id, identifiers = columns.index("record_id"), columns.index("identifiers")
        for row in tables.rows(table, clinic_stream):
            held = json.loads(row[identifiers] or "[]")
            found.extend((row[record_id], number["system"], number["value"]) for number in held)
    return Directory(found)
