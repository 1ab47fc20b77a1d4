"""`rekam keys check`: the loss of every key but the owner's, rehearsed; and an escrow that opens the archive too."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from events.patient_keys import ERASED, Mark, MemoryKeys
from replicator.encryption import new_identity
from services.home import Home
from tests.command_line import digest, rekam


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic with an escrow, a backup and a second archive."""
    home = tmp_path_factory.mktemp("keys") / "clinic"
    escrow, recipient = new_identity()
    home.mkdir()
    (home / "escrow.txt").write_text(escrow)
    rekam(home, "init", "--escrow", recipient)
    rekam(home, "simulate", "--patients", "5", "--events", "120", "--seed", "1")
    rekam(home, "archive", "add", "second", home / "second")
    rekam(home, "replicate", "--once")
    rekam(home, "backup", "full")
    return home


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "clinic"))


def checked(home: Path, *words: object, code: int = 0) -> Any:
    return rekam(home, "keys", "check", "--json", *words, code=code).json()


def patients(home: Path) -> list[str]:
    with closing(Home.open(home).tables()) as tables:
        return [row[0] for row in tables.database.fetch("SELECT stream FROM patients ORDER BY stream")]


def test_the_owners_file_alone_opens_everything(clinic: Path, tmp_path: Path) -> None:
    owner = shutil.copy(clinic / "keys" / "owner.txt", tmp_path / "safe.txt")
    (clinic / "keys" / "owner.txt").unlink()
    found = checked(clinic, "--identity", owner)
    assert (found["outcome"], found["signs"], found["wrong"], found["open"]) == ("ok", True, [], [])
    assert set(found["archives"]) == {"archive", "second"}
    for name, one in found["archives"].items():
        held = [f for f in (clinic / name).rglob("*") if f.suffix == ".age"]
        assert len(held) <= one["objects"] and one["bytes"] >= sum(f.stat().st_size for f in held)
    assert found["patient_keys"] == found["sealed_under"] == len(patients(clinic)) > 1
    assert "With this file alone" in rekam(clinic, "keys", "check", "--identity", owner).out


def test_so_does_an_escrows_which_signs_nothing(clinic: Path) -> None:
    found = checked(clinic, "--identity", clinic / "escrow.txt")
    assert (found["outcome"], found["signs"]) == ("ok", False)


def test_an_escrow_stays_one_on_an_empty_machine(clinic: Path, tmp_path: Path) -> None:
    before = digest(clinic)
    new = tmp_path / "new"
    rekam(new, "init", "--from", clinic / "archive", "--identity", clinic / "keys" / "owner.txt")
    rekam(new, "recover", "--to", "latest", "--yes")
    assert digest(new) == before
    rekam(new, "simulate", "--patients", "2", "--events", "20", "--seed", "2")
    rekam(new, "replicate", "--once")
    assert checked(new, "--identity", clinic / "escrow.txt")["outcome"] == "ok"


def test_a_strangers_identity_opens_nothing(clinic: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text(new_identity()[0])
    found = checked(clinic, "--identity", tmp_path / "other.txt", code=3)
    assert found["outcome"] == "invalid"
    assert any("cannot be opened with this identity" in text for text in found["wrong"])


def test_another_clinics_owner_is_told(clinic: Path, tmp_path: Path) -> None:
    rekam(tmp_path / "other", "init")
    found = checked(clinic, "--identity", tmp_path / "other" / "keys" / "owner.txt", code=3)
    assert any("signs with another key" in text for text in found["wrong"])


@pytest.mark.parametrize("place", ["log", "snapshots"])
def test_an_object_that_does_not_open_is_named(clinic: Path, place: str) -> None:
    files = list((clinic / "archive" / place).rglob("*.age"))
    for file in files:
        file.chmod(0o600)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    wrong = checked(clinic, code=3)["wrong"]
    assert wrong and all(text.startswith("archive: ") for text in wrong)
    assert all(any(file.name in text for file in files) for text in wrong)


def test_lost_backups_of_patients_keys_are_found(clinic: Path) -> None:
    for file in (clinic / "key-backups").rglob("*.age"):
        file.unlink()
    found = checked(clinic, code=3)
    want = f"{len(patients(clinic))} patients are sealed under keys that no backup holds"
    assert any(want in text for text in found["wrong"])
    shutil.rmtree(clinic / "key-backups")  # a disk that is not plugged in says nothing of what it holds
    assert "patients' keys: " in checked(clinic, code=4)["open"][0]


def test_keys_that_wait_for_their_backup_leave_it_open(clinic: Path) -> None:
    before = len(patients(clinic))
    rekam(clinic, "simulate", "--patients", "3", "--events", "120", "--seed", "9")
    rekam(clinic, "project", "--once")
    found = checked(clinic, code=4)
    assert f"{len(patients(clinic)) - before} keys of patients are not backed up yet" in " ".join(
        found["open"]
    )
    rekam(clinic, "replicate", "--once")
    assert checked(clinic)["outcome"] == "ok"


def test_of_an_erased_patient_nothing_is_missed(clinic: Path) -> None:
    rekam(clinic, "erase", patients(clinic)[0], "--reason", "on request", "--order", "of a court", "--json")
    rekam(clinic, "replicate", "--once")
    assert checked(clinic)["outcome"] == "ok"


def test_nothing_examined_is_a_failure(tmp_path: Path) -> None:
    rekam(tmp_path / "new", "init")
    assert "nothing was examined" in checked(tmp_path / "new", code=3)["wrong"][0]


@pytest.mark.parametrize("text", ["", "not a key", "AGE-SECRET-KEY-1NO"])
def test_what_is_no_identity_is_refused(clinic: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    assert (
        "file: not an age identity"
        in rekam(clinic, "keys", "check", "--identity", tmp_path / "file", code=2).err
    )
    rekam(clinic, "keys", "check", "--identity", tmp_path / "none", code=1)


def test_what_is_no_recipient_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    assert "age recipient" in rekam(tmp_path / "new", "init", "--escrow", "age1no", code=2).err
    assert not (tmp_path / "new" / "rekam.toml").exists() and not (tmp_path / "new" / "keys").exists()


def test_a_key_that_stands_here_and_not_in_its_backup_is_found(clinic: Path) -> None:
    place, other = Home.open(clinic), MemoryKeys()
    identity = place.identity()
    assert identity is not None
    place.key_backup().restore(other, identity)
    stream = other.changes(0).keys[0].stream
    other.destroy(stream, Mark(stream, ERASED, {"at": 1}))
    place.key_backup().replace(other)
    found = checked(clinic, code=3)
    assert any("destroyed or others" in text for text in found["wrong"])
