"""Processes killed (SIGKILL) at random instants, and the same command again: then every law holds.

The seed is printed; REKAM_TEST_SEED repeats it (the instants are then the same, what they hit is not quite).
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from services.home import Home
from tests.command_line import content, digest, fork, lose, moment, murder, ndjson, rekam, sample_lines

KILLS = 3
"""Of each command."""


@pytest.fixture
def rnd() -> random.Random:
    seed = int(os.environ.get("REKAM_TEST_SEED") or secrets.randbits(32))
    print(f"REKAM_TEST_SEED={seed}")  # noqa: T201
    return random.Random(seed)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic with a first import, shipped with a snapshot, and `more.ndjson` beside it."""
    folder = tmp_path_factory.mktemp("killed")
    rekam(folder / "clinic", "init")
    rekam(folder / "clinic", "import", "fhir", ndjson(folder / "first.ndjson", sample_lines(0, 150)))
    rekam(folder / "clinic", "replicate", "--once", "--snapshot")
    ndjson(folder / "more.ndjson", sample_lines(150, 650))
    return folder


@pytest.fixture
def copies(template: Path, tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Makes copies of the clinic, each in a folder of its own."""
    made = 0

    def copy() -> Path:
        nonlocal made
        made += 1
        return Path(shutil.copytree(template, tmp_path / str(made))) / "clinic"

    return copy


def undisturbed(home: Path, *words: object) -> float:
    """The command, and how many seconds it took."""
    began = time.monotonic()
    process = fork(home, *words)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def laws_hold(home: Path) -> None:
    """The archive is a prefix of the log without a hole; everything comes back from it alone; nothing is odd."""
    rekam(home, "replicate", "--once")
    place = Home.open(home)
    with closing(place.log()) as log:
        archive = place.archive()
        for partition, stop in archive.end().items():
            archived = [record for batch in archive.read(partition, 0, stop) for record in batch]
            held = [record for batch in log.read(partition, 0, stop) for record in batch]
            assert archived == held
            assert [record.offset for record in held] == list(range(stop))
    live = digest(home)
    assert digest(home, "--at", moment()) == live
    lose(home, "tables.db")
    assert digest(home) == live
    lose(home, "log.db", "tables.db")
    rekam(home, "recover", "--to", "latest", "--yes")
    assert digest(home) == live
    assert rekam(home, "status", "--json").json()["status"] == "green"


def killed_and_again(home: Path, rnd: random.Random, seconds: float, *words: object) -> int:
    """The command, killed, until KILLS tries were made; then to its end. How many were killed in the middle."""
    parts = [0.2] + [1.0] * (
        KILLS - 1
    )  # the first early, so that one is killed however the machine's load swings
    killed = sum(murder(fork(home, *words), rnd.random() * part * seconds) for part in parts)
    rekam(home, *words)
    return killed


def test_a_killed_import_is_completed(copies: Callable[[], Path], rnd: random.Random) -> None:
    calm, home = copies(), copies()
    seconds = undisturbed(calm, "import", "fhir", calm.parent / "more.ndjson")
    assert killed_and_again(home, rnd, seconds / 2, "import", "fhir", home.parent / "more.ndjson")
    assert content(home) == content(calm)
    assert rekam(home, "status", "--json").json()["verdicts"]["applied"] == 650
    again = rekam(home, "import", "fhir", home.parent / "more.ndjson")
    assert "0 new events; 500 were there already" in again.out
    laws_hold(home)


def test_a_killed_simulation_is_completed(copies: Callable[[], Path], rnd: random.Random) -> None:
    calm, home = copies(), copies()
    words = ("simulate", "--patients", "20", "--events", "1500")
    seconds = undisturbed(calm, *words)
    assert killed_and_again(home, rnd, seconds / 2, *words)
    assert digest(home).keys() == digest(calm).keys()
    assert content(home) == content(calm)
    laws_hold(home)


def test_a_killed_projector_goes_on_from_its_cursor(copies: Callable[[], Path], rnd: random.Random) -> None:
    home = copies()
    rekam(home, "simulate", "--patients", "20", "--events", "1500")
    want = digest(home)
    lose(home, "tables.db")
    seconds = undisturbed(home, "project", "--once")
    lose(home, "tables.db")
    assert killed_and_again(home, rnd, seconds, "project", "--once")
    assert digest(home) == want
    laws_hold(home)


def test_a_killed_shipper_leaves_no_hole_and_no_double(
    copies: Callable[[], Path], rnd: random.Random
) -> None:
    calm = copies()
    words = ("replicate", "--once", "--snapshot")
    rekam(calm, "simulate", "--patients", "20", "--events", "1500")
    home = Path(shutil.copytree(calm.parent, calm.parent.with_name("shipped"))) / "clinic"
    seconds = undisturbed(calm, *words)
    assert killed_and_again(home, rnd, seconds, *words)
    laws_hold(home)


@pytest.mark.parametrize("lost", [(), ("tables.db",), ("log.db", "tables.db")])
def test_a_killed_recovery_is_taken_up(
    copies: Callable[[], Path], rnd: random.Random, lost: tuple[str, ...]
) -> None:
    home = copies()
    want, then = digest(home), moment()
    rekam(home, "simulate", "--patients", "20", "--events", "1500")
    rekam(home, "replicate", "--once")
    calm = Path(shutil.copytree(home.parent, home.parent.with_name("calm"))) / "clinic"
    lose(calm, *lost)
    words = ("recover", "--to", then, "--yes")
    seconds = undisturbed(calm, *words)
    assert digest(calm) == want
    lose(home, *lost)
    assert killed_and_again(home, rnd, seconds, *words)
    assert digest(home) == want
    assert rekam(home, "status", "--json").json()["verdicts"]["applied"] == 150
    rekam(home, "import", "fhir", home.parent / "more.ndjson")
    laws_hold(home)


def test_a_whole_clinic_killed_all_day(copies: Callable[[], Path], rnd: random.Random) -> None:
    """Importer, projector and shipper at once, each killed again and again."""
    calm, home = copies(), copies()
    more = ("import", "fhir", home.parent / "more.ndjson")
    rekam(calm, "import", "fhir", calm.parent / "more.ndjson")
    for _ in range(KILLS):
        processes = [fork(home, *words) for words in (more, ("run",), ("replicate",))]
        rnd.shuffle(processes)
        for process in processes:
            murder(process, rnd.random() * 0.3)
    rekam(home, *more)
    assert content(home) == content(calm)
    laws_hold(home)
