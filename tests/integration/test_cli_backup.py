"""`rekam backup …` as its user meets it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.command_line import rekam


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("backup") / "clinic"
    rekam(home, "init")
    rekam(home, "simulate", "--patients", "5", "--events", "200", "--seed", "1")
    return home


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "clinic"))


def take(home: Path, kind: str, *words: str) -> dict:
    return rekam(home, "backup", kind, "--json", *words).json()


def test_backups_are_taken_listed_and_shown(clinic: Path) -> None:
    assert rekam(clinic, "backup", "list", "--json").json() == {"backups": [], "continuous": None}
    full = take(clinic, "full", "--note", "before the move")
    assert (full["kind"], full["events"], full["note"], full["parent"]) == (
        "full",
        200,
        "before the move",
        None,
    )
    rekam(clinic, "simulate", "--patients", "5", "--events", "50", "--seed", "2")
    differential, incremental = take(clinic, "differential"), take(clinic, "incremental")
    assert (differential["parent"], incremental["parent"]) == (full["label"], differential["label"])
    found = rekam(clinic, "backup", "list", "--json").json()
    assert [b["label"] for b in found["backups"]] == [
        full["label"],
        differential["label"],
        incremental["label"],
    ]
    held = rekam(clinic, "points", "--json").json()
    assert found["continuous"]["checkpoints"] == held["checkpoints"]
    assert found["continuous"]["to"] == held["ranges"][0]["to"]
    shown = rekam(clinic, "backup", "show", differential["label"], "--json").json()
    assert shown["reads"]["objects"] > 0 and shown["events"] == 250
    assert full["label"] in rekam(clinic, "backup", "list").out
    assert "before the move" in rekam(clinic, "backup", "show", full["label"]).out


def test_what_cannot_be_is_said(clinic: Path) -> None:
    assert "No backup" in rekam(clinic, "backup", "list").out
    ran = rekam(clinic, "backup", "differential", code=1)
    assert "no full backup" in ran.err and "rekam backup full" in ran.err
    assert "no backup of that label" in rekam(clinic, "backup", "show", "x", code=1).err
