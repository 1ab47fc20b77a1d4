"""Finding the moment before something went wrong, and going there: by an event, a checkpoint, a backup, a position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clinics import Clinic
from tests.command_line import lose, rekam

VOIDED = 60


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """With records, all of which are in its archive. Not to be changed."""
    folder = tmp_path_factory.mktemp("targets")
    clinic = Clinic(folder / "clinic").with_sample(400)
    clinic.ship()
    return clinic


@pytest.fixture
def clinic(shipped: Clinic, tmp_path: Path) -> Clinic:
    """One like it, to be changed."""
    return shipped.copied_to(tmp_path / "clinic")


def find(clinic: Clinic, *words: str) -> dict[str, Any]:
    return clinic.do("find", *words, "--json").json()


def go(clinic: Clinic, *words: str) -> dict[str, Any]:
    return clinic.do("recover", *words, "--yes", "--json").json()


def test_the_burst_is_found_and_gone_before(clinic: Clinic) -> None:
    before = clinic.digest()
    assert clinic.void_by_mistake(VOIDED) == VOIDED
    after = clinic.digest()
    minutes = find(clinic, "--bursts", "--type", "EnteredInError")["bursts"]
    assert sum(minute["events"] for minute in minutes) == VOIDED
    first = min(minutes, key=lambda minute: minute["minute"])
    assert (first["type"], first["actor_id"]) == ("care.EnteredInError", "script")
    plan = clinic.do("recover", "--before", first["first"], "--dry-run").out
    assert f"just before event {first['first']} (it is not kept)" in plan
    assert f"Goes back         {VOIDED} events of " in plan
    assert f"care.EnteredInError {VOIDED}" in plan and "all by script" in plan
    report = go(clinic, "--before", first["first"])
    assert report["set_aside_records"] == VOIDED
    assert report["goes_back"]["events"] == VOIDED and report["goes_back"]["actors"] == {"script": VOIDED}
    assert clinic.digest() == before
    again = go(clinic, "--before", first["first"])
    assert not again["rewind"], "the event is set aside now, and means the same moment"
    assert again["goes_back"] is None
    # and back again, to where it was: the event resolves before the rewind that set it aside
    [last] = find(clinic, "--type", "care", "--actor", "script", "--limit", "1")["events"]
    assert last["verdict"] == "set-aside"
    go(clinic, "--after", last["event_id"])
    assert clinic.digest() == after
    assert clinic.status()["status"] == "green"


@pytest.mark.parametrize("lost", [(), ("tables.db",), ("log.db",), ("log.db", "tables.db")])
def test_an_event_is_a_target_whatever_is_lost(clinic: Clinic, lost: tuple[str, ...]) -> None:
    before = clinic.digest()
    clinic.void_by_mistake(VOIDED)
    event = find(clinic, "--actor", "script", "--limit", str(VOIDED))["events"][0]
    first = event["event_id"]
    assert find(clinic, "--actor", event["actor"])["total"] == VOIDED  # as it is shown
    clinic.ship()
    lose(clinic.home, *lost)
    report = go(clinic, "--before", first)
    assert report["restore_log"] == ("log.db" in lost)
    assert clinic.digest() == before


def test_checkpoints_backups_and_positions_are_targets(clinic: Clinic) -> None:
    first = clinic.digest()
    taken = clinic.do("backup", "full", "--json").json()
    number = clinic.ship()["checkpoint"]
    clinic.void_by_mistake(VOIDED)
    second = clinic.digest()
    shipped = clinic.ship()
    position = ", ".join(f"{p}={n}" for p, n in shipped["position"].items())
    for to, want in (
        (f"checkpoint {number}", first),
        (position, second),
        (taken["label"], first),
        (f"checkpoint:{shipped['checkpoint']}", second),
    ):
        plan = clinic.do("recover", "--to", to, "--dry-run").out
        assert "(inclusive), at 20" in plan
        go(clinic, "--to", to)
        assert clinic.digest() == want, to


def test_the_beginning_is_a_position_and_what_that_takes_away_is_said(clinic: Clinic) -> None:
    report = go(clinic, "--to", "rekam.events/0=0, rekam.access/0=0, rekam.control/0=0")
    assert report["rpo_seconds"] is not None and f"{report['set_aside_records']:,} later" in report["rpo"]
    assert clinic.do("rewinds", "list", "--json").json()["rewinds"][0]["back_to"] is not None


def test_a_patient_of_set_aside_history_alone_is_found(clinic: Clinic) -> None:
    patient = find(clinic, "--limit", "1")["events"][0]["stream"]
    go(clinic, "--to", "rekam.events/0=0, rekam.access/0=0, rekam.control/0=0")
    assert find(clinic, patient, "--verdict", "set-aside")["total"] > 0
    assert clinic.do("history", patient, "--json").json()["events"]


def test_events_are_found_by_whom_what_and_when(clinic: Clinic) -> None:
    whole = find(clinic, "--limit", "10000")
    assert whole["total"] == len(whole["events"])
    patient = next(e["stream"] for e in whole["events"] if e["stream"].startswith("patient-"))
    for words, fits in (
        ((patient,), lambda e: e["stream"] == patient),
        (("--type", "registration"), lambda e: e["type"].startswith("registration.")),
        (("--since", "1 hour ago"), lambda e: True),
        (("--until", "1 hour ago"), lambda e: False),
        (("--verdict", "set-aside"), lambda e: False),
    ):
        found = find(clinic, *words, "--limit", "10000")["events"]
        assert found == [e for e in whole["events"] if fits(e)], words
    newest = clinic.do("find", "--limit", "3")
    assert newest.out.count("\n") == 4 and "The newest 3 of" in newest.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name one target"),
        (("--to", "latest", "--before", "0" * 32), "name one target"),
        (("--before", "nothing"), "not an event's id"),
        (("--before", "0" * 32), "no such event"),
        (("--to", "checkpoint 99"), "there is no checkpoint 99"),
        (("--to", "20200101T000000Z-full"), "holds no backup of that label"),
        (("--to", "rekam.events/0=999999, rekam.access/0=0, rekam.control/0=1"), "beyond what is there"),
        (("--to", "rekam.events/0=3"), "is missing"),
        (("--to", "rekam.elsewhere/0=3"), "not a position of this log"),
        (("--to", "events=3"), "not a part of a position"),
        (("--to", "rekam.events/0=3, rekam.events/0=4, rekam.access/0=0, rekam.control/0=1"), "named twice"),
        (("--to", f"checkpoint {'9' * 5000}"), "not a time"),
        (("--to", "0001-01-01"), "not a time"),
        (("--to", "2999-01-01"), "; the nearest is 20"),
        (("--to", "500 weeks ago"), "before the archive begins"),
        (("--to", "sometime"), "not a time"),
        (("--to", "20261124T195058Z-ful"), "a backup's label"),
    ],
)
def test_what_is_no_target_is_refused(shipped: Clinic, words: tuple[str, ...], says: str) -> None:
    ran = shipped.run("recover", *words, "--yes")
    assert ran.code in (1, 2)
    assert says in ran.err and "hint:" in ran.err


def test_what_cannot_be_looked_for_is_said(shipped: Clinic) -> None:
    assert "families:" in rekam(shipped.home, "find", "--type", "weather", code=2).err
    assert "no such patient" in rekam(shipped.home, "find", "nobody", code=1).err
    rekam(shipped.home, "find", "--limit", "9" * 20, code=2)
    assert "not a time" in rekam(shipped.home, "find", "--since", "sometime", code=2).err
