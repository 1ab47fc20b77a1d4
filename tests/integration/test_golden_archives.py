"""Archives that earlier releases wrote are read, proven and recovered by this one."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.command_line import ROOT, digest, rekam

GOLDEN = sorted((ROOT / "tests" / "golden").glob("format-*.tar.xz"))


@pytest.fixture(params=GOLDEN, ids=lambda path: path.name.split(".")[0])
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "golden"
    with tarfile.open(request.param) as held:
        held.extractall(folder, filter="data")
    return folder


def key_of(golden: Path) -> str:
    lines = (golden / "sheet.txt").read_text().splitlines()
    return next(line.split()[-1] for line in lines if line.startswith("Verification key"))


def moment_of(golden: Path) -> str:
    """Before its own recovery, which went back to it."""
    return (golden / "at.txt").read_text().strip()


def adopt(golden: Path, home: Path) -> Path:
    rekam(home, "init", "--from", golden / "archive", "--identity", golden / "owner.txt")
    return home


def assert_same(tables: dict[str, dict], file: Path) -> None:
    """Every table that the release had is as it was; those that came later hold nothing of its history."""
    then = json.loads(file.read_text())["tables"]
    assert {name: tables[name] for name in then} == then
    assert not any(table["rows"] for name, table in tables.items() if name not in then)


def test_there_is_one() -> None:
    assert GOLDEN


def test_every_object_and_record_is_proven(golden: Path, tmp_path: Path) -> None:
    words = ["--archive", golden / "archive", "--key", key_of(golden), "--since", golden / "newest.note"]
    words += ["--identity", golden / "owner.txt", "--depth", "records", "--json"]
    found = rekam(tmp_path, "audit", "verify", *words).json()
    assert found["outcome"] == "ok" and not found["findings"]


def test_it_is_recovered_and_goes_on(golden: Path, tmp_path: Path) -> None:
    home = adopt(golden, tmp_path / "home")
    rekam(home, "recover", "--to", "latest", "--yes")
    assert_same(digest(home), golden / "digest.json")
    assert_same(
        rekam(home, "digest", "--at", moment_of(golden), "--json").json()["tables"], golden / "digest-at.json"
    )
    assert rekam(home, "backup", "verify", "--depth", "sentinel", "--json").json()["outcome"] == "ok"
    assert rekam(home, "keys", "check", "--json").json()["outcome"] == "ok"
    assert rekam(home, "status", "--json").json()["status"] == "green"


def test_it_is_recovered_to_the_moment_before_its_own_recovery(golden: Path, tmp_path: Path) -> None:
    home = adopt(golden, tmp_path / "home")
    rekam(home, "recover", "--to", moment_of(golden), "--yes")
    assert_same(digest(home), golden / "digest-at.json")
