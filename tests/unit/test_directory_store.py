"""What only a folder can suffer: killed creates, full and unplugged disks, missing hard links."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from events.errors import BadConfiguration, Refused, StoreUnavailable
from replicator import directory_store
from replicator.directory_store import DirectoryStore
from replicator.stores import AlreadyThere

KILLED = """
import os, signal, sys
from replicator import directory_store
directory_store._place = lambda hidden, path: os.kill(os.getpid(), signal.SIGKILL)
directory_store.DirectoryStore(sys.argv[1]).create("log/a", b"half")
"""


def hidden(folder):
    return list((folder / ".creating").iterdir())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "archive"


@pytest.fixture
def store(folder):
    return DirectoryStore(folder, create=True)


def test_what_a_killed_create_left_is_invisible_and_swept(store, folder):
    died = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert len(hidden(folder)) == 1
    assert list(store.list("")) == []
    store.create("log/b", b"whole")
    assert hidden(folder) == []
    store.create("log/a", b"whole")
    assert [s.key for s in store.list("")] == ["log/a", "log/b"]


def test_a_sweep_between_making_a_file_and_locking_it_costs_that_file_alone(store, folder, monkeypatch):
    """Two processes that begin to create at once: the second one's sweep took the first one's new file away."""
    lock, sweeps = directory_store.fcntl.flock, []

    def late_lock(file, how):
        if not sweeps:
            sweeps.append(len(hidden(folder)))
            DirectoryStore(folder)._sweep()
        lock(file, how)

    store.create("log/first", b"sweeps what was there")
    monkeypatch.setattr(directory_store.fcntl, "flock", late_lock)
    store.create("log/second", b"whole")
    assert sweeps == [1]
    assert store.get("log/second") == b"whole"
    assert hidden(folder) == []


def test_a_sweep_leaves_a_living_create_alone(store, folder, monkeypatch):
    halfway, swept = threading.Event(), threading.Event()
    place = directory_store._place

    def slow_place(source, target):
        if target.name == "slow":
            halfway.set()
            assert swept.wait(30)
        place(source, target)

    monkeypatch.setattr(directory_store, "_place", slow_place)
    writer = threading.Thread(target=store.create, args=("slow", b"data"))
    writer.start()
    assert halfway.wait(30)
    DirectoryStore(folder).create("other", b"x")  # a new store sweeps before its first create
    swept.set()
    writer.join(30)
    assert store.get("slow") == b"data"


@pytest.mark.parametrize("failing", ["fsync", "link"])
def test_a_full_disk_is_unavailable_and_leaves_nothing(store, folder, monkeypatch, failing):
    store.create("log/before", b"x")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(StoreUnavailable, match="make room"):
        store.create("log/a", b"data")
    monkeypatch.undo()
    assert [s.key for s in store.list("")] == ["log/before"]
    assert hidden(folder) == []
    store.create("log/a", b"data")
    assert store.get("log/a") == b"data"


def test_without_hard_links_it_renames_but_never_over_another(store, monkeypatch):
    def no_links(*_args, **_kwargs):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    store.create("a", b"1")
    with pytest.raises(AlreadyThere):
        store.create("a", b"2")
    monkeypatch.setattr(directory_store.Path, "exists", lambda _self: False)  # as in a race
    with pytest.raises(AlreadyThere):
        store.create("a", b"2")
    assert store.get("a") == b"1"


def test_an_unplugged_disk_is_not_an_empty_archive(tmp_path):
    store = DirectoryStore(tmp_path / "unplugged")
    for call in (lambda: store.get("a"), lambda: list(store.list("")), lambda: store.create("a", b"")):
        with pytest.raises(StoreUnavailable, match="mounted"):
            call()


def test_a_file_in_the_place_of_the_folder_is_a_setting_to_change(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadConfiguration):
        DirectoryStore(tmp_path / "file", create=True)


def test_a_key_under_an_object_is_refused(store):
    store.create("a", b"1")
    with pytest.raises(Refused):
        store.create("a/b", b"2")
    store.create("c/d", b"1")
    with pytest.raises(Refused):
        store.create("c", b"2")
    assert store.get("a") == b"1"
