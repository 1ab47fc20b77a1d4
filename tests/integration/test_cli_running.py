"""What runs all day: signals, two of a kind at once, and what happens beside them."""

from __future__ import annotations

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from events.position import ACCESS, EVENTS
from services.home import Home
from tests.command_line import (
    content,
    digest,
    finish,
    lose,
    moment,
    ndjson,
    rekam,
    sample_lines,
    start,
    wait_for,
    wait_until_stoppable,
)

QUICK = {"REKAM_REPLICATOR__INTERVAL_SECONDS": "0.1"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("running")
    rekam(folder / "clinic", "init")
    rekam(folder / "clinic", "import", "fhir", ndjson(folder / "one.ndjson", sample_lines(0, 100)))
    return folder


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "all")) / "clinic"


def status(home: Path) -> dict:
    return rekam(home, "status", "--json", code=None).json()


def shipped(home: Path) -> bool:
    """Whether the archive holds every event and every view."""
    place = Home.open(home)
    with closing(place.log()) as log:
        end, held = log.end(), place.archive().end()
    return all(end.of(topic) == held.of(topic) for topic in (EVENTS, ACCESS) if end.of(topic))


def test_once_is_once(clinic: Path) -> None:
    first = rekam(clinic, "replicate", "--once", "--json").json()
    again = rekam(clinic, "replicate", "--once", "--json").json()
    assert first["records"] == 101 and first["segments"] == 2
    assert (again["records"], again["segments"]) == (1, 1), "its own heartbeat alone"
    assert again["checkpoint"] == first["checkpoint"] + 1
    assert again["complete_through"] > first["complete_through"]
    assert status(clinic)["unshipped_records"] == 0


def test_the_unshipped_tail_and_its_age_are_known(clinic: Path) -> None:
    before = status(clinic)
    assert before["unshipped_records"] == 100 and before["unshipped_seconds"] > 0
    assert "Not shipped yet: 100 records" in rekam(clinic, "status").out
    rekam(clinic, "replicate", "--once")
    assert status(clinic)["unshipped_seconds"] is None


def test_projecting_once(clinic: Path) -> None:
    before = digest(clinic)
    lose(clinic, "tables.db")
    assert "the tables are empty" in rekam(clinic, "status").out
    rekam(clinic, "project", "--once")
    assert status(clinic)["behind_records"] == 0
    assert digest(clinic) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_projects_and_ships_until_a_signal_stops_it_cleanly(clinic: Path, number: signal.Signals) -> None:
    process = start(clinic, "run", **QUICK)
    try:
        wait_for(lambda: shipped(clinic), "what stood there before")
        rekam(clinic, "simulate", "--patients", "3", "--events", "60")
        wait_for(lambda: shipped(clinic), "what was written beside it")
        wait_for(lambda: status(clinic)["behind_records"] == 0, "the tables")
    finally:
        process.send_signal(number)
        ran = finish(process)
    assert ran.out == "" and "error" not in ran.err
    before = digest(clinic)
    assert status(clinic)["unshipped_records"] == 0 or shipped(clinic)
    lose(clinic, "log.db", "tables.db")
    rekam(clinic, "recover", "--to", "latest", "--yes")
    assert digest(clinic) == before
    assert rekam(clinic, "points", "--json").json()["snapshots"], "the first snapshot is taken at once"


@pytest.mark.parametrize("command", ["project", "replicate"])
def test_each_alone_stops_at_a_signal(clinic: Path, command: str) -> None:
    process = start(clinic, command, **QUICK)
    if command == "replicate":
        wait_for(lambda: shipped(clinic), "shipping")
    else:
        lose(clinic, "tables.db")
        wait_for(
            lambda: status(clinic)["behind_records"] == 0, "projecting into tables that were lost under it"
        )
    process.terminate()
    finish(process)


def test_an_interrupted_command_is_gone_on_with(clinic: Path) -> None:
    """Ctrl-C: exit code 130 and a word; what was written is kept, and the same command completes it."""
    words = ("simulate", "--patients", "40", "--events", "40000")
    place = Home.open(clinic)
    with closing(place.log()) as log:
        process = start(clinic, *words)
        wait_for(lambda: log.end().records() > 1000 or process.poll() is not None, "the first events")
        process.send_signal(signal.SIGINT)
        ran = finish(process, 130)
        written = log.end().of(EVENTS)
    assert "interrupted" in ran.err and ran.out == ""
    again = rekam(clinic, *words, "--json").json()
    assert again["skipped"] >= sum(written.values()) - 100
    assert again["skipped"] + again["events"] == 40_000


