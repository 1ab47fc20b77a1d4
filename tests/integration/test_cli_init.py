"""`rekam init`: a new clinic, one that was stopped half-way, and an archive adopted on an empty machine."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from tests.command_line import digest, kill_after, ndjson, rekam, sample_lines, start

PARTS = {"rekam.toml", "log.db", "tables.db", "archive", "keys"}


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A shipped clinic of which the archive and the owner's file will be kept, and its digest."""
    folder = tmp_path_factory.mktemp("lost")
    rekam(folder / "clinic", "init", "--name", "Klinik Melati", "--zone", "Asia/Jayapura")
    rekam(folder / "clinic", "import", "fhir", ndjson(folder / "one.ndjson", sample_lines(0, 200)))
    rekam(folder / "clinic", "replicate", "--once", "--snapshot")
    return folder / "clinic", digest(folder / "clinic")


@pytest.fixture
def kept(lost: tuple[Path, dict], tmp_path: Path) -> Path:
    """An empty machine with the archive, the backups of keys, the owner's file, and nothing else."""
    for name in ("archive", "key-backups"):
        shutil.copytree(lost[0] / name, tmp_path / "usb" / name)
    shutil.copy(lost[0] / "keys" / "owner.txt", tmp_path / "usb")
    return tmp_path / "usb"


def test_a_new_clinic_works_and_holds_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"
    told = rekam(home, "init", "--json").json()
    assert told["home"] == str(home) and Path(told["sheet"]).is_file()
    names = {path.name for path in home.iterdir()}
    assert {name for name in names if not name.endswith(("-wal", "-shm", ".lock"))} == PARTS
    assert rekam(home, "status", "--json").json()["status"] == "yellow"
    rekam(home, "simulate", "--patients", "2", "--events", "30")
    rekam(home, "replicate", "--once")
    assert rekam(home, "status", "--json").json()["status"] == "green"


def test_no_secret_is_printed_and_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    ran = rekam(tmp_path, "init")
    keys = tmp_path / "keys"
    assert "AGE-SECRET-KEY" not in ran.out + ran.err and "PRIVATE+KEY" not in ran.out + ran.err
    assert "owner.txt" in ran.out and "rekam init --from" in ran.out
    for name in ("owner.txt", "signing.key"):
        assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600
    sheet = (keys / "sheet.txt").read_text()
    assert "AGE-SECRET-KEY" not in sheet
    assert (
        str(tmp_path / "archive") in sheet and str(tmp_path / "key-backups") in sheet
    )  # not from where it was made


def test_in_an_empty_folder_once_and_not_twice(tmp_path: Path) -> None:
    first = rekam(tmp_path, "init", "--json").json()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    ran = rekam(tmp_path, "init", "--json", code=1)
    assert ran.out == "" and "holds a clinic already" in ran.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert first["clinic"] in (tmp_path / "rekam.toml").read_text()


def test_one_that_was_stopped_half_way_is_run_again_with_the_same_keys(tmp_path: Path) -> None:
    first = rekam(tmp_path, "init", "--json").json()
    for lost in ("rekam.toml", "tables.db", "keys/sheet.txt"):
        (tmp_path / lost).unlink()
    again = rekam(tmp_path, "init", "--json").json()
    assert again["verification_key"] == first["verification_key"]
    rekam(tmp_path, "replicate", "--once")


