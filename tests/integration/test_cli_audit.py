"""`rekam audit …` as an auditor uses it: in a home, and on a machine that has none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.command_line import rekam


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("audit") / "clinic"
    rekam(home, "init")
    rekam(home, "simulate", "--patients", "4", "--events", "120", "--seed", "1")
    rekam(home, "project", "--once")
    rekam(home, "replicate", "--once", "--snapshot")
    return home


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "clinic"))


def key_of(home: Path) -> str:
    sheet = (home / "keys" / "owner.txt").read_text().splitlines()
    return next(line.split(": ", 1)[1] for line in sheet if line.startswith("# rekam verification key: "))


def damage(home: Path, pattern: str) -> str:
    """Flips a byte of one object, and gives its key."""
    path = sorted((home / "archive").glob(pattern))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return str(path.relative_to(home / "archive"))


@pytest.mark.parametrize("depth", ["objects", "records"])
def test_in_a_home_everything_is_at_hand(clinic: Path, depth: str) -> None:
    told = rekam(clinic, "audit", "verify", "--depth", depth, "--json").json()
    assert told["outcome"] == "ok"
    assert told["attested_by"] == [str(clinic / "keys" / "seen" / "newest.note")]
    assert told["counts"]["orphans"] == 0
    assert (told["counts"]["records"] > 100) == (depth == "records")
    shown = rekam(clinic, "audit", "verify", "--depth", depth).out
    assert shown.startswith("OK: rekam/")


def test_on_a_machine_without_a_home(clinic: Path, tmp_path: Path) -> None:
    note = shutil.copy(clinic / "keys" / "seen" / "newest.note", tmp_path / "kept.note")
    away = tmp_path / "auditor"
    away.mkdir()
    place = ["--archive", clinic / "archive"]
    told = rekam(away, "audit", "verify", *place, "--key", key_of(clinic), "--since", note, "--json")
    assert told.json()["outcome"] == "ok"
    rekam(away, "audit", "verify", *place, "--key", key_of(clinic), code=4)
    rekam(away, "audit", "verify", *place, "--since", note, code=4)
    deep = [*place, "--key", key_of(clinic), "--since", note, "--depth", "records"]
    rekam(away, "audit", "verify", *deep, code=4)
    rekam(away, "audit", "verify", *deep, "--identity", clinic / "keys" / "owner.txt")
    rekam(away, "audit", "verify", "--archive", tmp_path / "nowhere", "--key", key_of(clinic), code=4)
    rekam(away, "audit", "verify", code=2)
    assert not list(away.iterdir())


@pytest.mark.parametrize(
    "pattern",
    ["log/rekam.events/**/*.age", "schemas/*", "snapshots/*/*.age", "snapshots/*/*.json", "checkpoints/*/*"],
)
def test_what_was_changed_is_named(clinic: Path, pattern: str) -> None:
    key = damage(clinic, pattern)
    told = rekam(clinic, "audit", "verify", "--json", code=3).json()
    assert any(finding["where"] == key for finding in told["findings"])
    assert key in rekam(clinic, "audit", "verify", code=3).out


def test_an_archive_rolled_back_to_an_earlier_copy(clinic: Path, tmp_path: Path) -> None:
    shutil.copytree(clinic / "archive", tmp_path / "earlier")
    rekam(clinic, "simulate", "--patients", "1", "--events", "20", "--seed", "2")
    rekam(clinic, "replicate", "--once")
    shutil.rmtree(clinic / "archive")
    shutil.move(tmp_path / "earlier", clinic / "archive")
    assert "rolled back" in rekam(clinic, "audit", "verify", code=3).out


def test_a_report_is_signed_and_kept_outside(clinic: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    rekam(clinic, "audit", "verify", "--report", report)
    told = json.loads(report.read_text().splitlines()[0])
    assert (told["outcome"], told["checkpoint"]) == ("ok", 1)
    rekam(clinic, "audit", "verify", "--report", clinic / "archive" / "report.txt", code=2)
    away = ["--archive", clinic / "archive", "--key", key_of(clinic)]
    told = rekam(tmp_path, "audit", "verify", *away, "--report", tmp_path / "unsigned", code=4)
    assert "not signed" in told.err


def test_a_report_is_checked_with_the_key_alone(clinic: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    rekam(clinic, "audit", "verify", "--report", report)
    assert rekam(tmp_path, "audit", "check", report, "--key", key_of(clinic)).out.startswith("OK")
    rekam(tmp_path, "audit", "check", report, code=2)
    report.write_text(report.read_text().replace('"checkpoint":1', '"checkpoint":2'))
    rekam(tmp_path, "audit", "check", report, "--key", key_of(clinic), code=3)


def test_a_proof_between_two_checkpoints_is_checked_offline(clinic: Path, tmp_path: Path) -> None:
    kept = shutil.copy(clinic / "keys" / "seen" / "newest.note", tmp_path / "first.note")
    rekam(clinic, "simulate", "--patients", "1", "--events", "20", "--seed", "2")
    rekam(clinic, "replicate", "--once")
    for number, first in enumerate((kept, "1")):
        proof = tmp_path / f"proof-{number}"
        rekam(clinic, "audit", "consistency", first, "2", "-o", proof)
        told = rekam(tmp_path, "audit", "check", proof, "--key", key_of(clinic), "--json").json()
        assert told["outcome"] == "ok"
    rekam(clinic, "audit", "consistency", "2", "1", code=1)
    rekam(clinic, "audit", "consistency", "1", "9", code=1)


def test_no_proof_for_a_note_of_a_history_that_was_taken_back(clinic: Path, tmp_path: Path) -> None:
    shutil.copytree(clinic / "archive", tmp_path / "earlier")
    rekam(clinic, "replicate", "--once")
    kept = shutil.copy(clinic / "keys" / "seen" / "newest.note", tmp_path / "kept.note")
    shutil.rmtree(clinic / "archive")
    shutil.move(tmp_path / "earlier", clinic / "archive")
    rekam(clinic, "audit", "consistency", "1", kept, code=3)
