"""`rekam keys rotate …`: recipients and the signing key of a clinic with two archives, to the end, and cut off."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from replicator.archive import Archive
from replicator.encryption import Identity, new_identity
from replicator.key_backup import KeyBackup
from services import rotating
from services.home import Home
from services.owner import read_owner
from services.rotating import Why, Wish
from tests.command_line import digest, rekam
from tests.examples import TRIES_ALL
from tests.systems import Died

WHY = Why({"id": "owner", "role": "operator", "system": "test"}, "a test")
ESCROW_TEXT, ESCROW = new_identity()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic with patients, sealed, and with a second archive."""
    home = tmp_path_factory.mktemp("rotating") / "clinic"
    rekam(home, "init")
    rekam(home, "simulate", "--patients", "5", "--events", "120", "--seed", "1")
    rekam(home, "archive", "add", "second", home / "second")
    rekam(home, "replicate", "--once")
    return home


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return copied(template, tmp_path / "clinic")


def copied(template: Path, to: Path) -> Path:
    """With its second archive beside it."""
    shutil.copytree(template, to)
    settings = (to / "rekam.toml").read_text().replace(str(template), str(to))
    (to / "rekam.toml").write_text(settings)
    return to


def rotate(home: Path, what: str, *words: object, code: int = 0) -> Any:
    return rekam(home, "keys", "rotate", what, "--reason", "a test", "--json", *words, code=code).json()


def checked(home: Path, *words: object, code: int = 0) -> Any:
    return rekam(home, "keys", "check", "--json", *words, code=code).json()


def more(home: Path, seed: int = 2) -> None:
    """More work, shipped."""
    rekam(home, "simulate", "--patients", "5", "--events", "120", "--seed", seed)
    rekam(home, "replicate", "--once")


def verified(home: Path, place: Path, key: str, owner: Path, code: int = 0) -> Any:
    """As somebody sees it who has no home: with a sheet, and a note that was kept."""
    note = home / "keys" / "seen" / ("newest.note" if place.name == "archive" else "second.note")
    words = ["--archive", place, "--key", key, "--identity", owner, "--since", note, "--depth", "records"]
    elsewhere = home.parent / "elsewhere"
    return rekam(elsewhere, "audit", "verify", "--json", "--workers", 1, *words, code=code).json()


def key_on_sheet(home: Path) -> str:
    return read_owner(home / "keys" / "owner.txt").verification_key


# -- recipients


def test_what_is_shipped_after_a_new_identity_needs_it_and_what_came_before_needs_the_old_one(
    clinic: Path, tmp_path: Path
) -> None:
    old = shutil.copy(clinic / "keys" / "owner.txt", tmp_path / "old.txt")
    found = rotate(clinic, "recipients", "--new-identity")
    assert found["changed"] and found["owner_file"] and found["key_backup_made"]
    assert found["older_key_backups_until"] is not None
    more(clinic)
    told = checked(clinic)
    assert told["outcome"] == "ok"
    new, before = told["identities"]
    assert new["objects"] and new["key_backups"] and before["objects"] and not before["key_backups"]
    assert found["archives"]["archive"]["after"] == [new["recipient"]]
    assert [r["kind"] for r in told["rotations"]["second"]] == ["recipients"]
    stale = checked(clinic, "--identity", old, code=3)
    assert any("cannot be opened with this identity" in text for text in stale["wrong"])
    assert any("patients' keys" in text for text in stale["wrong"])