def test_killed_at_any_instant_it_is_run_again(tmp_path: Path) -> None:
    killed = 0
    for number, seconds in enumerate((0.4, 0.6, 0.8)):
        home = tmp_path / str(number)
        killed += kill_after(start(home, "init"), seconds)
        if not (home / "rekam.toml").exists():
            rekam(home, "init")
        rekam(home, "replicate", "--once")
    assert killed


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--zone", "Asia/Nowhere"),
        ("--log", "mysql://host/db"),
        ("--tables", "oracle:db"),
        ("--archive", "ftp://host/folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path: Path, option: str, value: str) -> None:
    home = tmp_path / "home"
    rekam(home, "init", option, value, code=2)
    assert not (home / "keys").exists()
    rekam(home, "init")


def test_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "cannot be made" in rekam(home, "init", code=1).err


def test_a_settings_file_with_strange_names_is_read_back(tmp_path: Path) -> None:
    name = 'Klinik "Ibu & Anak" \\ \n#1 é 病院'
    rekam(tmp_path, "init", "--name", name)
    rekam(tmp_path, "status")


def test_without_a_terminal_and_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rekam(None, "init")
    rekam(None, "replicate", "--once", REKAM_HOME="")
    assert (tmp_path / "keys" / "seen" / "newest.note").exists()


def test_an_archive_is_adopted_on_an_empty_machine(
    lost: tuple[Path, dict], kept: Path, tmp_path: Path
) -> None:
    home = tmp_path / "new"
    told = rekam(home, "init", "--from", kept / "archive", "--identity", kept / "owner.txt", "--json").json()
    assert told["home"] == str(home)
    assert not (home / "log.db").exists()
    rekam(home, "points")
    assert rekam(home, "status", code=1).out.count("recover --to latest") >= 1
    report = rekam(home, "recover", "--to", "latest", "--yes", "--json").json()
    assert report["restore_log"] and report["restored_records"]
    assert digest(home) == lost[1]
    assert rekam(home, "status", "--json").json()["status"] == "green"
    rekam(home, "simulate", "--patients", "2", "--events", "30")
    rekam(home, "replicate", "--once")
    assert "Klinik Melati" in (home / "rekam.toml").read_text()


def test_adopting_in_a_home_that_lost_all_but_the_archive(lost: tuple[Path, dict], kept: Path) -> None:
    """The archive inside the home is named as before: from the home."""
    rekam(kept, "init", "--from", kept / "archive", "--identity", kept / "owner.txt")
    assert 'url = "archive"' in (kept / "rekam.toml").read_text()
    rekam(kept, "recover", "--to", "latest", "--yes")
    assert digest(kept) == lost[1]


def test_adopting_with_the_wrong_things(kept: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    rekam(other, "init")
    rekam(other, "replicate", "--once")
    home = tmp_path / "new"
    archive, owner = kept / "archive", kept / "owner.txt"
    half = kept / "half.txt"
    half.write_text("\n".join(owner.read_text().splitlines()[:3]))
    for place, identity, words in [
        (archive, other / "keys" / "owner.txt", "signed by no key"),
        (other / "archive", owner, "signed by no key"),
        (archive, kept / "none.txt", "cannot be read"),
        (archive, kept, "cannot be read"),
        (archive, half, "lacks"),
        (archive, archive / "archive.json", "lacks"),
        (kept / "nowhere", owner, "is not there"),
        (kept, owner, "no archive here"),
    ]:
        ran = rekam(home, "init", "--from", place, "--identity", identity, code=1)
        assert words in ran.err and ran.out == ""
        assert "SECRET" not in ran.err
        assert not (home / "keys").exists() and not (home / "rekam.toml").exists()
    rekam(home, "init", "--from", archive, "--identity", owner)


def test_another_clinic_without_checkpoints_is_not_adopted(kept: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    rekam(other, "init")
    ran = rekam(
        tmp_path / "new", "init", "--from", other / "archive", "--identity", kept / "owner.txt", code=1
    )
    assert "another clinic" in ran.err


def test_keys_of_another_clinic_are_never_mixed_in(kept: Path, tmp_path: Path) -> None:
    rekam(tmp_path / "other", "init")
    home = tmp_path / "new"
    shutil.copytree(tmp_path / "other" / "keys", home / "keys")
    ran = rekam(home, "init", "--from", kept / "archive", "--identity", kept / "owner.txt", code=1)
    assert "holds other keys" in ran.err
    assert not (home / "rekam.toml").exists()
