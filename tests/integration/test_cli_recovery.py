"""Recoveries by command: whatever is lost, to whichever moment, there and back again, and once is enough."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.command_line import digest, lose, moment, ndjson, rekam, sample_lines

FILES = ((0, 80), (80, 160), (160, 240))
LOSSES = {"nothing": (), "log": ("log.db",), "tables": ("tables.db",), "both": ("log.db", "tables.db")}


@dataclass
class Story:
    """A clinic that imported three files, with a moment behind each and what was there then."""

    home: Path
    moments: list[str] = field(default_factory=list)
    digests: list[dict] = field(default_factory=list)

    def file(self, number: int) -> Path:
        return self.home.parent / f"{number}.ndjson"

    def import_(self, number: int) -> dict:
        return rekam(self.home, "import", "fhir", self.file(number), "--json").json()

    def recover(self, to: str, *words: str) -> dict:
        return rekam(self.home, "recover", "--to", to, "--yes", "--json", *words).json()

    def now(self) -> dict:
        return digest(self.home)

    def well(self) -> bool:
        return rekam(self.home, "status", "--json", code=None).json()["status"] == "green"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("recovery")
    story = Story(folder / "clinic")
    rekam(story.home, "init")
    for number, (first, last) in enumerate(FILES):
        ndjson(story.file(number), sample_lines(first, last))
        story.import_(number)
        story.digests.append(story.now())
        story.moments.append(moment())
        rekam(story.home, "replicate", "--once", *(["--snapshot"] if number == 0 else []))
    return story


@pytest.fixture
def story(told: Story, tmp_path: Path) -> Story:
    shutil.copytree(told.home.parent, tmp_path / "story")
    return Story(tmp_path / "story" / "clinic", told.moments, told.digests)


@pytest.mark.parametrize("lost", LOSSES)
def test_to_the_newest_state(story: Story, lost: str) -> None:
    lose(story.home, *LOSSES[lost])
    assert story.well() == (lost in ("nothing",))
    report = story.recover("latest")
    assert report["restore_log"] == ("log" in lost or lost == "both")
    assert not report["rewind"] and report["epoch"] is None
    assert story.now() == story.digests[2]
    assert story.well()
    again = story.recover("latest")
    assert not again["restore_log"] and again["tables"] != "rebuild"
    assert story.now() == story.digests[2]
    assert sum(story.import_(2)["mapped"].values()) == 80
    assert story.now() == story.digests[2]


@pytest.mark.parametrize("lost", LOSSES)
def test_to_a_moment_in_the_middle_and_on(story: Story, lost: str) -> None:
    lose(story.home, *LOSSES[lost])
    report = story.recover(story.moments[0], "--reason", "a human error")
    assert report["rewind"] and report["set_aside_records"] == 160
    assert report["rpo_seconds"] > 0 and report["rto_seconds"] > 0
    assert report["checkpoint"] == rekam(story.home, "points", "--json").json()["checkpoints"]
    assert story.now() == story.digests[0]
    assert story.well()
    for number in (1, 2):
        assert "80 new events" in rekam(story.home, "import", "fhir", story.file(number)).out
    rekam(story.home, "replicate", "--once")
    assert {n: t["rows"] for n, t in story.now().items()} == {
        n: t["rows"] for n, t in story.digests[2].items()
    }
    assert story.well()


def test_the_same_recovery_again_is_nothing(story: Story) -> None:
    first = story.recover(story.moments[1])
    second = story.recover(story.moments[1])
    assert first["rewind"] and not second["rewind"]
    assert (second["epoch"], second["set_aside_records"]) == (None, 0)
    assert rekam(story.home, "status", "--json").json()["rewinds"] == 1
    assert story.now() == story.digests[1]


def test_what_was_set_aside_applies_anew(story: Story) -> None:
    story.recover(story.moments[0])
    ran = rekam(story.home, "import", "fhir", story.file(1))
    assert "80 new events; 0 were there already" in ran.out
    assert "0 new events; 80 were there already" in rekam(story.home, "import", "fhir", story.file(1)).out
    verdicts = rekam(story.home, "status", "--json").json()["verdicts"]
    assert verdicts == {"applied": 160, "set-aside": 160}


@pytest.mark.parametrize("lost", ["nothing", "both"])
def test_before_another_recovery_and_back_again(story: Story, lost: str) -> None:
    """Going back can itself be taken back, in either direction, with log and tables there or gone."""
    story.recover(story.moments[0])
    after_first = moment()
    story.import_(2)
    third = story.now()
    with_third = moment()
    rekam(story.home, "replicate", "--once")

    def go(to: str, want: dict) -> None:
        lose(story.home, *LOSSES[lost])
        story.recover(to)
        assert story.now() == want
        assert story.well()

    go(story.moments[2], story.digests[2])  # before the first recovery: what it set aside is back
    go(after_first, story.digests[0])
    go(with_third, third)
    go(story.moments[1], story.digests[1])
    assert "80 new events" in rekam(story.home, "import", "fhir", story.file(2)).out
    assert story.well()


def test_the_past_is_read_across_recoveries(story: Story) -> None:
    story.recover(story.moments[0])
    recovered = moment()
    for then, want in [*zip(story.moments, story.digests, strict=True), (recovered, story.digests[0])]:
        assert digest(story.home, "--at", then) == want


def test_the_unshipped_tail_is_shipped_first(story: Story) -> None:
    rekam(story.home, "simulate", "--patients", "3", "--events", "60")
    with_tail, then = story.now(), moment()
    story.recover(story.moments[1])
    lose(story.home, *LOSSES["both"])
    story.recover(then)
    assert story.now() == with_tail


def test_a_lost_tail_is_named(story: Story) -> None:
    rekam(story.home, "simulate", "--patients", "3", "--events", "60")
    lost = moment()
    lose(story.home, *LOSSES["both"])
    refused = rekam(story.home, "recover", "--to", lost, "--yes", code=1)
    assert "after the newest checkpoint" in refused.err and "restorable" in refused.err
    report = story.recover("latest")
    assert "is gone" in report["rpo"]
    assert report["rpo_seconds"] is not None
    assert story.now() == story.digests[2]


@pytest.mark.parametrize("lost", LOSSES)
def test_a_dry_run_changes_nothing(story: Story, lost: str) -> None:
    lose(story.home, *LOSSES[lost])
    before = _files(story.home)
    points = rekam(story.home, "points", "--json").json()
    for to in (story.moments[1], "latest"):
        plan = rekam(story.home, "recover", "--to", to, "--dry-run", "--json").json()
        assert plan["rewind"] == (to != "latest")
        assert plan["restore_log"] == ("log.db" in LOSSES[lost])
        assert plan["expected_seconds"] > 0
    assert rekam(story.home, "points", "--json").json() == points
    assert _files(story.home) == before


def test_a_plan_is_what_happens(story: Story) -> None:
    lose(story.home, *LOSSES["both"])
    plan = rekam(story.home, "recover", "--to", story.moments[1], "--dry-run", "--json").json()
    assert plan["snapshot"], "a snapshot is there and is used"
    report = story.recover(story.moments[1])
    assert {name: report[name] for name in plan} == plan


def test_the_reason_and_who_did_it_stand_on_the_log(story: Story) -> None:
    story.recover(story.moments[1], "--reason", "script gone wrong")
    assert any(b"script gone wrong" in path.read_bytes() for path in story.home.glob("log.db*"))


def test_a_recovery_of_a_clinic_that_never_shipped(tmp_path: Path) -> None:
    """The log is there, so nothing is lost: what is missing is shipped first."""
    rekam(tmp_path, "init")
    rekam(tmp_path, "simulate", "--patients", "3", "--events", "60")
    before, then = digest(tmp_path), moment()
    rekam(tmp_path, "simulate", "--patients", "6", "--events", "120", "--seed", "2")
    rekam(tmp_path, "recover", "--to", then, "--yes")
    assert digest(tmp_path) == before


def test_without_log_and_checkpoint_there_is_nothing_to_recover(tmp_path: Path) -> None:
    rekam(tmp_path, "init")
    lose(tmp_path, *LOSSES["both"])
    for to in ("latest", moment()):
        assert "nothing to restore" in rekam(tmp_path, "recover", "--to", to, "--yes", code=1).err
    assert not (tmp_path / "log.db").exists()


def _files(home: Path) -> dict[str, object]:
    """What matters of the home: the log's content, the archive's objects, the keys."""
    kept = [path for part in ("archive", "keys") for path in (home / part).rglob("*") if path.is_file()]
    log = digest(home) if (home / "log.db").exists() else None
    return {"log": log, **{str(path): path.read_bytes() for path in kept}}


def test_a_signing_key_comes_back_from_the_owners_file_as_the_hint_says(tmp_path: Path) -> None:
    rekam(tmp_path, "init")
    key, behind = tmp_path / "keys" / "signing.key", "# rekam signing key:"
    key.unlink()
    assert behind in rekam(tmp_path, "replicate", "--once", code=2).err
    [line] = [x for x in (tmp_path / "keys" / "owner.txt").read_text().splitlines() if x.startswith(behind)]
    key.write_text(line.removeprefix(behind).strip())
    rekam(tmp_path, "replicate", "--once")


def test_a_log_with_a_hole_is_told_to_be_put_away(tmp_path: Path) -> None:
    home = tmp_path / "clinic"
    rekam(home, "init")
    rekam(home, "simulate", "--patients", "2", "--events", "200")
    rekam(home, "replicate", "--once")
    before = rekam(home, "digest", "--json").json()
    with closing(sqlite3.connect(home / "log.db")) as log, log:
        sql = "SELECT name FROM sqlite_master WHERE name LIKE 'records_%' AND type = 'table'"
        counts = {
            t: log.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for (t,) in log.execute(sql).fetchall()
        }
        log.execute(f'DELETE FROM {max(counts, key=lambda t: counts[t])} WHERE "offset" BETWEEN 20 AND 60')
    (home / "tables.db").unlink()
    ran = rekam(home, "recover", "--to", "latest", "--yes", code=1)
    assert "move it away" in ran.err and "recover --to latest" in ran.err
    for path in home.glob("log.db*"):
        path.rename(tmp_path / path.name)
    rekam(home, "recover", "--to", "latest", "--yes")
    assert rekam(home, "digest", "--json").json() == before
