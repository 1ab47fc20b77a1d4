"""People of the simulated clinic: who they are follows from the seed and their number, so nothing has to be kept.

A `Thread` is a stream as its writers see it: where it stands. A `Person` is a patient's thread with the little that
later visits need; memory is a few hundred bytes a patient, however many events.
"""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from events.envelope import EventId, stream_name
from services.simulation.codes import MARITAL, RELIGIONS
from services.simulation.identity import DISTRICTS, bpjs_number, nik, telephone
from services.simulation.names import FEMALE, GIVEN, MALE, PLACES, STREETS, compose
from services.simulation.payloads import Fields

INSURED_SHARE = 0.72
OLDEST_YEARS = 88
FIRST_DAY = date(2019, 1, 7)


class Thread:
    """Where a stream stands: its version, its last event, and the one before (what a slow writer still sees)."""

    __slots__ = ("before", "last", "name", "version")

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = 0
        self.last: EventId | None = None
        self.before: EventId | None = None


class Person(Thread):
    """A patient who has a record."""

    __slots__ = ("allergic", "chronic", "index", "insured", "number", "records", "registration")

    def __init__(self, name: str, index: int, number: str, insured: bool) -> None:
        super().__init__(name)
        self.index = index
        self.number = number
        """The medical record number."""
        self.insured = insured
        self.chronic: int | None = None
        """The place in DIAGNOSES of what stays with this patient."""
        self.allergic = False
        self.records = 0
        self.registration: EventId | None = None

    def next_record(self) -> str:
        """A record id that is new in this stream, whatever its kind."""
        self.records += 1
        return str(self.records)


def patient_stream(seed: int, index: int, again: bool = False) -> str:
    """The stream of a patient; `again` for somebody who was registered a second time by mistake."""
    return stream_name("patient", "simulation", str(seed), str(index), "again" if again else "")


def registration(seed: int, index: int, number: str, insured: bool) -> Fields:
    """The fields of PatientRegistered: the same for the same seed and index."""
    random = Random(seed << 40 | index)
    sex = FEMALE if random.random() < 0.56 else MALE
    name = compose(random, sex)
    born = FIRST_DAY - timedelta(days=int(random.triangular(1, OLDEST_YEARS * 365, 12_000)))
    grown = FIRST_DAY.year - born.year >= 18
    return {
        "medical_record_number": number,
        "nik": nik(index, born, sex),
        "identifiers": [],
        "name": name.text,
        "given": name.given,
        "family": name.family,
        "birth_date": born.isoformat(),
        "birth_place": random.choice(PLACES),
        "sex": sex,
        "deceased": False,
        "death_date": None,
        "marital_status": random.choice(MARITAL) if grown else "S",
        "religion": random.choice(RELIGIONS),
        "education": None,
        "occupation": None,
        "mother_name": random.choice(GIVEN[FEMALE]),
        "language": None,
        "address": _address(random, index),
        "contacts": [contact(index)],
        "coverages": [coverage(index, insured)],
        "managing_organisation": None,
        "origin": None,
    }


def corrected_registration(fields: Fields) -> Fields:
    """The same person after somebody looked at the identity card again."""
    return {**fields, "birth_place": None, "occupation": "Karyawan swasta", "education": "SMA"}


def contact(index: int) -> Fields:
    return {
        "contact_id": "1",
        "relationship": "self",
        "name": None,
        "system": "phone",
        "value": telephone(index),
        "use": "mobile",
    }


def coverage(index: int, insured: bool) -> Fields:
    return {
        "coverage_id": "bpjs" if insured else "self",
        "kind": "bpjs" if insured else "self",
        "payer": "BPJS Kesehatan" if insured else "Pasien",
        "member_number": bpjs_number(index) if insured else None,
        "class_of_care": str(1 + index % 3) if insured else None,
        "facility_code": None,
        "valid_from": None,
        "valid_until": None,
    }


def address(lines: list[str], region: tuple[str, str, str]) -> Fields:
    code, city, postal_code = region
    return {
        "lines": lines,
        "village": None,
        "district": None,
        "city": city,
        "province": None,
        "postal_code": postal_code,
        "country": "ID",
        "region_code": code,
    }


def _address(random: Random, index: int) -> Fields:
    street = f"Jl. {random.choice(STREETS)} No. {random.randint(1, 250)}"
    quarter = f"RT {random.randint(1, 12):02d}/RW {random.randint(1, 9):02d}"
    return address([street, quarter], DISTRICTS[index % len(DISTRICTS)])
