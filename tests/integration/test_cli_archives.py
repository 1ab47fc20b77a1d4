"""Several archives at once, copies of one, and what differs between two: through the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.command_line import rekam


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("archives") / "clinic"
    rekam(home, "init")
    rekam(home, "simulate", "--patients", "3", "--events", "60", "--seed", "1")
    return home


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    """With a second archive on another disk, both shipped to."""
    home = Path(shutil.copytree(template, tmp_path / "clinic"))
    rekam(home, "archive", "add", "second", tmp_path / "disk")
    told = rekam(home, "replicate", "--once", "--snapshot", "--json").json()
    assert set(told["archives"]) == {"archive", "second"}
    return home


def content(home: Path) -> object:
    return rekam(home, "digest", "--json").json()


def lose_disk(home: Path) -> None:
    for lost in ("log.db", "tables.db"):
        (home / lost).unlink()


@pytest.mark.parametrize("name", ["archive", "second"])
def test_each_archive_alone_brings_everything_back(clinic: Path, name: str) -> None:
    before = content(clinic)
    lose_disk(clinic)
    rekam(clinic, "recover", "--to", "latest", "--yes", "--archive", name)
    assert content(clinic) == before


def test_the_archive_that_holds_most_is_recovered_from_and_all_go_on(clinic: Path) -> None:
    rekam(clinic, "simulate", "--patients", "1", "--events", "20", "--seed", "2")
    rekam(clinic, "replicate", "--once", "--archive", "second")
    before = content(clinic)
    lose_disk(clinic)
    told = rekam(clinic, "recover", "--to", "latest", "--yes")
    assert "'second'" in told.err
    assert content(clinic) == before
    rekam(clinic, "replicate", "--once")
    rekam(clinic, "status")


def test_a_longer_archive_than_the_one_recovered_from_is_kept_as_it_is(clinic: Path) -> None:
    rekam(clinic, "simulate", "--patients", "1", "--events", "20", "--seed", "2")
    rekam(clinic, "replicate", "--once", "--archive", "second")
    lose_disk(clinic)
    longer = rekam(clinic, "recover", "--to", "latest", "--dry-run", "--archive", "second")
    assert "holds more" not in longer.err
    shorter = rekam(clinic, "recover", "--to", "latest", "--yes", "--archive", "archive")
    assert "'second' holds more" in shorter.err
    told = rekam(clinic, "replicate", "--once", code=1)
    assert "archive: Shipped" in told.out
    assert "error: second:" in told.err


def test_a_lost_archive_holds_up_neither_the_other_nor_a_recovery(clinic: Path) -> None:
    shutil.rmtree(clinic / "archive")
    rekam(clinic, "simulate", "--patients", "1", "--events", "20", "--seed", "2")
    told = rekam(clinic, "replicate", "--once", code=1)
    assert "second: Shipped" in told.out
    assert "error: archive:" in told.err
    status = rekam(clinic, "status", "--json", code=1).json()
    assert status["archives"]["second"]["unshipped_records"] == 0
    before = content(clinic)
    lose_disk(clinic)
    told = rekam(clinic, "recover", "--to", "latest", "--yes")
    assert "'archive'" in told.err
    assert "'second'" in told.err
    assert content(clinic) == before


def test_the_list_tells_how_far_each_goes(clinic: Path) -> None:
    rows = rekam(clinic, "archive", "list", "--json").json()["archives"]
    assert [(row["name"], row["error"]) for row in rows] == [("archive", None), ("second", None)]
    assert all(row["complete_through"] for row in rows)
    shutil.rmtree(clinic / "archive")
    rows = rekam(clinic, "archive", "list", "--json", code=1).json()["archives"]
    assert rows[0]["error"]
    assert not rows[1]["error"]


def test_a_copy_is_the_same_archive_and_is_brought_up_to_date(clinic: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    first = rekam(clinic, "archive", "copy", "archive", copy, "--json").json()
    assert first["copied"] > 5
    rekam(clinic, "archive", "compare", "archive", copy)
    assert rekam(clinic, "archive", "copy", "archive", copy, "--json").json()["copied"] == 0
    rekam(clinic, "simulate", "--patients", "1", "--events", "20", "--seed", "2")
    rekam(clinic, "replicate", "--once")
    found = rekam(clinic, "archive", "compare", "archive", copy, "--json", code=1).json()
    assert found["only_first"]
    assert not found["only_second"]
    rekam(clinic, "archive", "copy", "archive", copy)
    rekam(clinic, "archive", "compare", "archive", copy)


def test_a_copy_opens_on_an_empty_machine(clinic: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    rekam(clinic, "archive", "copy", "archive", copy)
    other = tmp_path / "other"
    rekam(other, "init", "--from", copy, "--identity", clinic / "keys" / "owner.txt")
    rekam(other, "recover", "--to", "latest", "--yes")
    assert content(other) == content(clinic)


def test_damage_is_not_copied_and_is_named(clinic: Path, tmp_path: Path) -> None:
    segment = next((clinic / "archive" / "log").rglob("*.age"))
    segment.chmod(0o600)
    segment.write_bytes(segment.read_bytes()[:-1] + b"x")
    told = rekam(clinic, "archive", "copy", "archive", tmp_path / "copy", code=1)
    assert segment.name in told.err
    note = sorted((clinic / "archive" / "checkpoints").rglob("note"))[0]
    other = Path(shutil.copytree(clinic / "archive", tmp_path / "other"))
    changed = other / note.relative_to(clinic / "archive")
    changed.chmod(0o600)
    changed.write_bytes(changed.read_bytes().replace(b"rekam", b"reham"))
    found = rekam(clinic, "archive", "compare", "archive", other, "--json", code=1).json()
    assert found["different"] == [str(note.relative_to(clinic / "archive"))]


def test_what_cannot_become_a_further_archive_is_refused(clinic: Path, tmp_path: Path) -> None:
    rekam(clinic, "archive", "add", "second", tmp_path / "third", code=1)
    rekam(clinic, "archive", "add", "archive", tmp_path / "third", code=1)
    rekam(clinic, "archive", "add", "No Name", tmp_path / "third", code=2)
    rekam(clinic, "archive", "copy", "archive", tmp_path / "copy")
    told = rekam(clinic, "archive", "add", "copy", tmp_path / "copy", code=1)
    assert "copy" in told.err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("else")
    rekam(clinic, "archive", "copy", "archive", tmp_path / "full", code=1)
    rekam(clinic, "points", "--archive", "nowhere", code=2)
    assert [row["name"] for row in rekam(clinic, "archive", "list", "--json").json()["archives"]] == [
        "archive",
        "second",
    ]
