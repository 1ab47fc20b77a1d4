"""What is damaged, missing or changed on the disk: a clear line, an exit code, never a shorter history in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import Ran, digest, lose, ndjson, rekam, sample_lines


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic in two segments of events and a snapshot, everything shipped."""
    folder = tmp_path_factory.mktemp("damage")
    home = folder / "clinic"
    rekam(home, "init")
    for number, (first, last) in enumerate(((0, 150), (150, 300))):
        rekam(home, "import", "fhir", ndjson(folder / f"{number}.ndjson", sample_lines(first, last)))
        rekam(home, "replicate", "--once")
    return home


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "clinic"))


@pytest.fixture(scope="module")
def truth(template: Path) -> dict:
    return digest(template)


@pytest.fixture(scope="module")
def names(template: Path) -> list[str]:
    """What no error may hold: names and numbers of the patients."""
    found = []
    for line in sample_lines(0, 300):
        resource = json.loads(line)
        if resource["resourceType"] == "Patient":
            found += [resource["name"][0]["family"], resource["birthDate"]]
            found += [i["value"] for i in resource["identifier"]]
    return found


def every_command(home: Path) -> dict[str, Ran]:
    """Each runs to an end without a traceback."""
    lines = {
        "status": ["status"],
        "digest": ["digest", "--json"],
        "points": ["points"],
        "show": ["show", "x"],
        "history": ["history", "x", "--at", "2026-01-01"],
        "project": ["project", "--once"],
        "import": ["import", "fhir", home.parent / "none.ndjson"],
        "simulate": ["simulate", "--patients", "1", "--events", "5"],
        "dry-run": ["recover", "--to", "latest", "--dry-run"],
        "recover": ["recover", "--to", "latest", "--yes"],
        "replicate": ["replicate", "--once", "--snapshot"],
    }
    return {name: rekam(home, *words, code=None) for name, words in lines.items()}


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database " * 1000)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def holes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(4096 * 3, len(data), 4096 * 2):
        data[at : at + 64] = bytes(64)
    path.write_bytes(bytes(data))


DAMAGES = [garbage, half, holes]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tables_are_made_anew(clinic: Path, truth: dict, damage: Callable[[Path], None]) -> None:
    damage(clinic / "tables.db")
    for path in clinic.glob("tables.db-*"):
        path.unlink()
    ran = rekam(clinic, "digest", "--json", code=None)
    assert ran.code == 1 or ran.json()["tables"] == truth
    if ran.code:
        assert "damaged" in ran.err and "recover --to latest" in ran.err
        rekam(clinic, "recover", "--to", "latest", "--yes")
    assert digest(clinic) == truth
    assert rekam(clinic, "status", "--json").json()["status"] == "green"


def test_tables_of_another_version_are_made_anew(clinic: Path, truth: dict) -> None:
    import sqlite3

    with sqlite3.connect(clinic / "tables.db") as tables:
        tables.execute("UPDATE meta SET value = 'of old' WHERE name = 'layout'")
    tables.close()
    assert "another version" in rekam(clinic, "digest", code=2).err
    assert "another version" in rekam(clinic, "status", code=1).out
    rekam(clinic, "recover", "--to", "latest", "--yes")
    assert digest(clinic) == truth


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_log_is_never_passed_over(
    clinic: Path, truth: dict, names: list[str], damage: Callable[[Path], None]
) -> None:
    damage(clinic / "log.db")
    for path in clinic.glob("log.db-*"):
        path.unlink()
    for name, ran in every_command(clinic).items():
        if ran.code == 0 and name == "digest":
            assert ran.json()["tables"] == truth
        assert not [secret for secret in names if secret in ran.err]
    if damage is not holes:
        ran = rekam(clinic, "recover", "--to", "latest", "--yes", code=1)
        assert "log.db" in ran.err and "move it away" in ran.err
        lose(clinic, "log.db")  # as the hint says
        rekam(clinic, "recover", "--to", "latest", "--yes")
        assert digest(clinic) == truth


def test_an_archive_that_is_not_there_is_said_at_once(clinic: Path, truth: dict) -> None:
    (clinic / "archive").rename(clinic / "unplugged")
    for words in (["points"], ["replicate", "--once"], ["recover", "--to", "latest", "--yes"]):
        ran = rekam(clinic, *words, code=1)
        assert "is its disk plugged in" in ran.err
    assert "is its disk plugged in" in rekam(clinic, "status", code=1).out
    rekam(clinic, "simulate", "--patients", "2", "--events", "20")
    assert not (clinic / "archive").exists(), "an unplugged disk is not written beside"
    (clinic / "unplugged").rename(clinic / "archive")
    rekam(clinic, "replicate", "--once")
    assert rekam(clinic, "status", "--json").json()["status"] == "green"


def test_an_empty_place_is_no_archive(clinic: Path) -> None:
    shutil.rmtree(clinic / "archive")
    (clinic / "archive").mkdir()
    for words in (["points"], ["replicate", "--once"], ["recover", "--to", "latest", "--yes"]):
        assert "archive.json is missing" in rekam(clinic, *words, code=1).err
    assert not list((clinic / "archive").glob("log/*"))


def test_an_archive_that_is_a_file(clinic: Path) -> None:
    shutil.rmtree(clinic / "archive")
    (clinic / "archive").write_text("?")
    for ran in every_command(clinic).values():
        assert ran.code in (0, 1, 2)
    rekam(clinic, "points", code=1)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"name":"Clinic"', '"name":"Klinik"'), ('"format":1', '"format":2'), ("{", "[")],
)
def test_an_edited_archive_json_shows(clinic: Path, old: str, new: str) -> None:
    path = clinic / "archive" / "archive.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    ran = every_command(clinic)
    for name in ("points", "dry-run", "recover"):
        assert ran[name].code in (1, 2)
    rekam(clinic, "status", code=1)