def test_an_empty_machine_needs_the_new_owners_file_alone(clinic: Path, tmp_path: Path) -> None:
    old = shutil.copy(clinic / "keys" / "owner.txt", tmp_path / "old.txt")
    rotate(clinic, "recipients", "--new-identity")
    rotate(clinic, "signing")
    more(clinic)
    rekam(clinic, "project", "--once", code=None)
    before = digest(clinic)
    new = tmp_path / "new"
    told = rekam(new, "init", "--from", clinic / "archive", "--identity", old, code=1).err
    assert "of before the signing key was rotated" in told and "made anew" in told
    rekam(new, "init", "--from", clinic / "archive", "--identity", clinic / "keys" / "owner.txt")
    rekam(new, "recover", "--to", "latest", "--yes")
    assert digest(new) == before
    more(new, seed=3)
    assert checked(new)["outcome"] == "ok"


def test_a_file_of_before_the_identity_was_rotated_is_refused_by_an_empty_machine(
    clinic: Path, tmp_path: Path
) -> None:
    old = shutil.copy(clinic / "keys" / "owner.txt", tmp_path / "old.txt")
    rotate(clinic, "recipients", "--new-identity")
    told = rekam(tmp_path / "new", "init", "--from", clinic / "archive", "--identity", old, code=1).err
    assert "of before the owner's identity was rotated" in told
    assert not (tmp_path / "new" / "rekam.toml").exists()


def test_an_escrow_is_added_and_taken_off_again_and_twice_is_once(clinic: Path) -> None:
    (clinic / "escrow.txt").write_text(ESCROW_TEXT)
    added = rotate(clinic, "recipients", "--add", ESCROW)
    assert added["changed"] and ESCROW in added["archives"]["second"]["after"]
    checkpoint = Home.open(clinic).archive().head.n
    assert not rotate(clinic, "recipients", "--add", ESCROW)["changed"]
    assert Home.open(clinic).archive().head.n == checkpoint
    more(clinic)
    assert checked(clinic)["outcome"] == "ok"
    backups = Identity(ESCROW_TEXT)
    newest = max((clinic / "key-backups").rglob("*.age"))
    backups.open(newest.read_bytes(), newest.name)
    removed = rotate(clinic, "recipients", "--remove", ESCROW)
    assert removed["archives"]["archive"]["after"] == list(read_recipients(clinic))
    assert not rotate(clinic, "recipients", "--remove", ESCROW)["changed"]
    more(clinic, seed=3)
    assert checked(clinic)["outcome"] == "ok"


def read_recipients(home: Path) -> tuple[str, ...]:
    return (read_owner(home / "keys" / "owner.txt").recipient,)


def test_a_dry_run_changes_nothing(clinic: Path) -> None:
    before = files(clinic)
    shown = rotate(clinic, "recipients", "--new-identity", "--dry-run")
    assert shown["archives"]["archive"]["after"] == ["(a new one)"] and not shown["changed"]
    assert (
        rotate(clinic, "recipients", "--add", ESCROW, "--dry-run")["archives"]["second"]["after"][1] == ESCROW
    )
    shown = rotate(clinic, "signing", "--dry-run")
    assert shown["archives"]["second"]["before"] == [key_on_sheet(clinic)] and not shown["changed"]
    assert files(clinic) == before


def files(home: Path) -> dict[Path, bytes]:
    places = [home / "keys" / "owner.txt", *(home / "archive").rglob("*"), home / "rekam.toml"]
    return {path: path.read_bytes() for path in places if path.is_file()}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--remove", "OWNER"], 1, "the last recipient stays"),
        (["--add", "age1nothing"], 2, "not an age recipient"),
        (["--add", ESCROW, "--remove", ESCROW], 2, "both added and removed"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    clinic: Path, words: list[str], code: int, says: str
) -> None:
    before = files(clinic)
    words = [word.replace("OWNER", read_recipients(clinic)[0]) for word in words]
    ran = rekam(clinic, "keys", "rotate", "recipients", "--reason", "a test", *words, code=None)
    assert says in ran.err and ran.code in (1, code)
    assert files(clinic) == before
    for what in ("recipients", "signing"):
        assert rekam(clinic, "keys", "rotate", what, "--reason", " ", code=2).err


