"""kill -9 of projector and rebuild at random instants, and rebuilds by several processes, on real files and servers."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from events.errors import Corrupt
from events.log import Entry
from events.position import EVENTS, Position
from events.rules import Effect
from events.sqlite_log import SqliteLog
from projections import snapshot_loading
from projections.bulk import rebuild
from projections.completing import complete_journal
from projections.digest import Digest, digest, digest_at
from projections.projector import project
from projections.sqlite_database import SqliteDatabase
from projections.store import Tables, open_tables
from projections.system_tables import STREAMS
from tests.log_histories import History, encode_event, note, reading
from tests.tiny_tables import tiny

EVENTS_OF_EACH = 200
STREAM_COUNT = 40


class OpenLog:
    """Opens the log file; can be sent to a worker process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> SqliteLog:
        return SqliteLog(self.path)


@pytest.fixture(scope="module")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of twelve thousand events in forty streams, duplicates and foreign records among them."""
    path = tmp_path_factory.mktemp("log") / "log.db"
    history = History(11)
    heads: dict[str, bytes | None] = {}
    entries: list[Entry] = []
    for version in range(1, EVENTS_OF_EACH + 1):
        for number in range(STREAM_COUNT):
            stream = f"patient-{number:032x}"
            payload = (
                note("a", "text") if version % 50 == 0 else reading(f"r{version % 40}", f"{version}.{number}")
            )
            event = history.event(stream, version, heads.get(stream), None, payload)
            heads[stream] = event.event_id
            entries.append(Entry(stream.encode(), encode_event(event)))
            if (version + number) % 97 == 0:
                entries.append(entries[-1])
                entries.append(Entry(b"x", b"foreign"))
    with closing(
        SqliteLog(path, partitions={"rekam.events": 2, "rekam.access": 1, "rekam.control": 1}, create=True)
    ) as log:
        for start in range(0, len(entries), 1000):
            log.append(EVENTS, entries[start : start + 1000])
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'tables.db'}"
    return request.getfixturevalue("postgresql_database")


@pytest.fixture
def tables(url: str) -> Iterator[Tables]:
    with closing(open_tables(url, define=tiny)) as opened:
        yield opened


def start(work: str, log_path: Path, url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.projecting_child", work, str(log_path), url])


def standing(tables: Tables) -> tuple[Position, Digest]:
    """Position and digest of the same moment: a server may still commit what a killed client had sent it."""
    while True:
        here, found = tables.position(), digest(tables)
        if tables.position() == here:
            return here, found


def test_killed_projectors_stand_at_their_cursor(log_path: Path, url: str, tables: Tables) -> None:
    rnd = random.Random(5)
    with closing(SqliteLog(log_path)) as log:
        end = log.end()
        positions = []
        for _ in range(3):
            child = start("project", log_path, url)
            deadline = time.monotonic() + 30
            before = tables.position()
            while tables.position() == before and child.poll() is None and time.monotonic() < deadline:
                child.poll()
            try:
                child.wait(rnd.random() * 0.1)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
            here, found = standing(tables)
            positions.append(here)
            assert found == digest_at(OpenLog(log_path), here, tiny)
        project(log, tables)
        assert tables.position() == end
        assert digest(tables) == digest_at(OpenLog(log_path), end, tiny)
        assert any(p != end and p != Position() for p in positions), "nobody was killed in the middle"


def test_a_killed_rebuild_changes_nothing(log_path: Path, url: str, tables: Tables) -> None:
    with closing(SqliteLog(log_path)) as log:
        end = log.end()
        middle = Position({p: n // 2 for p, n in end.items()})
        project(log, tables, middle)
        before = digest(tables)
        killed = 0
        for delay in (0.2, 0.5, 0.7, 0.9, 1.1):
            child = start("rebuild", log_path, url)
            try:
                child.wait(delay)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
                killed += 1
            if tables.position() == end:
                break
            assert digest(tables) == before
        assert killed
        rebuild(OpenLog(log_path), end, tables)
        assert digest(tables) == digest_at(OpenLog(log_path), end, tiny)


@pytest.mark.postgresql
def test_several_workers_give_the_same(
    log_path: Path, postgresql_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from projections import bulk

    monkeypatch.setattr(bulk, "BUCKET_RECORDS", 2000)
    opener = OpenLog(log_path)
    with closing(opener()) as log, closing(open_tables(postgresql_database, define=tiny)) as tables:
        end = log.end()
        middle = Position({p: n // 2 for p, n in end.items()})
        told: list[str] = []
        done = rebuild(opener, end, tables, workers=2, progress=lambda stage, n, total: told.append(stage))
        want = digest_at(opener, end, tiny)
        assert done.records == end.records()
        assert done.applied == STREAM_COUNT * EVENTS_OF_EACH
        assert digest(tables) == want
        assert "events" in told
        assert project(log, tables).records == 0
        counts = tables.verdicts()
        rebuild(opener, middle, tables, workers=2)
        image = _Image(tables)
        rebuild(opener, end, tables, workers=2, snapshot=image)
        complete_journal(opener, tables, workers=2)
        assert digest(tables) == want
        assert tables.verdicts() == counts
        schemas = tables.database.fetch("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'rekam%'")
        assert schemas == [("rekam",)], "nothing is left over"


class _Image:
    def __init__(self, tables: Tables) -> None:
        self.position = tables.position()
        self.links = Effect(tables.control(), self.position).links
        with tables.reading():
            self._rows = {t.name: list(tables.all_rows(t)) for t in (*tables.definition.tables, STREAMS)}

    def holds(self, table: str) -> bool:
        return True

    def batches(self, table: str) -> list[list[tuple[object, ...]]]:
        return [self._rows[table]]

    def size_bytes(self, table: str) -> int:
        return len(self._rows[table])


def _same(image: _Image) -> _Image:
    return image


@pytest.mark.parametrize("workers", [2, 3])
def test_several_workers_load_a_snapshot_as_one_does(
    log_path: Path, tables: Tables, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_loading, "SHARED_BYTES", 0)
    opener = OpenLog(log_path)
    with closing(opener()) as log:
        end = log.end()
    middle = Position({p: n // 2 for p, n in end.items()})
    rebuild(opener, middle, tables)
    image = _Image(tables)
    told: list[str] = []
    rebuild(
        opener,
        end,
        tables,
        workers=workers,
        snapshot=image,
        open_snapshot=partial(_same, image),
        progress=lambda stage, done, total: told.append(stage),
    )
    assert len(told) < len(tables.definition.tables) + 2, "the largest were loaded elsewhere"
    complete_journal(opener, tables)
    assert digest(tables) == digest_at(opener, end, tiny)
    _refuse_leftovers(tables)


def test_what_another_process_cannot_load_is_told_and_nothing_is_changed(
    log_path: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_loading, "SHARED_BYTES", 0)
    opener = OpenLog(log_path)
    with closing(opener()) as log:
        end = log.end()
    middle = Position({p: n // 2 for p, n in end.items()})
    rebuild(opener, middle, tables)
    before = digest(tables)
    image = _Image(tables)
    with pytest.raises(Corrupt, match="a part"):
        rebuild(opener, end, tables, workers=2, snapshot=image, open_snapshot=partial(_Damaged, image))
    assert digest(tables) == before
    _refuse_leftovers(tables)


class _Damaged:
    """A snapshot no table of which can be read."""

    def __init__(self, image: _Image) -> None:
        self.position, self.links = image.position, image.links

    def holds(self, table: str) -> bool:
        return True

    def batches(self, table: str) -> list[list[tuple[object, ...]]]:
        raise Corrupt("a part is damaged")

    def size_bytes(self, table: str) -> int:
        return 0


def _refuse_leftovers(tables: Tables) -> None:
    database = tables.database
    if isinstance(database, SqliteDatabase):
        assert not list(database.path.parent.glob(f"{database.path.name}.fresh-*"))
    else:
        found = database.fetch("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'rekam%'")
        assert found == [("rekam",)]