def test_nothing_is_sealed_to_recipients_that_somebody_slipped_in(clinic: Path, tmp_path: Path) -> None:
    """Who edits archive.json must not get what is shipped from now on."""
    theirs = rekam(tmp_path / "theirs", "init", "--json").json()["recipient"]
    path = clinic / "archive" / "archive.json"
    config = json.loads(path.read_text())
    config["recipients"] = [theirs]
    path.write_text(json.dumps(config, separators=(",", ":"), sort_keys=True))
    before = sorted(clinic.glob("archive/**/*"))
    assert "recipients" in rekam(clinic, "replicate", "--once", code=1).err
    assert (
        "nothing can be shipped" in rekam(clinic, "status", code=1).out
        or "tree" in rekam(clinic, "status", code=1).out
    )
    assert sorted(clinic.glob("archive/**/*")) == before


def segments(home: Path) -> list[Path]:
    return sorted(home.glob("archive/log/rekam.events/0/*/*.avro.age"))


def truncate(paths: list[Path]) -> None:
    half(paths[0])


def flip(paths: list[Path]) -> None:
    data = bytearray(paths[1].read_bytes())
    data[len(data) // 2] ^= 1
    paths[1].write_bytes(bytes(data))


def drop(paths: list[Path]) -> None:
    paths[0].unlink()


def swap(paths: list[Path]) -> None:
    one, two = (path.read_bytes() for path in paths[:2])
    paths[0].write_bytes(two)
    paths[1].write_bytes(one)


@pytest.mark.parametrize("tamper", [truncate, flip, drop, swap])
def test_a_tampered_segment_is_named_and_nothing_shorter_comes_back(
    clinic: Path, truth: dict, names: list[str], tamper: Callable[[list[Path]], None], tmp_path: Path
) -> None:
    safe = shutil.copytree(clinic / "archive", tmp_path / "safe")
    tamper(segments(clinic))
    lose(clinic, "log.db", "tables.db")
    ran = rekam(clinic, "recover", "--to", "latest", "--yes", code=1)
    assert "log/rekam.events/0/" in ran.err and "another copy" in ran.err
    assert not [secret for secret in names if secret in ran.err]
    assert not (clinic / "log.db").exists(), "no log stands that is shorter"
    shutil.rmtree(clinic / "archive")
    shutil.copytree(safe, clinic / "archive")
    rekam(clinic, "recover", "--to", "latest", "--yes")
    assert digest(clinic) == truth


@pytest.mark.parametrize("part", ["note", "*.manifest.json"])
@pytest.mark.parametrize("number", ["000000000001", "000000000002"])
def test_a_missing_part_of_a_checkpoint_shows(clinic: Path, part: str, number: str) -> None:
    """The newest note too: this home has seen it."""
    next((clinic / "archive" / "checkpoints" / number).glob(part)).unlink()
    lose(clinic, "log.db", "tables.db")
    ran = rekam(clinic, "recover", "--to", "latest", "--yes", code=1)
    assert "checkpoint" in ran.err
    assert not (clinic / "log.db").exists()


@pytest.mark.parametrize("name", ["owner.txt", "signing.key", "seen/newest.note"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"nonsense\n"])
def test_a_key_that_is_missing_or_damaged_is_named(clinic: Path, name: str, content: bytes | None) -> None:
    path = clinic / "keys" / name
    whole = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    ran = every_command(clinic)
    for one in ran.values():
        assert "SECRET" not in one.err + one.out and "PRIVATE+KEY+rekam" not in one.err + one.out
    if name == "signing.key":
        assert "signing.key" in ran["replicate"].err and ran["replicate"].code == 2
        assert "signing.key" in ran["status"].out and ran["status"].code == 1
    if name == "owner.txt" and content is not None:
        assert "owner.txt" in ran["points"].err and ran["points"].code in (1, 2)
    if name == "seen/newest.note" and content:
        assert "newest.note" in ran["points"].err and ran["points"].code == 1
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(whole)
    rekam(clinic, "recover", "--to", "latest", "--yes")


def test_without_any_keys(clinic: Path) -> None:
    shutil.rmtree(clinic / "keys")
    lose(clinic, "log.db", "tables.db")
    ran = rekam(clinic, "recover", "--to", "latest", "--yes", code=None)
    assert ran.code in (1, 2) and "keys" in ran.err
    assert not (clinic / "log.db").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[clinic]", "clinic]"),
        ('url = "sqlite:log.db"', "url = 3"),
        ("verification_key", "verification_kei"),
        ("id = ", "id = 4 #"),
        ("zone = ", 'zone = "Nowhere" #'),
        ("sqlite:tables.db", "oracle:tables.db"),
        ("sqlite:log.db", "redis:log.db"),
        ('url = "archive"', 'url = "ftp://a/b"'),
    ],
)
def test_settings_that_are_wrong_are_named(clinic: Path, old: str, new: str) -> None:
    path = clinic / "rekam.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    for ran in every_command(clinic).values():
        assert ran.code in (0, 1, 2)
    assert rekam(clinic, "status", code=None).code in (1, 2)


def test_settings_that_are_no_text(clinic: Path) -> None:
    (clinic / "rekam.toml").write_bytes(b"\xff\xfe")
    assert "rekam.toml" in rekam(clinic, "status", code=2).err
