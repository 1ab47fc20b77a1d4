"""What an undo leaves as it is, and why: compared after everything else was planned. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from projections.record_tables import ADJUDICATIONS, CLAIMS
from projections.tables import MERGES, RESOURCES, RESTRICTIONS
from services.undoing.state import (
    LISTS,
    RECORDS,
    State,
    decision,
    details,
    filled_alike,
    is_void,
    submitted,
)


class Stays(NamedTuple):
    """Something that reads otherwise than it did, and goes on so."""

    kind: str
    record_id: str | None
    why: str


REGISTRATION = "a registration cannot be taken back; what was recorded under it can"
NUMBER = "the medical record number that this patient had meanwhile stays reserved"
CLAIM_NEW = "it was submitted to the payer; withdraw it there"
CLAIM_OTHER = "what was submitted to the payer stays so; submit it again to change it"
DECIDED = "the payer has decided; a payer's decision is not ours to take back"
KNOWN_IMPORTS = "that these resources were imported stays known: importing the same again changes nothing"
KEPT = "what an import kept whole, unmapped, stays kept"
RESTRICTION = "restrictions, and their ends, hold whatever is undone: see 'rekam restrict'"
OTHER = "no event brings it back exactly; history shows how it was"


def what_stays(then: State, at: State) -> list[Stays]:
    """`at`: the rows after every step of a plan."""
    return [*_patient(then, at), *_records(then, at), *_claims(then, at), *_imports(then, at)]


def _patient(then: State, at: State) -> Iterator[Stays]:
    was, is_ = then.patient, at.patient
    if was is None and is_ is not None:
        yield Stays("registration", None, REGISTRATION)
    elif was is not None and is_ is not None:
        if details(then) != details(at) or then.survivor != at.survivor:
            yield Stays("registration", None, OTHER)
        for name, table in LISTS.items():
            if then.items(table) != at.items(table):
                yield Stays(name, None, OTHER)
    known = {key for key, _ in then.rows(MERGES)}
    for key, row in at.rows(MERGES):
        wanted = row["survivor"] == then.survivor
        if key not in known and row["undone_by"] is None and not wanted:
            yield Stays("merge", None, OTHER)
    if list(then.rows(RESTRICTIONS)) != list(at.rows(RESTRICTIONS)):
        yield Stays("restriction", None, RESTRICTION)


def number_stays(then: State, now: State) -> Iterator[Stays]:
    """The number that a patient loses by going back is nobody else's afterwards."""
    was, is_ = then.patient, now.patient
    number = is_ and is_["medical_record_number"]
    if was is not None and number is not None and was["medical_record_number"] != number:
        yield Stays("number", None, NUMBER)


def _records(then: State, at: State) -> Iterator[Stays]:
    for kind, table in RECORDS.items():
        gone = {key for key, _ in then.rows(table)} - {key for key, _ in at.rows(table)}
        yield from (Stays(kind, key[0], OTHER) for key in sorted(gone))
        for key, row in at.rows(table):
            was = then.row(table, key)
            if was is None:
                if table is ADJUDICATIONS:
                    yield Stays(kind, key[0], DECIDED)
                elif not is_void(row):
                    yield Stays(kind, key[0], OTHER)
            elif not filled_alike((table.name, key), then, at) or is_void(was) != is_void(row):
                yield Stays(kind, key[0], OTHER)


def _claims(then: State, at: State) -> Iterator[Stays]:
    for key, row in at.rows(CLAIMS):
        was = then.row(CLAIMS, key)
        if was is None:
            yield Stays("claim", key[0], CLAIM_NEW)
            continue
        if submitted(was) != submitted(row):
            yield Stays("claim", key[0], CLAIM_OTHER)
        if decision(was) != decision(row):
            yield Stays("claim", key[0], DECIDED if decision(was) is None else OTHER)


def _imports(then: State, at: State) -> Iterator[Stays]:
    """What is new among them is told once; what a record was made from is brought back with the record."""
    new = [row for key, row in at.rows(RESOURCES) if then.row(RESOURCES, key) is None]
    for row in new:
        if row["kind"] is None:
            yield Stays("import", row["resource_id"], KEPT)
    if any(row["kind"] is not None for row in new):
        yield Stays("import", None, KNOWN_IMPORTS)
    for key, row in at.rows(RESOURCES):
        was = then.row(RESOURCES, key)
        if was is None or "claim" in (was["kind"], row["kind"]):
            continue
        if not filled_alike((RESOURCES.name, key), then, at):
            yield Stays("import", row["resource_id"], OTHER)