def test_an_owners_file_that_is_not_at_hand_is_asked_for(clinic: Path) -> None:
    (clinic / "keys" / "owner.txt").rename(clinic / "safe.txt")
    for words in (["recipients", "--new-identity"], ["signing"]):
        told = rekam(clinic, "keys", "rotate", *words, "--reason", "a test", code=1).err
        assert "owner's file is not on this machine" in told
    assert rotate(clinic, "recipients", "--add", ESCROW)["changed"]  # that needs none


@pytest.mark.parametrize("words", [["recipients", "--new-identity"], ["signing"]])
def test_an_archive_that_does_not_answer_is_named_and_the_same_again_goes_on(
    clinic: Path, words: list[str]
) -> None:
    before = key_on_sheet(clinic)
    (clinic / "second").rename(clinic / "unplugged")
    ran = rekam(clinic, "keys", "rotate", *words, "--reason", "a test", code=1)
    assert "second" in ran.err and "the same command again" in ran.err
    rekam(clinic, "simulate", "--patients", "2", "--events", "20", "--seed", "7")
    rekam(clinic, "replicate", "--once", "--archive", "archive")
    assert key_on_sheet(clinic) == before
    (clinic / "unplugged").rename(clinic / "second")
    rekam(clinic, "replicate", "--once")  # each under its own keys meanwhile
    found = rotate(clinic, *words)
    assert found["owner_file"] and all(one["error"] is None for one in found["archives"].values())
    assert not any((clinic / "keys" / "next").iterdir())
    more(clinic)
    assert checked(clinic)["outcome"] == "ok"
    assert rekam(clinic, "status").code == 0


def test_files_that_hold_secrets_stay_their_owners_alone(clinic: Path) -> None:
    settings = clinic / "rekam.toml"
    settings.chmod(0o600)
    settings.write_text("# a word of the operator's\n" + settings.read_text())
    rotate(clinic, "recipients", "--new-identity")
    rotate(clinic, "signing")
    for file in (settings, *(clinic / "keys" / name for name in ("owner.txt", "signing.key", "sheet.txt"))):
        assert file.stat().st_mode & 0o777 == 0o600
    assert "# a word of the operator's" in settings.read_text()


def test_settings_that_somebody_changed_are_not_made_good_by_a_rotation(clinic: Path) -> None:
    (stranger,) = Identity(new_identity()[0]).recipients
    settings = (clinic / "rekam.toml").read_text()
    (clinic / "rekam.toml").write_text(settings.replace(read_recipients(clinic)[0], stranger))
    ran = rekam(clinic, "keys", "rotate", "recipients", "--add", ESCROW, "--reason", "a test", code=1)
    assert "names other recipients than rekam.toml" in ran.err
    assert Home.open(clinic).archive().recipients == read_recipients(clinic)


# -- the signing key


def test_auditors_check_with_the_old_sheet_and_with_the_new_one(clinic: Path, tmp_path: Path) -> None:
    old, owner = key_on_sheet(clinic), clinic / "keys" / "owner.txt"
    ran = rekam(clinic, "keys", "rotate", "signing", "--reason", "a test")
    new = key_on_sheet(clinic)
    assert new != old and new in ran.out and new in (clinic / "keys" / "sheet.txt").read_text()
    more(clinic)
    for place in (clinic / "archive", clinic / "second"):
        for key in (old, new):
            assert verified(clinic, place, key, owner)["outcome"] == "ok"
    assert rekam(clinic, "audit", "verify").code == 0
    assert rekam(clinic, "status", "--json").json()["status"] != "red"
    patient = first_patient(clinic)
    rekam(clinic, "audit", "evidence", patient, "-o", tmp_path / "evidence.json")
    rekam(clinic, "audit", "consistency", "1", "4", "-o", tmp_path / "proof.json")
    rekam(clinic, "audit", "verify", "--report", tmp_path / "report.json")
    for file in ("evidence.json", "proof.json", "report.json"):
        for key in (old, new):
            found = rekam(tmp_path, "audit", "check", tmp_path / file, "--key", key, "--json").json()
            assert found["outcome"] == "ok", (file, found)


