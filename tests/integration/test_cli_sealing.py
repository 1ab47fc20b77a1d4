"""Sealing and erasure by command: on an empty machine, after rewinds, from old snapshots and old backups of keys."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from events.codec import decode_events
from events.position import EVENTS
from replicator.erasures import read_erasures
from services.home import Home
from tests.command_line import digest, lose, moment, ndjson, rekam, sample_lines
from tests.imported_clinics import ImportedClinic

LOST = ("log.db", "tables.db")


class Clinic(ImportedClinic):
    def refused(self, *words: object) -> str:
        ran = rekam(self.home, *words, code=1)
        assert ran.out == ""
        return ran.err

    def rows(self, patient: str, *words: str) -> dict[str, list]:
        return {n: rows for n, rows in self.do("show", patient, *words)["tables"].items() if rows}

    def shows_nothing(self, patient: str, *words: str) -> bool:
        """Nothing but that the patient was erased."""
        rows = self.rows(patient, *words)
        blank = {"name": "", "nik": None, "medical_record_number": None, "birth_date": None, "address": None}
        return not rows or (
            set(rows) == {"patients"} and all({**row, **blank} == row for row in rows["patients"])
        )

    def patients(self) -> list[str]:
        with closing(Home.open(self.home).tables()) as tables:
            return [row[0] for row in tables.database.fetch("SELECT stream FROM patients ORDER BY stream")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    return Clinic.made_in(tmp_path_factory.mktemp("sealed"))


@pytest.fixture
def clinic(made: Clinic, tmp_path: Path) -> Clinic:
    return made.copied_to(tmp_path / "there")


def test_a_new_clinic_seals_and_nothing_of_a_patient_lies_in_the_clear(clinic: Clinic) -> None:
    assert "sealing = true" in (clinic.home / "rekam.toml").read_text()
    with closing(Home.open(clinic.home).log()) as log:
        kinds = set()
        for partition, stop in log.end().of(EVENTS).items():
            for batch in log.read(partition, 0, stop):
                for event in decode_events([record.value for record in batch]):
                    kinds.add((event.stream.partition("-")[0], event.payload[0]))  # type: ignore[union-attr]
    assert {kind for stream, kind in kinds if stream == "patient"} == {"id.rekam.Sealed"}
    assert all(kind != "id.rekam.Sealed" for stream, kind in kinds if stream != "patient")
    assert list((clinic.home / "key-backups").rglob("*.age"))


def test_an_empty_machine_gets_everything_back(clinic: Clinic, tmp_path: Path) -> None:
    truth = digest(clinic.home)
    new = clinic.to_empty_machine(tmp_path / "new")
    new.recover()
    assert digest(new.home) == truth
    assert new.do("status")["status"] == "green"
    patient = new.patients()[0]
    assert rekam(new.home, "export", "fhir", patient).out == rekam(clinic.home, "export", "fhir", patient).out


def test_without_the_backup_of_keys_everything_is_kept_and_nothing_stops(
    clinic: Clinic, tmp_path: Path
) -> None:
    truth = digest(clinic.home)
    backups, aside = clinic.home / "key-backups", tmp_path / "aside"
    backups.rename(aside)
    new = clinic.to_empty_machine(tmp_path / "new")
    new.recover()
    assert digest(new.home)["streams"] == truth["streams"]
    found = new.do("status", code=1)
    assert any("are missing" in finding["text"] for finding in found["findings"])
    shutil.rmtree(tmp_path / "new" / "key-backups", ignore_errors=True)
    shutil.copytree(aside, tmp_path / "new" / "key-backups")
    new.recover()  # the keys are found after all
    assert digest(new.home) == truth
    assert new.do("status")["status"] == "green"


def test_a_lost_store_of_keys_stops_shipping_until_it_is_brought_back(clinic: Clinic) -> None:
    truth = digest(clinic.home)
    lose(clinic.home / "keys", "patients.db", "wrapping.key")
    assert "its backup" in clinic.refused("replicate", "--once")
    clinic.recover()
    clinic.ship()
    assert digest(clinic.home) == truth


# -- erasing


def test_too_early_and_under_hold_is_refused_unless_ordered(clinic: Clinic) -> None:
    patient = clinic.patients()[0]
    before = digest(clinic.home)
    assert "must be kept" in clinic.refused("erase", patient, "--reason", "asked for")
    assert "no such patient" in clinic.refused("erase", "nobody", "--reason", "x", "--order", "y")
    assert digest(clinic.home) == before
    settings = {"REKAM_ERASURE__RETENTION_YEARS": "0"}
    rekam(clinic.home, "restrict", patient, "--hold", "--reason", "lawsuit")
    ran = rekam(clinic.home, "erase", patient, "--reason", "asked for", code=1, **settings)
    assert "legal hold" in ran.err
    rekam(clinic.home, "restrict", patient, "--hold", "--lift", "--reason", "over")
    rekam(clinic.home, "erase", patient, "--reason", "its time has come", **settings)
    assert clinic.shows_nothing(patient)


def test_who_need_not_be_kept_any_longer_is_listed(clinic: Clinic) -> None:
    assert clinic.do("due")["patients"] == []
    settings = {"REKAM_ERASURE__RETENTION_YEARS": "0"}
    patients = set(clinic.patients())
    held, erased, *_ = patients
    rekam(clinic.home, "restrict", held, "--hold", "--reason", "lawsuit")
    rekam(clinic.home, "erase", erased, "--reason", "its time has come", **settings)
    found = rekam(clinic.home, "due", "--json", **settings).json()["patients"]
    assert {row["patient"] for row in found} == patients - {held, erased}
    assert [row["kept_until"] for row in found] == sorted(row["last"] for row in found)


def test_an_erasure_leaves_everybody_else_and_a_ledger_without_identifiers(clinic: Clinic) -> None:
    patient, other = clinic.patients()[:2]
    others = clinic.rows(other)
    had = rekam(clinic.home, "export", "fhir", patient).out
    nik = clinic.rows(patient)["patients"][0]["nik"] or clinic.rows(patient)["patients"][0]["name"]
    report = clinic.do("erase", patient, "--reason", "asked for", "--order", "court 1/2026")
    assert report["patient"] == patient and report["keys"] and report["snapshots"] == 1
    assert report["key_backups_until"] and report["in_the_clear"] == 0
    assert had and rekam(clinic.home, "export", "fhir", patient).out == ""
    assert clinic.shows_nothing(patient)
    assert clinic.rows(other) == others
    [entry] = (clinic.home / "archive" / "erasures").glob("*.json")
    ledger = json.loads(entry.read_text())
    assert ledger["keys"] == report["keys"] and ledger["order"] == "court 1/2026"
    assert patient not in entry.read_text() and nik not in entry.read_text()
    again = clinic.do("erase", patient, "--reason", "asked again")
    assert again["keys"] == report["keys"]
    assert len(list((clinic.home / "archive" / "erasures").glob("*.json"))) == 1


def test_numbers_of_the_erased_stay_taken(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path / "clinic")
    rekam(clinic.home, "init")
    rekam(clinic.home, "simulate", "--patients", "3", "--events", "120")
    patient = clinic.patients()[0]
    with closing(Home.open(clinic.home).tables()) as tables:
        taken = tables.numbers_of(patient)
    assert taken >= 1
    ran = rekam(clinic.home, "erase", patient, "--reason", "asked for", "--order", "court")
    assert f"{taken} numbers that the clinic reserved for them stay taken" in ran.out
    with closing(Home.open(clinic.home).tables()) as tables:
        assert tables.numbers_of(patient) == taken


@pytest.mark.parametrize("to", ["latest", "before"])
@pytest.mark.parametrize("machine", ["same", "same, all lost", "empty", "empty, old keys"])
def test_erased_stays_erased(clinic: Clinic, tmp_path: Path, machine: str, to: str) -> None:
    """From a snapshot and a backup of keys that hold the patient, to before the erasure, on whichever machine."""
    patient, other = clinic.patients()[:2]
    others, time = clinic.rows(other), moment()
    clinic.ship()
    shutil.copytree(clinic.home / "key-backups", old := tmp_path / "old")
    clinic.do("erase", patient, "--reason", "asked for", "--order", "court")
    place = clinic
    if machine == "same, all lost":
        lose(clinic.home, *LOST)
    elif machine.startswith("empty"):
        if "old" in machine:
            shutil.rmtree(clinic.home / "key-backups")
            old.rename(clinic.home / "key-backups")
        place = clinic.to_empty_machine(tmp_path / "new")
    place.recover("latest" if to == "latest" else time)
    assert place.shows_nothing(patient)
    assert rekam(place.home, "export", "fhir", patient).out == ""
    assert place.shows_nothing(patient, "--at", time)
    assert place.rows(other) == others
    live = digest(place.home)
    assert digest(place.home, "--at", moment()) == live
    lose(place.home, "tables.db")
    place.recover()
    assert digest(place.home) == live
    assert place.do("status")["status"] == "green"


def ledger_of(home: Path, archive: str) -> list[set[str]]:
    return [set(entry.keys) for entry in read_erasures(Home.open(home).with_archive(archive).archive())]


@pytest.mark.parametrize("there", [True, False])
def test_every_archives_ledger_names_an_erasure_now_or_once_it_is_there_again(
    clinic: Clinic, tmp_path: Path, there: bool
) -> None:
    second, aside = clinic.home / "second", tmp_path / "aside"
    rekam(clinic.home, "archive", "add", "second", second)
    clinic.ship()
    if not there:
        second.rename(aside)
    words = ("erase", clinic.patients()[0], "--reason", "on request", "--order", "of a court")
    ran = rekam(clinic.home, *words, "--json")
    assert ("second: its ledger" in ran.err) is not there
    if not there:
        aside.rename(second)
        clinic.ship()
    want = [set(ran.json()["keys"])]
    assert ledger_of(clinic.home, "archive") == ledger_of(clinic.home, "second") == want
    clinic.do(*words)
    clinic.ship()
    assert ledger_of(clinic.home, "archive") == ledger_of(clinic.home, "second") == want, "once each"


def test_who_was_erased_does_not_come_back_by_importing(clinic: Clinic) -> None:
    patient = clinic.patients()[0]
    clinic.do("erase", patient, "--reason", "asked for", "--order", "court")
    ran = rekam(clinic.home, "import", "fhir", clinic.home.parent / "all.ndjson", code=1)
    assert "its patient was erased" in ran.err
    assert clinic.shows_nothing(patient)


def test_who_stands_in_set_aside_history_alone_is_erased_too(clinic: Clinic) -> None:
    before = moment()
    rekam(clinic.home, "import", "fhir", ndjson(clinic.home.parent / "more.ndjson", sample_lines(1743, 1900)))
    [new, *_] = sorted({*clinic.patients()} - {*_patients_of(clinic, before)})
    then = moment()
    clinic.recover(before)
    assert new not in clinic.patients()
    clinic.do("erase", new, "--reason", "asked for", "--order", "court")
    clinic.recover(then)
    assert clinic.shows_nothing(new)


def _patients_of(clinic: Clinic, time: str) -> list[str]:
    return [p for p in clinic.patients() if clinic.rows(p, "--at", time)]


def test_a_restriction_holds_through_recoveries_until_it_is_lifted(clinic: Clinic, tmp_path: Path) -> None:
    patient, time = clinic.patients()[0], moment()
    clinic.ship()
    clinic.do("restrict", patient, "--reason", "asked for")
    assert "restricted" in clinic.refused("show", patient)
    clinic.recover(time)
    assert "restricted" in clinic.refused("show", patient)
    assert "restricted" in clinic.refused("export", "fhir", patient)
    assert "restricted" in clinic.refused("audit", "evidence", patient, "-o", tmp_path / "evidence.json")
    assert not (tmp_path / "evidence.json").exists()
    new = clinic.to_empty_machine(tmp_path / "new")
    new.recover(time)
    assert "restricted" in new.refused("show", patient)
    new.do("restrict", patient, "--lift", "--reason", "settled")
    assert new.rows(patient)


def test_of_an_erased_patient_is_said_that_they_were_erased_and_no_restriction(clinic: Clinic) -> None:
    patient = clinic.patients()[0]
    clinic.do("restrict", patient, "--reason", "asked for")
    clinic.do("erase", patient, "--reason", "asked for", "--order", "a court's")
    assert "erased" in rekam(clinic.home, "show", patient).err
    assert "erased" in rekam(clinic.home, "export", "fhir", patient).err
    assert "erased" in clinic.refused("restrict", patient, "--lift", "--reason", "x")


def test_keys_that_do_not_come_back_are_told_at_adoption_and_at_the_end(
    clinic: Clinic, tmp_path: Path
) -> None:
    clinic.ship()
    new, owner = tmp_path / "new", clinic.home / "keys" / "owner.txt"
    elsewhere = ("--key-backup", tmp_path / "nowhere")
    adopted = rekam(new, "init", "--from", clinic.home / "archive", "--identity", owner, *elsewhere)
    assert f"no backup of patients' keys is at {tmp_path / 'nowhere'}" in adopted.err
    recovered = rekam(new, "recover", "--to", "latest", "--yes")
    assert "keys.backup in rekam.toml" in recovered.err.splitlines()[-1]
    assert "keys.backup in rekam.toml" in rekam(new, "status", code=1).out


def test_with_sealing_off_the_tables_still_show_nothing_of_the_erased(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path / "clinic")
    rekam(clinic.home, "init")
    toml = clinic.home / "rekam.toml"
    toml.write_text(toml.read_text().replace("sealing = true", "sealing = false"))
    rekam(clinic.home, "import", "fhir", ndjson(tmp_path / "all.ndjson", sample_lines(0, 200)))
    clinic.ship("--snapshot")
    patient, time = clinic.patients()[0], moment()
    clinic.ship()
    report = clinic.do("erase", patient, "--reason", "asked for", "--order", "court")
    assert report["in_the_clear"] > 0
    assert "erased" in clinic.refused("audit", "evidence", patient, "-o", tmp_path / "evidence.json")
    new = clinic.to_empty_machine(tmp_path / "new")
    new.recover(time)
    assert new.shows_nothing(patient)
    assert rekam(new.home, "export", "fhir", patient).out == ""


def test_an_erasure_says_at_once_how_it_is_gone_on_with(clinic: Clinic) -> None:
    """Once the keys are gone, no number of the patient's leads to them any more."""
    patient = clinic.patients()[0]
    number = clinic.rows(patient)["identifiers"][0]["value"]
    shutil.rmtree(clinic.home / "key-backups")
    (clinic.home / "key-backups").write_text("not a folder")
    ran = rekam(clinic.home, "erase", number, "--reason", "asked for", "--order", "court", code=None)
    assert ran.code and patient in ran.err
    (clinic.home / "key-backups").unlink()
    assert "no such patient" in clinic.refused("erase", number, "--reason", "x", "--order", "y")
    assert clinic.do("erase", patient, "--reason", "asked for", "--order", "court")["keys"]


