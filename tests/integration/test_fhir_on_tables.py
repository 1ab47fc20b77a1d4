"""FHIR in and out on the embedded default: log and tables in SQLite, the sample clinic, killed processes."""

from __future__ import annotations

import lzma
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest

from events.codec import encode_event
from events.envelope import Event, derive_id
from events.errors import Busy
from events.log import Entry
from events.position import EVENTS
from events.rules import Verdict
from events.sqlite_log import SqliteLog
from projections.digest import digest
from projections.projector import project
from projections.store import Tables, open_tables
from projections.system_tables import JOURNAL
from services.fhir import importing
from services.fhir.exact_json import parse, write
from services.fhir.exporting import export_fhir
from services.fhir.references import patient_stream
from services.fhir.standing import TablesStanding, directory_of
from services.projecting import Patience
from tests.fhir_import import CLINIC, import_into
from tests.fhir_resources import RESOURCES
from tests.fhir_standing import ACTOR, rewind
from tests.servers import ROOT

SAMPLE = ROOT / "deploy" / "samples" / "clinic-sample.ndjson.xz"
SAMPLE_COUNTS = {
    "Patient": 20,
    "Encounter": 1_007,
    "Condition": 705,
    "Observation": 5_638,
    "DiagnosticReport": 1_859,
    "Procedure": 2_677,
    "MedicationRequest": 542,
    "Immunization": 270,
    "AllergyIntolerance": 20,
    "Claim": 1_549,
    "ExplanationOfBenefit": 1_549,
}