def first_patient(home: Path) -> str:
    rekam(home, "project", "--once", code=None)
    with closing(Home.open(home).tables()) as tables:
        return str(tables.database.fetch("SELECT stream FROM patients ORDER BY stream")[0][0])


def test_evidence_of_before_a_rotation_is_checked_with_the_sheet_of_its_time(
    clinic: Path, tmp_path: Path
) -> None:
    old, file = key_on_sheet(clinic), tmp_path / "evidence.json"
    rekam(clinic, "audit", "evidence", first_patient(clinic), "-o", file)
    rotate(clinic, "signing")
    assert rekam(tmp_path, "audit", "check", file, "--key", old).code == 0
    told = rekam(tmp_path, "audit", "check", file, "--key", key_on_sheet(clinic), code=3).out
    assert "signed by no key that is trusted" in told


def test_another_home_with_the_retired_key_ships_nothing_and_says_why(clinic: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(clinic, twin, ignore=shutil.ignore_patterns("archive", "second"))
    settings = (twin / "rekam.toml").read_text().replace('url = "archive"', f'url = "{clinic / "archive"}"')
    (twin / "rekam.toml").write_text(settings)
    rotate(clinic, "signing")
    checkpoint = Home.open(clinic).archive().head.n
    ran = rekam(twin, "replicate", "--once", code=1)
    assert "it was rotated" in ran.err
    assert Home.open(clinic).archive().head.n == checkpoint
    status = rekam(twin, "status", code=None)
    assert "nothing can be shipped" in status.out


def test_an_owners_file_of_before_a_rotation_is_found_out(clinic: Path, tmp_path: Path) -> None:
    old = shutil.copy(clinic / "keys" / "owner.txt", tmp_path / "old.txt")
    rotate(clinic, "signing")
    wrong = checked(clinic, "--identity", old, code=3)["wrong"]
    assert wrong == [
        "old.txt signs with another key than the one on the sheet: it is of before the key was rotated"
    ]


def test_a_shipper_that_runs_all_day_goes_on_with_the_new_keys(clinic: Path) -> None:
    place = Home.open(clinic)
    with closing(place.log()) as log:
        running = place.shipper(log)
        running.ship_once()
        rotate(clinic, "signing")
        rotate(clinic, "recipients", "--new-identity")
        rekam(clinic, "simulate", "--patients", "2", "--events", "20", "--seed", "9")
        place.remember(running.ship_once().note)
        place.writer()
    assert place.archive().head.signer == Home.open(clinic).verifier()
    newest = max((clinic / "key-backups").rglob("*.age"))
    identity = Identity(read_owner(clinic / "keys" / "owner.txt").identity)
    identity.open(newest.read_bytes(), newest.name)
    assert checked(clinic)["outcome"] == "ok"


@pytest.mark.parametrize("words", [["recipients", "--new-identity"], ["signing"]])
def test_a_file_that_was_prepared_opens_and_signs_before_and_after_the_rotation(
    clinic: Path, tmp_path: Path, words: list[str]
) -> None:
    before = digest(clinic)
    assert rotate(clinic, *words, "--prepare")["owner_file"]
    assert not rotate(clinic, words[0], "--prepare", "--dry-run")["changed"]
    assert "keys are being rotated" in rekam(clinic, "status").out
    more(clinic)
    prepared = Path(shutil.copy(clinic / "keys" / "owner.txt", tmp_path / "prepared.txt"))
    assert checked(clinic, "--identity", prepared)["outcome"] == "ok"
    assert Home.open(clinic).archive().head.manifest.signer is None  # nothing names it yet
    adopted(clinic, tmp_path / "before", prepared)
    rotate(clinic, words[0])
    assert "keys are being rotated" not in rekam(clinic, "status").out
    more(clinic, seed=3)
    assert checked(clinic, "--identity", prepared)["outcome"] == "ok"
    new = adopted(clinic, tmp_path / "after", prepared)
    assert digest(new) != before
    rotate(new, words[0])
    more(new, seed=4)
    assert checked(new)["outcome"] == "ok"
    assert not any((new / "keys" / "next").glob("*"))


def adopted(clinic: Path, new: Path, owner: Path) -> Path:
    """A home on another machine, from a copy of the archive, recovered, and at work."""
    shutil.copytree(clinic / "archive", new.parent / f"{new.name}-archive")
    shutil.copytree(clinic / "key-backups", new.parent / "key-backups", dirs_exist_ok=True)
    rekam(new, "init", "--from", new.parent / f"{new.name}-archive", "--identity", owner)
    rekam(new, "recover", "--to", "latest", "--yes")
    more(new, seed=5)
    assert checked(new)["outcome"] == "ok"
    return new


# -- cut off between any two steps

STEPS: tuple[tuple[object, str], ...] = (
    (rotating, "write_key_file"),
    (rotating, "create_signing_key"),
    (rotating, "replace_key_file"),
    (rotating, "put_durably"),
    (Archive, "put"),
    (Archive, "commit"),
    (KeyBackup, "replace"),
    (Path, "replace"),
    (Path, "unlink"),
)


@contextmanager
def dying_after(steps: int) -> Iterator[Callable[[], int]]:
    """The process ends before or behind its n-th step that changes anything; gives how many are left."""
    left = steps

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Died

    def dying(work: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*given: Any, **named: Any) -> Any:
            step()
            done = work(*given, **named)
            step()
            return done

        return stepping

    with pytest.MonkeyPatch.context() as patch:
        for where, name in STEPS:
            patch.setattr(where, name, dying(getattr(where, name)))
        yield lambda: left


@pytest.mark.parametrize("what", ["recipients", "signing"])
def test_a_rotation_that_is_cut_off_anywhere_leaves_a_key_in_hand_and_goes_on(
    template: Path, tmp_path: Path, what: str
) -> None:
    cut = 0
    for steps in range(0, 400, 1 if TRIES_ALL else 5):
        home = copied(template, tmp_path / f"{what}-{steps}")
        with dying_after(steps) as left:
            try:
                run(Home.open(home), what)
            except Died:
                cut += 1
        for place in Home.open(home).archives():
            head = place.any_writer().head()  # raises where none of the keys here can sign the next
            place.any_writer().signer_for(head)
            assert set(place.any_writer().recipients) <= set(opened_by(home))
        if left() < 0:
            done = run(Home.open(home), what)
            assert not done.failed
        assert not any((home / "keys" / "next").iterdir())
        rekam(home, "replicate", "--once")
        assert checked(home)["outcome"] == "ok"
        assert len(rekam(home, "keys", "check", "--json").json()["rotations"]["second"]) in (1, 2)
        shutil.rmtree(home)
        if left() >= 0:
            break
    else:
        pytest.fail("it never came to its end")
    assert cut > 5


def run(home: Home, what: str) -> rotating.Rotated:
    if what == "signing":
        return rotating.rotate_signing(home, WHY)
    return rotating.rotate_recipients(home, Wish(new_identity=True), WHY)


def opened_by(home: Path) -> tuple[str, ...]:
    return Identity("\n".join(read_owner(home / "keys" / "owner.txt").identities)).recipients


def test_a_machine_that_dies_with_the_file_of_the_next_key_half_written_makes_another(clinic: Path) -> None:
    with mock.patch.object(os, "link", side_effect=Died), pytest.raises(Died):
        run(Home.open(clinic), "signing")
    assert not run(Home.open(clinic), "signing").failed
    more(clinic)
    assert checked(clinic)["outcome"] == "ok"
