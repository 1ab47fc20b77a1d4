"""The SQLite log and what happens to files: other processes, kill -9, full disks, damage, clocks, lost files."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from events.errors import Busy, Corrupt, LogGap, LogMissing, LogRecreated, LogUnavailable, Refused
from events.group_commit import GroupCommit
from events.log import Entry, Record, TimeType
from events.position import CONTROL, EVENTS, Partition
from events.sqlite_log import SqliteLog, SqliteRestorer

P = Partition(CONTROL, 0)
ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from pathlib import Path
from events.log import Entry
from events.position import CONTROL
from events.sqlite_log import SqliteLog
log = SqliteLog(Path(sys.argv[1]), create=True)
for n in range(int(sys.argv[3])):
    placed = log.append(CONTROL, [Entry(b"k", f"{sys.argv[2]}:{n}:{part}".encode()) for part in range(3)])
    print(placed[-1].offset, flush=True)
"""


def writer(path: Path, name: str, count: int, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def values(log: SqliteLog, partition: Partition = P) -> list[bytes]:
    return [r.value for batch in log.read(partition, 0, log.end()[partition]) for r in batch]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.db"


def test_processes_append_at_the_same_time_and_none_gets_in_anothers_append(path):
    running = [writer(path, name, 60) for name in ("a", "b", "c")]
    try:
        assert [process.wait(60) for process in running] == [0, 0, 0]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    log = SqliteLog(path)
    found = values(log)
    assert len(found) == 3 * 60 * 3
    assert [v[:-2] for v in found[0::3]] == [v[:-2] for v in found[1::3]] == [v[:-2] for v in found[2::3]]
    for name in (b"a", b"b", b"c"):
        numbers = [int(v.split(b":")[1]) for v in found[0::3] if v.startswith(name)]
        assert numbers == list(range(60))
    log.close()


@pytest.mark.parametrize("after", [1, 7, 23])
def test_kill_9_keeps_what_was_acknowledged_and_no_half_append(path, after):
    process = writer(path, "a", 100_000)
    acknowledged = [int(process.stdout.readline()) for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.communicate()[0].split()]
    log = SqliteLog(path)
    end = log.end()[P]
    assert end > acknowledged[-1]
    assert end % 3 == 0, "an append is there as a whole or not at all"
    assert len(values(log)) == end
    log.close()


def test_a_disk_that_takes_no_more_is_unavailable_and_nothing_is_half_written(path):
    """The limit on file sizes stands for a full disk: SQLite gets an error from write(2) either way."""
    script = f"""
import resource, sys
{WRITER.replace("log = ", "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); log = ")}
"""
    process = subprocess.run(
        [sys.executable, "-c", script, str(path), "a", "100000"], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 1
    assert "LogUnavailable" in process.stderr and "nothing was half written" in process.stderr
    acknowledged = [int(line) for line in process.stdout.split()]
    log = SqliteLog(path)
    assert log.end()[P] == acknowledged[-1] + 1
    assert len(values(log)) == log.end()[P]
    log.append(CONTROL, [Entry(b"k", b"space again")])
    log.close()


def test_a_full_database_refuses_everybody_in_the_group_and_goes_on_when_there_is_space(path):
    log = SqliteLog(path, create=True)
    log.append(CONTROL, [Entry(b"k", b"before")])
    (pages,) = log._writer.execute("PRAGMA page_count").fetchone()
    log._writer.execute(f"PRAGMA max_page_count = {pages + 10}")

    def fill(_):
        with pytest.raises(LogUnavailable, match="full"):
            while True:
                log.append(CONTROL, [Entry(b"k", bytes(3_000))] * 2)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(4)))
    stands = log.end()[P]
    assert stands % 2 == 1
    log._writer.execute("PRAGMA max_page_count = 100000")
    [placed] = log.append(CONTROL, [Entry(b"k", b"after")])
    assert placed.offset == stands
    assert len(values(log)) == stands + 1
    log.close()