@pytest.fixture(scope="module")
def sample_lines() -> list[str]:
    return lzma.open(SAMPLE, "rt").read().splitlines()


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample imported once. Tests leave it as it is."""
    folder = tmp_path_factory.mktemp("sample")
    report = import_into(folder, "fhir", SAMPLE)
    assert report.read == report.mapped == SAMPLE_COUNTS
    assert (report.kept, report.refused, report.appended) == ({}, 0, sum(SAMPLE_COUNTS.values()))
    return folder


@pytest.fixture
def tables(imported: Path) -> Iterator[Tables]:
    opened = open_tables(f"sqlite:{imported / 'tables.db'}", create=False)
    yield opened
    opened.close()


def digests(folder: Path) -> Any:
    opened = open_tables(f"sqlite:{folder / 'tables.db'}", create=False)
    try:
        return digest(opened)["tables"]
    finally:
        opened.close()


def test_what_goes_in_comes_out(sample_lines: list[str], tables: Tables) -> None:
    given = {(r["resourceType"], r["id"]): text for text in sample_lines for r in [parse(text)]}
    patients = [identity for kind, identity in given if kind == "Patient"]
    back = {}
    for patient in patients:
        for one in export_fhir(tables, patient_stream("fhir", patient)):
            back[one.resource_type, one.resource_id] = one.text.decode()
    assert back == given


def test_again_changes_nothing(imported: Path) -> None:
    before = digests(imported)
    report = import_into(imported, "fhir", SAMPLE)
    assert (report.appended, report.unchanged) == (0, sum(SAMPLE_COUNTS.values()))
    assert report.mapped == SAMPLE_COUNTS
    assert digests(imported) == before


def test_tables_hold_every_record_once(tables: Tables) -> None:
    with tables.reading():
        found = Counter(row[0].split("-")[0] for row in tables.all_rows("encounters"))
        verdicts = Counter(row[13] for row in tables.all_rows(JOURNAL))
    assert found == {"patient": SAMPLE_COUNTS["Encounter"]}
    assert verdicts == {Verdict.APPLIED.value: sum(SAMPLE_COUNTS.values())}


@pytest.fixture
def small(sample_lines: list[str], tmp_path: Path) -> Path:
    path = tmp_path / "small.ndjson"
    path.write_text("\n".join(sample_lines[:1_500]))
    return path


def test_killed_again_and_again_it_completes(small: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    import_into(whole, "fhir", small)
    rnd = random.Random(7)
    for _ in range(8):
        child = _start(broken, "fhir", small)
        deadline = time.monotonic() + 60
        goal = _log_bytes(broken) + rnd.randint(1, 400_000)
        while child.is_alive() and _log_bytes(broken) < goal and time.monotonic() < deadline:
            time.sleep(0.002)  # looks at the file; no result depends on how long
        child.kill()
        child.join()
    import_into(broken, "fhir", small)
    assert digests(broken) == digests(whole)
    opened = open_tables(f"sqlite:{broken / 'tables.db'}", create=False)
    with opened.reading():
        assert {row[13] for row in opened.all_rows(JOURNAL)} == {Verdict.APPLIED.value}
    opened.close()


def test_two_processes_import_the_same_and_another_source(small: Path, tmp_path: Path) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    for folder in (whole, shared):
        folder.mkdir()
        SqliteLog(folder / "log.db", create=True).close()
        open_tables(f"sqlite:{folder / 'tables.db'}").close()
    for source in ("fhir", "other"):
        import_into(whole, source, small)
    children = [_start(shared, source, small) for source in ("fhir", "fhir", "other")]
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert digests(shared) == digests(whole)


def _start(folder: Path, source: str, path: Path) -> ForkProcess:
    """An import in small batches, in a fork of this process: it is at work at once. Nothing in `folder` may be open."""

    def work() -> None:
        importing.BATCH_ITEMS = 50
        import_into(folder, source, path)

    process = get_context("fork").Process(target=work)
    process.start()
    return process


def _log_bytes(folder: Path) -> int:
    found = 0
    for file in folder.glob("log.db*"):
        with suppress(FileNotFoundError):  # one that a new log is made in goes away
            found += file.stat().st_size
    return found


def test_after_a_rewind_it_applies_anew(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    import_into(folder, "fhir", small)
    before = digests(folder)
    log = SqliteLog(folder / "log.db")
    end = log.end()
    rewind(log, end.replace({p: n // 3 for p, n in end.of(EVENTS).items()}), b"e" * 16)
    log.close()
    report = import_into(folder, "fhir", small)
    assert report.appended == 1_500 - 500
    # The rows name the events that set them, which are new ones now; what they say is the same.
    counts = {name: of["rows"] for name, of in before.items()}
    assert {name: of["rows"] for name, of in digests(folder).items()} == counts


def test_what_was_voided_and_recorded_here_shows_in_the_export(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    import_into(folder, "fhir", small)
    log = SqliteLog(folder / "log.db")
    opened = open_tables(f"sqlite:{folder / 'tables.db'}")
    stream = patient_stream("fhir", parse(small.read_text().splitlines()[0])["id"])
    journal = opened.journal(stream)
    encounter = next(row for row in journal if row.type == "care.EncounterRecorded")
    record_id = parse(next(line for line in small.read_text().splitlines() if '"Encounter"' in line))["id"]
    void = {
        "kind": "encounter",
        "record_id": record_id,
        "target": encounter.event_id,
        "reason": "wrong patient",
    }
    note = {"record_id": "n1", "kind": "soap", "text": "S: demam"}
    for fields in (("care.EnteredInError", void), ("care.NoteWritten", note)):
        _record(log, opened, stream, *fields)
    exported = {(e.resource_type, e.resource_id): e.resource for e in export_fhir(opened, stream)}
    assert exported["Encounter", record_id]["status"] == "entered-in-error"
    assert exported["DocumentReference", "n1"]["type"] == {"text": "soap"}
    opened.close()
    log.close()


def _record(log: SqliteLog, tables: Tables, stream: str, name: str, fields: dict[str, object]) -> None:
    _append(log, tables, stream, name, fields)
    project(log, tables)


def _append(log: SqliteLog, tables: Tables, stream: str, name: str, fields: dict[str, object]) -> None:
    head = tables.head(stream)
    event = Event(
        derive_id(name),
        None,
        stream,
        head.version + 1,
        head.last,
        0,
        0,
        ACTOR,
        None,
        None,
        (f"id.rekam.{name}", fields),
    )
    log.append(EVENTS, [Entry(stream.encode(), encode_event(event))])


def test_conditional_references_resolve_whatever_came_first(tmp_path: Path) -> None:
    path = tmp_path / "all.ndjson"
    kinds = ("Encounter", "Location", "Organization", "Practitioner")
    location = {**RESOURCES["Location"], "identifier": [{"system": "urn:l", "value": "7"}]}
    path.write_text("\n".join(write({**RESOURCES, "Location": location}[kind]) for kind in kinds))
    import_into(tmp_path, "s", path)
    opened = open_tables(f"sqlite:{tmp_path / 'tables.db'}")
    directory = directory_of(opened, CLINIC)
    encounter = opened.rows("encounters", patient_stream("s", "p1"))[0]
    assert {"urn:l|7", "urn:o|1", "s/d1"} <= set(encounter)
    assert [directory.resolve(name) for name in ("urn:l|7", "urn:o|1", "s/d1")] == ["s/l1", "s/o1", "s/d1"]
    exported = {one.resource_type for one in export_fhir(opened, CLINIC)}
    assert exported == {"Location", "Organization", "Practitioner"}
    opened.close()


@pytest.mark.parametrize(
    "number", ["urn:rs-a|00-12-34", "https://fhir.kemkes.go.id/id/nik|3171014501900001"], ids=["other", "nik"]
)
def test_a_patient_is_found_by_an_identifier_in_the_tables(tmp_path: Path, number: str) -> None:
    path = tmp_path / "p.ndjson"
    vital = {
        "resourceType": "Observation",
        "id": "v",
        "subject": {"reference": f"Patient?identifier={number}"},
    }
    path.write_text("\n".join(map(write, (vital, RESOURCES["Patient"]))))
    for source in ("s", "t"):  # each means its own record of the same person
        report = import_into(tmp_path, source, path)
        assert report.mapped == {"Observation": 1, "Patient": 1}
        assert import_into(tmp_path, source, path).unchanged == 2
    path.write_text(write({**vital, "id": "w"}))
    assert import_into(tmp_path, "u", path).kept == {
        "Observation": 1
    }  # other sources' patients are not its own
    opened = open_tables(f"sqlite:{tmp_path / 'tables.db'}")
    assert [len(opened.rows("observations", patient_stream(source, "p1"))) for source in ("s", "t")] == [1, 1]
    opened.close()


@pytest.mark.postgresql
def test_postgresql_holds_the_same(postgresql_database: str, small: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("sqlite", "postgresql")]
    for folder, url in zip(folders, (None, postgresql_database), strict=True):
        folder.mkdir()
        for _ in range(2):
            report = import_into(folder, "fhir", small, url)
        assert (report.appended, report.unchanged) == (0, 1_500)
    opened = open_tables(postgresql_database)
    assert digest(opened)["tables"] == digests(folders[0])
    assert opened.head(patient_stream("fhir", parse(small.read_text().splitlines()[0])["id"])).version
    opened.close()


def test_an_import_waits_for_another_projector_and_not_for_ever(small: Path, tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", create=True)
    other, mine = (open_tables(f"sqlite:{tmp_path / 'tables.db'}") for _ in range(2))
    project(log, other, hold=True)
    _append(log, mine, "patient-1", "care.NoteWritten", {"record_id": "n1", "kind": "soap", "text": "x"})
    moment = [0.0]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        moment[0] += seconds

    standing = TablesStanding(log, mine, patience=Patience(1.0, lambda: moment[0], sleep))
    with pytest.raises(Busy, match=r"do not reach the log's end: another projector .* holds the tables"):
        standing.catch_up(log.end())
    assert 1.0 <= sum(waits) <= 1.1
    other.release_lease()
    standing.catch_up(log.end())
    assert mine.head("patient-1").version == 1
    for opened in (other, mine, log):
        opened.close()
