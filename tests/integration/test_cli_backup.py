"""`rekam backup …` as its user meets it."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.command_line import finish, lose, rekam, start, wait_for


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
    assert [b["restores_from"] for b in held["backups"]] == [full["label"]] * 3
    lose(clinic, "tables.db")
    plan = rekam(clinic, "recover", "--to", "latest", "--dry-run", "--json").json()
    assert plan["backups"] == [full["label"], incremental["label"]]
    assert full["label"] in rekam(clinic, "recover", "--to", "latest", "--dry-run").out
    assert full["label"] in rekam(clinic, "points").out
    assert shown["reads"]["objects"] > 0 and shown["events"] == 250
    assert full["label"] in rekam(clinic, "backup", "list").out
    assert "before the move" in rekam(clinic, "backup", "show", full["label"]).out


def test_what_cannot_be_is_said(clinic: Path) -> None:
    assert "No backup" in rekam(clinic, "backup", "list").out
    ran = rekam(clinic, "backup", "differential", code=1)
    assert "no full backup" in ran.err and "rekam backup full" in ran.err
    assert "no backup of that label" in rekam(clinic, "backup", "show", "x", code=1).err


def settings(home: Path, text: str) -> None:
    with (home / "rekam.toml").open("a") as file:
        file.write(text)


def test_replicating_takes_what_is_due(clinic: Path) -> None:
    with start(clinic, "replicate") as process:
        wait_for(lambda: any((clinic / "archive" / "backups").glob("*-full-*")), "a full backup")
        wait_for(
            lambda: rekam(clinic, "backup", "list", "--json").json()["backups"], "a checkpoint that names it"
        )
        process.send_signal(signal.SIGTERM)
        assert "backup 2" in finish(process).err
    standing = rekam(clinic, "status", "--json").json()
    assert standing["status"] == "green" and standing["backups"]["full"].endswith("-full")
    assert "-full (" in rekam(clinic, "status").out


def test_objectives_that_cannot_be_kept_turn_the_status_yellow(clinic: Path) -> None:
    settings(clinic, "[objectives]\nrpo_seconds = 1.05\nrto_seconds = 0.5\n")
    take(clinic, "full")
    found = rekam(clinic, "status", "--json").json()
    assert found["status"] == "yellow"
    words = " ".join(finding["text"] for finding in found["findings"])
    assert "the RPO of 1.1 s cannot be kept" in words or "the RPO of 1.0 s cannot be kept" in words
    assert "the RTO is 0.5 s: it cannot be kept" in words


@pytest.mark.parametrize(
    "text",
    [
        '[backup]\nfull = "sometimes"\n',
        "[objectives]\nrpo_seconds = 0\n",
        '[backup]\nfulll = "daily"\n',
    ],
)
def test_a_schedule_that_is_none_is_refused(clinic: Path, text: str) -> None:
    settings(clinic, text)
    assert text.split('"')[0].split("\n")[1].split(" ")[0] in rekam(clinic, "status", code=2).err


def test_a_backup_is_deleted_only_when_that_is_confirmed(clinic: Path) -> None:
    first, second = take(clinic, "full")["label"], take(clinic, "full")["label"]
    shown = rekam(clinic, "backup", "delete", first, "--dry-run", "--json").json()
    assert shown["checkpoint"] is None and shown["slower"]["from"] and len(shown["replaces"]) == 2
    assert "take longer" in rekam(clinic, "backup", "delete", first, "--dry-run").out
    assert "--yes" in rekam(clinic, "backup", "delete", first, "--json", code=1).err
    assert len(rekam(clinic, "backup", "list", "--json").json()["backups"]) == 2
    rekam(clinic, "backup", "delete", first, "--yes")
    (left,) = rekam(clinic, "backup", "list", "--json").json()["backups"]
    assert left["label"] == second
    assert len(rekam(clinic, "points", "--json").json()["snapshots"]) == 1
    lose(clinic, "log.db", "tables.db")
    assert (
        rekam(clinic, "recover", "--to", "latest", "--yes", "--json").json()["snapshot"] == left["snapshot"]
    )


def test_old_backups_expire_their_bytes_are_pruned_and_every_moment_stays(clinic: Path) -> None:
    labels = []
    for seed in range(2, 5):
        labels.append(take(clinic, "full")["label"])
        rekam(clinic, "simulate", "--patients", "2", "--events", "30", "--seed", seed)
    settings(clinic, "[retention]\nfull_days = 0\nfull_newest = 1\n")
    shown = rekam(clinic, "backup", "expire", "--dry-run", "--json").json()
    assert (shown["backups"], shown["checkpoint"]) == (labels[:2], None)
    done = rekam(clinic, "backup", "expire", "--yes", "--json").json()
    assert done["backups"] == labels[:2]
    assert [b["label"] for b in rekam(clinic, "backup", "list", "--json").json()["backups"]] == labels[2:]
    assert rekam(clinic, "backup", "expire", "--yes", "--json").json()["backups"] == []
    snapshots = clinic / "archive" / "snapshots"
    assert len(list(snapshots.iterdir())) == 3
    rekam(clinic, "archive", "prune", "--yes", "--grace-days", "0")
    assert len([s for s in snapshots.iterdir() if any(s.iterdir())]) == 1
    before = rekam(clinic, "digest", "--json").json()
    rekam(clinic, "replicate", "--once")
    lose(clinic, "log.db", "tables.db")
    rekam(clinic, "recover", "--to", "latest", "--yes")
    assert rekam(clinic, "digest", "--json").json() == before


def test_verifying_tells_by_its_exit_code_and_keeps_what_it_found(clinic: Path) -> None:
    assert rekam(clinic, "backup", "verify", "--all", "--json", code=3).json()["counts"] == {"wrong": 1}
    label = take(clinic, "full")["label"]

    def listed() -> dict:
        (backup,) = rekam(clinic, "backup", "list", "--json").json()["backups"]
        return {"verified": backup["verified"] and backup["verified"]["depth"], "failed": backup["failed"]}

    assert listed() == {"verified": None, "failed": False}
    assert "never" in rekam(clinic, "backup", "list").out
    found = rekam(clinic, "backup", "verify", "--depth", "sentinel", "--json").json()
    assert (found["label"], found["outcome"], found["restored"]) == (label, "ok", [label])
    assert listed() == {"verified": "sentinel", "failed": False}
    assert not list(clinic.glob("**/rekam-verify-*")), "scratch is elsewhere"
    (part,) = list((clinic / "archive" / "snapshots").glob("*/settings-*"))
    data = part.read_bytes()
    part.chmod(0o644)
    part.write_bytes(data[:-1] + b"?")
    ran = rekam(clinic, "backup", "verify", label, code=3)
    assert part.name in ran.out
    assert listed() == {"verified": "sentinel", "failed": True}
    assert "FAILED" in rekam(clinic, "backup", "list").out
    status = rekam(clinic, "status", "--json", code=1).json()
    assert status["status"] == "red" and status["backups"]["verified"]["outcome"] == "invalid"
    part.write_bytes(data)
    rekam(clinic, "backup", "verify", "--all")
    assert listed() == {"verified": "sentinel", "failed": False}
    (clinic / "keys" / "owner.txt").rename(clinic / "elsewhere.txt")
    assert "identity" in rekam(clinic, "backup", "verify", "--depth", "decode", code=4).out


def test_a_lost_object_of_the_catalogue_hides_no_other(clinic: Path) -> None:
    first, second = take(clinic, "full"), take(clinic, "differential")
    for lost in (clinic / "archive" / "backups").glob("*-full-*"):
        lost.unlink()
    rows = rekam(clinic, "backup", "list", "--json").json()["backups"]
    assert [row["label"] for row in rows] == [first["label"], second["label"]]
    assert "is missing" in rows[0]["note"] and rows[1]["events"] == 200
    assert "is missing" in rekam(clinic, "backup", "list").out


def test_a_label_and_all_are_two_things(clinic: Path) -> None:
    assert "one of them" in rekam(clinic, "backup", "verify", "x", "--all", code=2).err
    assert "no backup" in rekam(clinic, "backup", "verify", "x", code=1).err
