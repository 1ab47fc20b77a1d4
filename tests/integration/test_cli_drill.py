"""Drills: rehearsed, compared with the truth, measured, kept in the archive and on control, scheduled."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from events.codec import DRILL_COMPLETED
from events.control import read_control
from services.home import Home
from tests.clinics import Clinic
from tests.command_line import moment, rekam


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """With a full backup, and an event that was set aside. Not to be changed."""
    folder = tmp_path_factory.mktemp("drills")
    clinic = Clinic(folder / "clinic").with_sample(200)
    clinic.do("backup", "full")
    before = moment()
    clinic.void_by_mistake(3)
    clinic.do("recover", "--to", before, "--yes")
    return clinic


@pytest.fixture
def clinic(shipped: Clinic, tmp_path: Path) -> Clinic:
    return shipped.copied_to(tmp_path / "clinic")


def controls(home: Path, kind: str) -> list[dict]:
    with closing(Home.open(home).log()) as log:
        return [c.body[1] for _, c in read_control(log, 0, log.end().control) if c.body[0] == kind]


def test_a_drill_gives_the_truth_and_is_kept(clinic: Clinic) -> None:
    found = clinic.do("drill", "--json").json()
    assert (found["outcome"], found["findings"]) == ("ok", [])
    assert found["rto_millis"] > 0 and found["rpo_millis"] >= 0
    status = clinic.status()
    assert status["status"] == "green"
    assert status["backups"]["drill"]["outcome"] == "ok"
    said = controls(clinic.home, DRILL_COMPLETED)[0]
    assert said["succeeded"] and said["rto_millis"] == found["rto_millis"]
    assert rekam(clinic.home, "audit", "verify", "--depth", "records", code=None).code in (0, 4)
    [kept, *_] = Home.open(clinic.home).archive().drills
    assert kept.rto_millis == found["rto_millis"]


def test_to_a_moment_that_somebody_chose(clinic: Clinic) -> None:
    then = moment()
    clinic.ship()
    words = clinic.do("drill", "--at", then).out
    assert "Drill: ok" in words and "(RTO)" in words


def test_all_of_the_log_comes_back_whatever_the_moment_is(clinic: Clinic) -> None:
    """As in a recovery: what it takes is measured whole, and what is damaged behind the moment is found."""
    points = clinic.do("points", "--json").json()
    first = points["ranges"][0]["from"]
    held = Home.open(clinic.home).archive().end().records()
    assert clinic.do("drill", "--at", first, "--json").json()["records"] == held
    newest = max(
        (clinic.home / "archive" / "log" / "rekam.events").rglob("*.age"), key=lambda path: path.name
    )
    newest.write_bytes(newest.read_bytes()[:-1])
    assert "Drill: invalid" in rekam(clinic.home, "drill", "--at", first, code=3).out


def test_a_recovery_that_would_not_give_the_truth_is_found_and_red_until_one_does(clinic: Clinic) -> None:
    moved = []
    for path in (clinic.home / "archive" / "log" / "rekam.events").rglob("*.age"):
        moved.append((path, path.read_bytes()))
        path.write_bytes(moved[-1][1][:-1])
    ran = rekam(clinic.home, "drill", code=3)
    assert "Drill: invalid" in ran.out and "(RTO)" not in ran.out
    assert controls(clinic.home, DRILL_COMPLETED)[0]["rto_millis"] is None
    assert rekam(clinic.home, "status", "--json", code=1).json()["status"] == "red"
    for path, data in moved:
        path.write_bytes(data)
    clinic.do("drill")
    assert clinic.status()["status"] == "green"


def test_what_cannot_be_rehearsed_is_refused(clinic: Clinic, tmp_path: Path) -> None:
    empty = Clinic(tmp_path / "empty").init()
    assert "nothing to rehearse" in rekam(empty.home, "drill", code=1).err
    assert "before the archive begins" in rekam(clinic.home, "drill", "--at", "500 weeks ago", code=1).err
    (clinic.home / "keys" / "owner.txt").unlink()
    assert "owner.txt" in rekam(clinic.home, "drill", code=1).err