def test_two_shippers_at_once_lose_nothing_and_double_nothing(clinic: Path) -> None:
    runners = [start(clinic, "replicate", **QUICK) for _ in range(2)]
    try:
        for seed in range(1, 6):
            rekam(clinic, "simulate", "--patients", "2", "--events", "40", "--seed", seed)
        wait_for(lambda: shipped(clinic), "the shippers")
        for runner in runners:  # one alone may have shipped everything before the other began
            wait_until_stoppable(runner)
    finally:
        for runner in runners:
            runner.terminate()
        told = [finish(runner, None) for runner in runners]
    assert {ran.code for ran in told} <= {0, -signal.SIGTERM}, "a slow one may not have begun to listen yet"
    assert not [ran.err for ran in told if "error" in ran.err]
    before = digest(clinic)
    rekam(clinic, "replicate", "--once")
    lose(clinic, "log.db", "tables.db")
    rekam(clinic, "recover", "--to", "latest", "--yes")
    assert digest(clinic) == before
    assert status(clinic)["verdicts"] == {**status(clinic)["verdicts"], "applied": 300 - _odd(clinic)}


def _odd(home: Path) -> int:
    """Simulated events that have no effect on purpose, of two writers on one patient."""
    return sum(n for verdict, n in status(home)["verdicts"].items() if verdict != "applied")


def test_the_note_that_was_seen_only_goes_forward(clinic: Path) -> None:
    """Whoever ships slower tells of an older checkpoint later."""
    place = Home.open(clinic)
    notes = []
    for _ in range(3):
        rekam(clinic, "replicate", "--once")
        notes.append(place.seen() or b"")
    assert len(set(notes)) == 3
    lose(clinic, "keys/seen/newest.note")
    for note in (notes[1], notes[0], notes[1]):
        place.remember(note)
        assert place.seen() == notes[1]
    place.remember(notes[2])
    assert place.seen() == notes[2]
    assert [path.name for path in (clinic / "keys" / "seen").iterdir()] == ["newest.note"]


def test_of_many_who_remember_at_once_the_newest_note_stays(clinic: Path) -> None:
    place = Home.open(clinic)
    notes = []
    for _ in range(8):
        rekam(clinic, "replicate", "--once")
        notes.append(place.seen() or b"")
    lose(clinic, "keys/seen/newest.note")
    with ThreadPoolExecutor(len(notes)) as pool:
        list(pool.map(place.remember, reversed(notes)))
    assert place.seen() == notes[-1]


def test_shippers_once_side_by_side(clinic: Path) -> None:
    told = [finish(runner, None) for runner in [start(clinic, "replicate", "--once") for _ in range(3)]]
    assert all(ran.code == 0 for ran in told), [ran.err for ran in told]
    assert shipped(clinic)


def test_two_importers_of_one_file_at_once(clinic: Path, tmp_path: Path) -> None:
    path = ndjson(tmp_path / "two.ndjson", sample_lines(100, 400))
    alone = Path(shutil.copytree(clinic, tmp_path / "alone"))
    rekam(alone, "import", "fhir", path)
    told = [finish(one) for one in [start(clinic, "import", "fhir", path, "--json") for _ in range(2)]]
    assert [ran.json()["refused"] for ran in told] == [0, 0]
    assert content(clinic) == content(alone)
    assert status(clinic)["verdicts"]["applied"] == 400


def test_recovering_beside_a_running_projector_and_shipper(clinic: Path) -> None:
    rekam(clinic, "replicate", "--once")
    before, then = digest(clinic), moment()
    process = start(clinic, "run", **QUICK)
    try:
        rekam(clinic, "simulate", "--patients", "3", "--events", "60")
        wait_for(lambda: shipped(clinic), "shipping")
        rekam(clinic, "recover", "--to", then, "--yes")
        assert digest(clinic) == before
        rekam(clinic, "simulate", "--patients", "3", "--events", "60", "--seed", "9")
        wait_for(lambda: shipped(clinic), "shipping on")
    finally:
        process.terminate()
        finish(process)
    assert digest(clinic) != before