def test_a_clock_that_runs_back_does_not_take_the_log_with_it(path):
    now = [1_000]
    log = SqliteLog(path, create=True, clock=lambda: now[0])
    times = []
    for now[0] in (1_000, 5_000, 3_000, 4_999, 5_001):
        times += [log.append(topic, [Entry(b"k", b"v")])[0].time for topic in (CONTROL, EVENTS)]
    assert times == [1_000] * 2 + [5_000] * 6 + [5_001] * 2
    other = SqliteLog(path, clock=lambda: 10)
    assert other.append(EVENTS, [Entry(b"k", b"v")])[0].time == 5_001
    assert log.append(CONTROL, [Entry(b"k", b"v")])[0].time == 5_001
    for one in (log, other):
        one.close()


def test_another_process_that_holds_the_log_is_waited_for_and_not_for_ever(path):
    log = SqliteLog(path, create=True, busy_seconds=0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailable, match="locked"):
        log.append(CONTROL, [Entry(b"k", b"v")])
    assert log.end()[P] == 0, "readers do not wait for writers"
    holder.execute("ROLLBACK")
    holder.close()
    assert log.append(CONTROL, [Entry(b"k", b"v")])[0].offset == 0
    log.close()


def test_damage_is_named(path):
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(Corrupt, match="recover"):
        SqliteLog(path)
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE other (x)").connection.close()
    with pytest.raises(Corrupt, match="not a log"):
        SqliteLog(path)