@pytest.mark.parametrize("then", ["status", "replicate"])
def test_a_store_of_keys_put_back_from_before_an_erasure_is_noticed_and_learns_of_it(
    clinic: Clinic, tmp_path: Path, then: str
) -> None:
    clinic.ship()
    shutil.copytree(clinic.home / "keys", old := tmp_path / "old")
    patient = clinic.patients()[0]
    clinic.do("erase", patient, "--reason", "asked for", "--order", "court")
    lose(clinic.home / "keys", "patients.db")
    for file in old.glob("patients.db*"):
        shutil.copy(file, clinic.home / "keys")
    if then == "status":
        found = clinic.do("status", code=1)
        assert any("are destroyed" in finding["text"] for finding in found["findings"])
        clinic.recover()
    else:
        assert "older copy" in clinic.refused("replicate", "--once")
    lose(clinic.home, "tables.db")
    assert clinic.shows_nothing(patient)


def test_the_ledger_of_an_archive_that_is_not_recovered_from_counts_too(
    clinic: Clinic, tmp_path: Path
) -> None:
    second, aside, old = clinic.home / "second", tmp_path / "aside", tmp_path / "old"
    rekam(clinic.home, "archive", "add", "second", second)
    clinic.ship()
    shutil.copytree(clinic.home / "key-backups", old)
    second.rename(aside)
    patient = clinic.patients()[0]
    clinic.do("erase", patient, "--reason", "asked for", "--order", "court")
    aside.rename(second)
    lose(clinic.home / "keys", "patients.db")
    lose(clinic.home, *LOST)
    shutil.rmtree(clinic.home / "key-backups")
    old.rename(clinic.home / "key-backups")
    clinic.do("recover", "--to", "latest", "--yes", "--archive", "second")
    assert clinic.shows_nothing(patient)
