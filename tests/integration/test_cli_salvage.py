"""A log that turns up late, after another took its place: what it held beyond is listed and applied again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.clinics import Clinic
from tests.command_line import rekam

SHIPPED, BEYOND = 200, 60


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clinic, Path, dict]:
    """A clinic, its old disk, its digest when that was lost: some events were never shipped, of new patients too."""
    folder = tmp_path_factory.mktemp("salvage")
    clinic = Clinic(folder / "clinic").init()
    clinic.with_lines(0, SHIPPED)
    clinic.ship()
    clinic.with_lines(SHIPPED, SHIPPED + BEYOND)
    clinic.do("simulate", "--patients", "2", "--events", "150")
    whole = clinic.digest()
    old = folder / "disk"
    shutil.copytree(clinic.home, old)
    for lost in (
        *clinic.home.glob("log.db*"),
        *clinic.home.glob("tables.db*"),
        *clinic.home.glob("keys/patients.*"),
    ):
        lost.unlink()
    clinic.do("recover", "--to", "latest", "--yes")
    return clinic, old, whole


@pytest.fixture
def lost(told: tuple[Clinic, Path, dict], tmp_path: Path) -> tuple[Clinic, Path, dict]:
    clinic, old, whole = told
    shutil.copytree(clinic.home, tmp_path / "clinic")
    shutil.copytree(old, tmp_path / "disk")
    return Clinic(tmp_path / "clinic"), tmp_path / "disk", whole


def listed(clinic: Clinic, place: Path | str) -> dict[str, Any]:
    return clinic.do("salvage", str(place), "--json").json()


def test_what_was_never_shipped_is_listed_and_comes_back(lost: tuple[Clinic, Path, dict]) -> None:
    clinic, old, whole = lost
    assert clinic.digest() != whole
    found = listed(clinic, old)
    shipped = clinic.place().archive().marks.first.position.to_json()
    assert found["common"] == {"rekam.events/0": shipped["rekam.events/0"]}
    count = sum(row["events"] for row in found["streams"])
    assert count >= BEYOND and found["here"] == 0
    words = clinic.do("salvage", str(old / "log.db")).out
    assert f"Beyond: {count:,} events that were lost" in words
    one = next(row for row in found["streams"] if row["events"] > 1)
    assert clinic.do("salvage", str(old), "--event", one["ids"][0], "--yes", "--json").json()["applied"] == 1
    done = clinic.do("salvage", str(old), "--all", "--yes", "--json").json()
    assert (done["applied"], done["again"], done["refused"]) == (count - 1, 1, [])
    assert clinic.do("salvage", str(old), "--all", "--yes", "--json").json()["again"] == count
    same = {name: table["rows"] for name, table in clinic.digest().items() if name != "journal"}
    assert same == {name: table["rows"] for name, table in whole.items() if name != "journal"}
    assert clinic.status()["status"] == "green"


def test_attached_files_come_back_with_their_events(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path / "clinic").init()
    clinic.with_lines(0, SHIPPED)
    clinic.ship()
    scan = tmp_path / "scan.pdf"
    scan.write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 40)
    [event, *_] = clinic.do("find", "--type", "registration", "--json").json()["events"]
    clinic.do("attach", event["stream"], str(scan), "--title", "Scan")
    shutil.copytree(clinic.home, tmp_path / "disk")
    for lost in (*clinic.home.glob("log.db*"), *clinic.home.glob("tables.db*")):
        lost.unlink()
    shutil.rmtree(clinic.home / "attachments")
    clinic.do("recover", "--to", "latest", "--yes")
    assert clinic.do("attachments", event["stream"], "--json").json()["documents"] == []
    clinic.do("salvage", str(tmp_path / "disk"), "--all", "--yes")
    [back] = clinic.do("attachments", event["stream"], "--json").json()["documents"]
    clinic.do("attachment", event["stream"], back["document"], "-o", str(tmp_path / "back.pdf"))
    assert (tmp_path / "back.pdf").read_bytes() == scan.read_bytes()
    clinic.ship()
    assert clinic.status()["status"] == "green"


def test_without_the_keys_beside_it_sealed_events_are_refused(lost: tuple[Clinic, Path, dict]) -> None:
    clinic, old, _ = lost
    ran = rekam(clinic.home, "salvage", f"sqlite:{old / 'log.db'}", "--all", "--yes", "--json", code=1)
    assert ran.json()["refused"], "a patient who was new when the log was lost has a key that no backup holds"
    assert {row["why"] for row in ran.json()["refused"]} == {"its key is not here"}
    done = clinic.do("salvage", str(old), "--all", "--yes", "--json").json()
    assert done["refused"] == [] and done["applied"] == len(ran.json()["refused"])


def test_who_was_erased_meanwhile_is_not_brought_back(lost: tuple[Clinic, Path, dict]) -> None:
    clinic, old, _ = lost
    streams = [row["stream"] for row in listed(clinic, old)["streams"]]
    known = clinic.do("find", "--type", "registration", "--limit", "1000", "--json").json()["events"]
    patient = next(event["stream"] for event in known if event["stream"] in streams)
    clinic.do("erase", patient, "--reason", "asked for", "--order", "court")
    ran = rekam(clinic.home, "salvage", str(old), "--patient", patient, "--yes", "--json", code=1)
    assert ran.json()["applied"] == 0 and ran.json()["refused"]


@pytest.mark.parametrize(
    ("place", "says"),
    [("nowhere", "there is no log at"), ("clinic", "this is the log in use"), ("other", "shares no record")],
)
def test_what_is_no_late_log_is_refused(lost: tuple[Clinic, Path, dict], place: str, says: str) -> None:
    clinic, old, _ = lost
    other = Clinic(old.parent / "other").init()
    other.do("simulate", "--patients", "2", "--events", "30", "--seed", "9")
    assert says in rekam(clinic.home, "salvage", str(old.parent / place), code=1).err


def test_what_is_no_log_is_told_without_hints_for_the_log_in_use(tmp_path: Path) -> None:
    home, letter = tmp_path / "clinic", tmp_path / "letter.pdf"
    rekam(home, "init")
    letter.write_bytes(b"%PDF-1.4 " * 1000)
    ran = rekam(home, "salvage", letter, code=1)
    assert "this late log cannot be read" in ran.err and "move it away" not in ran.err
