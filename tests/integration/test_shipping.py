"""Shipping for real: a SQLite log into a folder and into S3, killed for real, in bounded memory."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from events.log import Entry
from events.position import CONTROL, EVENTS
from events.sqlite_log import SqliteLog
from replicator.archive import Archive, open_archive
from replicator.directory_store import DirectoryStore
from replicator.retrying import RetryingStore
from replicator.s3_store import Bucket, S3Store
from replicator.shipper import Shipper
from tests.archives import IDENTITY, PARTITIONS, SIGNER, create_archive, event_value, everything

ROOT = Path(__file__).parent.parent.parent
RESIDENT_MIB = 300


def child(*arguments):
    command = [sys.executable, "-m", "tests.shipping_child", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


@pytest.fixture
def log(tmp_path):
    made = SqliteLog(tmp_path / "log.db", create=True, partitions=PARTITIONS)
    yield made
    made.close()


def write(log, first, count, size=200):
    entries = [
        Entry(b"patient-%d" % (n % 50), event_value(n, None, bytes(size)))
        for n in range(first, first + count)
    ]
    log.append(EVENTS, entries)


def all_of(log, end):
    return {p: [r for batch in log.read(p, 0, end[p]) for r in batch] for p in end}


def same(log, store):
    index = open_archive(store, IDENTITY, verifiers=[SIGNER.verifier])
    assert everything(index) == all_of(log, index.end())
    return index


def test_a_sqlite_log_into_a_folder(log, tmp_path):
    store = DirectoryStore(tmp_path / "archive", create=True)
    archive = create_archive(store)
    for n in range(3):
        write(log, 1000 * n, 1000)
        Shipper(log, archive, segment_bytes=50_000).ship_once()
    assert same(log, store).end() == log.end()


@pytest.mark.s3
def test_a_sqlite_log_into_s3(log, s3_locked_bucket):
    place = s3_locked_bucket
    store = RetryingStore(
        S3Store(Bucket(place.name, "clinic", place.endpoint, "us-east-1", place.access, place.secret))
    )
    archive = create_archive(store)
    shippers = [Shipper(log, archive, segment_bytes=50_000) for _ in range(2)]
    for n in range(4):
        write(log, 1000 * n, 500)
        shippers[n % 2].ship_once()
    assert same(log, store).end() == log.end()


def test_a_shipper_killed_at_random_instants_leaves_neither_hole_nor_double(log, tmp_path):
    store = DirectoryStore(tmp_path / "archive", create=True)
    create_archive(store)
    chance = random.Random(4)
    shipped = 0
    for n in range(12):
        write(log, 10_000 * n, 300)
        process = child(tmp_path / "log.db", tmp_path / "archive")
        process.stdout.readline()  # it is at work
        try:
            process.wait(timeout=chance.uniform(0.001, 0.15))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait(timeout=60)
        process.stdout.close()
        index = same(log, store)
        assert index.head.n > shipped
        shipped = index.head.n
    Shipper(log, Archive.open(DirectoryStore(tmp_path / "archive"), SIGNER)).ship_once()
    assert same(log, store).end() == log.end()
    assert not list((tmp_path / "archive" / ".creating").iterdir())


def test_two_shippers_in_two_processes_share_the_work(log, tmp_path):
    store = DirectoryStore(tmp_path / "archive", create=True)
    create_archive(store)
    processes = [child(tmp_path / "log.db", tmp_path / "archive") for _ in range(2)]
    try:
        for n in range(10):
            write(log, 1000 * n, 100)
            for process in processes:
                assert process.stdout.readline(), "a shipper died"
    finally:
        for process in processes:
            process.kill()
            process.wait(timeout=60)
            process.stdout.close()
    index = same(log, store)
    assert index.head.n >= 10
    assert log.end()[next(p for p in log.end() if p.topic == CONTROL)] >= 10


@pytest.mark.slow
def test_memory_does_not_grow_with_the_log(log, tmp_path):
    peaks = []
    for n in range(2):
        for batch in range(60 * (1 + 2 * n)):
            write(log, batch * 2_000, 2_000, size=300)
        folder = tmp_path / f"archive-{n}"
        create_archive(DirectoryStore(folder, create=True))
        process = child(tmp_path / "log.db", folder, 1)
        out, _ = process.communicate(timeout=200)
        (_, records, segments), (peak,) = (line.split() for line in out.splitlines())
        assert int(records) >= 120_000
        assert int(segments) > 8
        peaks.append(int(peak))
    assert max(peaks) < RESIDENT_MIB
    assert peaks[1] < peaks[0] * 1.25, "four times the log, and more memory"