def test_damaged_pages_are_an_error_and_not_a_shorter_history(path):
    log = SqliteLog(path, create=True)
    log.append(CONTROL, [Entry(b"k", bytes(500)) for _ in range(2_000)])
    log.close()
    raw = bytearray(path.read_bytes())
    for page in range(len(raw) // 2 // 4096 * 4096, len(raw) - 4096, 4096):
        raw[page : page + 64] = b"\xff" * 64
    path.write_bytes(raw)
    log = SqliteLog(path)
    with pytest.raises((Corrupt, LogGap)):
        values(log)
    log.close()


def test_a_hole_in_the_middle_is_a_gap_that_names_the_range(path):
    log = SqliteLog(path, create=True)
    log.append(CONTROL, [Entry(b"k", b"%d" % n) for n in range(10)])
    other = sqlite3.connect(path, isolation_level=None)
    (id_,) = other.execute("SELECT id FROM partitions WHERE topic = ?", (CONTROL,)).fetchone()
    other.execute(f'DELETE FROM records_{id_} WHERE "offset" IN (4, 5, 6)')
    other.close()
    with pytest.raises(LogGap, match="4 to 6"):
        values(log)
    log.close()


@pytest.mark.parametrize("fate", ["deleted", "replaced"])
def test_a_file_that_vanished_while_open_acknowledges_nothing(path, fate):
    log = SqliteLog(path, create=True)
    log.append(CONTROL, [Entry(b"k", b"v")])
    path.unlink()
    if fate == "replaced":
        SqliteLog(path, create=True).close()
    with pytest.raises(LogRecreated):
        log.append(CONTROL, [Entry(b"k", b"v")])
    with pytest.raises(LogRecreated):
        log.end()
    with pytest.raises(LogRecreated):
        log.identity()
    log.close()


def test_what_a_lost_log_left_beside_itself_is_never_taken_for_the_new_one(path):
    old = SqliteLog(path, create=True)
    old.append(CONTROL, [Entry(b"k", b"old %d" % n) for n in range(50)])
    wal = path.with_name("log.db-wal").read_bytes()
    assert wal
    old.close()
    for make in ("create", "restore"):
        path.unlink()
        path.with_name("log.db-wal").write_bytes(wal)
        if make == "restore":
            restorer = SqliteRestorer(path)
            restorer.begin({})
            restorer.finish()
        new = SqliteLog(path, create=True)
        assert new.end().records() == 0
        new.append(CONTROL, [Entry(b"k", b"new")])
        assert values(new) == [b"new"]
        new.close()


def test_no_folder_and_no_right_are_clear_errors(tmp_path):
    with pytest.raises(LogUnavailable, match="no such folder"):
        SqliteLog(tmp_path / "absent" / "log.db", create=True)
    with pytest.raises(LogMissing, match="rekam init"):
        SqliteLog(tmp_path / "log.db")
    with pytest.raises(LogUnavailable):
        SqliteLog(tmp_path, create=True)


def test_two_makers_at_once_make_one_log(path):
    with ThreadPoolExecutor(8) as pool:
        logs = list(pool.map(lambda _: SqliteLog(path, create=True), range(8)))
    assert len({tuple(log.identity().items()) for log in logs}) == 1
    offsets = [log.append(CONTROL, [Entry(b"k", b"v")])[0].offset for log in logs]
    assert offsets == list(range(8))
    for log in logs:
        log.close()
    assert sorted(p.name for p in path.parent.iterdir()) == ["log.db"]


def test_a_damaged_half_restore_starts_over(path):
    half = path.with_name("log.db.restoring")
    half.write_bytes(b"no database" * 1000)
    restorer = SqliteRestorer(path)
    assert restorer.begin({}).records() == 0
    restorer.finish()
    assert not half.exists()
    with pytest.raises(Refused):
        restorer.write(P, [])
        restorer.finish()


def test_of_two_restores_at_once_the_second_is_busy_and_a_dead_ones_place_is_free(path):
    """The second would throw the first one's half away, or write into it."""
    first, second = SqliteRestorer(path), SqliteRestorer(path)
    records = [Record(n, 1_000 + n, TimeType.APPEND, b"k", (), b"v") for n in range(20)]
    first.begin({}, "archive/5")
    first.write(P, records[:10])
    for source in ("archive/5", "archive/6"):
        with pytest.raises(Busy):
            second.begin({}, source)
    first.close()
    assert second.begin({}, "archive/5")[P] == 10
    second.write(P, records[10:])
    second.finish()
    with pytest.raises(Refused):
        first.begin({}, "archive/5")
    log = SqliteLog(path)
    assert log.end()[P] == 20
    log.close()
    assert sorted(p.name for p in path.parent.iterdir()) == ["log.db"]


# Group commit by itself


def test_those_who_come_during_a_commit_are_committed_together():
    started, go = threading.Event(), threading.Event()
    groups = []

    def commit(items):
        groups.append(list(items))
        if len(groups) == 1:
            started.set()
            assert go.wait(10)
        return [item * 10 for item in items]

    group = GroupCommit(commit, 10)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(group.submit, 1)
        assert started.wait(10)
        others = [pool.submit(group.submit, n) for n in range(2, 7)]
        while len(group._waiting) < 5:
            pass
        go.set()
        assert [f.result(10) for f in [first, *others]] == [10, 20, 30, 40, 50, 60]
    assert [len(g) for g in groups] == [1, 5]


def test_a_failed_commit_fails_its_group_and_not_the_next():
    started, go = threading.Event(), threading.Event()
    groups = []

    def commit(items):
        groups.append(len(items))
        if len(groups) == 1:
            started.set()
            assert go.wait(10)
        if len(groups) == 2:
            raise LogUnavailable("no disk", "wait")
        return list(items)

    group = GroupCommit(commit, 10)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(group.submit, 1)
        assert started.wait(10)
        others = [pool.submit(group.submit, n) for n in range(4)]
        while len(group._waiting) < 4:
            pass
        go.set()
        assert first.result(10) == 1
        errors = [f.exception(10) for f in others]
    assert [str(e) for e in errors] == ["no disk (wait)"] * 4
    assert len({id(e) for e in errors}) == 4, "each thread raises an error of its own"
    assert group.submit(7) == 7


def test_nobody_waits_longer_than_the_deadline():
    started, go = threading.Event(), threading.Event()

    def commit(items):
        started.set()
        assert go.wait(10)
        return list(items)

    group = GroupCommit(commit, 0.05)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(group.submit, 1)
        assert started.wait(10)
        with pytest.raises(LogUnavailable, match="nothing was written"):
            group.submit(2)
        go.set()
        assert first.result(10) == 1
    assert group.submit(3) == 3
