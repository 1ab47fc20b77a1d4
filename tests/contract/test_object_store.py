"""One contract for every object store. A new adapter joins with a fixture that makes an empty store."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from events.errors import BadInput
from replicator.directory_store import DirectoryStore
from replicator.memory_store import MemoryStore
from replicator.retrying import RetryingStore
from replicator.s3_store import Bucket, S3Store
from replicator.stores import MAX_KEY_BYTES, AlreadyThere, NoSuchObject


def s3_bucket_of(bucket, prefix="") -> Bucket:
    return Bucket(bucket.name, prefix, bucket.endpoint, "us-east-1", bucket.access, bucket.secret)


@pytest.fixture(
    params=[
        "memory",
        "directory",
        "retrying",
        pytest.param("s3", marks=pytest.mark.s3),
        pytest.param("s3-prefix", marks=pytest.mark.s3),
    ]
)
def store(request, tmp_path):
    match request.param:
        case "memory":
            return MemoryStore()
        case "directory":
            return DirectoryStore(tmp_path / "archive", create=True)
        case "retrying":
            return RetryingStore(MemoryStore())
        case "s3":
            return S3Store(s3_bucket_of(request.getfixturevalue("s3_bucket")))
        case _:
            return S3Store(s3_bucket_of(request.getfixturevalue("s3_bucket"), "clinics/one"))


def keys(store, prefix="", after=""):
    return [stored.key for stored in store.list(prefix, after)]


def test_what_was_created_is_read_back(store):
    data = bytes(range(256)) * 1000
    store.create("log/rekam.events/0/2026-03-01/a.avro", data)
    assert store.get("log/rekam.events/0/2026-03-01/a.avro") == data


def test_an_empty_object_is_an_object(store):
    store.create("empty", b"")
    assert store.get("empty") == b""
    assert [(s.key, s.size_bytes) for s in store.list("")] == [("empty", 0)]


@pytest.mark.parametrize(
    ("start", "length", "want"),
    [(0, 3, b"abc"), (2, None, b"cdef"), (4, 10, b"ef"), (6, 1, b""), (9, None, b""), (0, 0, b"")],
)
def test_a_part_is_read(store, start, length, want):
    store.create("a", b"abcdef")
    assert store.get("a", start, length) == want


def test_a_second_create_changes_nothing_and_says_so(store):
    store.create("archive.json", b"first")
    for data in (b"second", b"first"):
        with pytest.raises(AlreadyThere):
            store.create("archive.json", data)
    assert store.get("archive.json") == b"first"
    assert keys(store) == ["archive.json"]


def test_of_many_creators_one_wins(store):
    start = threading.Barrier(8)

    def create(n):
        start.wait(30)
        try:
            store.create("checkpoints/000000000001/note", b"writer %d" % n)
        except AlreadyThere:
            return None
        return b"writer %d" % n

    with ThreadPoolExecutor(8) as pool:
        winners = [data for data in pool.map(create, range(8)) if data is not None]
    assert len(winners) == 1
    assert store.get("checkpoints/000000000001/note") == winners[0]


def test_a_missing_object_is_named(store):
    store.create("a/b", b"x")
    for key in ("a", "a/c", "a/b/c", "z"):
        with pytest.raises(NoSuchObject, match=key):
            store.get(key)


def test_listing_follows_the_bytes_of_keys_across_folders(store):
    names = ["a-b/x", "a/x", "a.b", "a/y/z", "a0", "b", "A"]
    for name in reversed(names):
        store.create(name, name.encode())
    assert keys(store) == sorted(names)
    assert keys(store, "a") == sorted(n for n in names if n.startswith("a"))
    assert keys(store, "a/") == ["a/x", "a/y/z"]
    assert keys(store, "a/y/z") == ["a/y/z"]
    assert keys(store, "nothing") == []


@pytest.mark.parametrize("after", ["", "a", "a/", "a/x", "a/x0", "a/y/z", "a0", "b", "zz"])
def test_listing_goes_on_after_a_key(store, after):
    names = sorted(["a-b/x", "a/x", "a.b", "a/y/z", "a0", "b", "A"])
    for name in names:
        store.create(name, b"")
    assert keys(store, "", after) == [n for n in names if n > after]
    assert keys(store, "a/", after) == [n for n in names if n > after and n.startswith("a/")]


def test_listing_tells_sizes_and_times(store):
    store.create("a", b"12345")
    (stored,) = store.list("")
    assert stored.size_bytes == 5
    assert isinstance(stored.modified, int)


def test_removed_is_gone_and_can_be_created_again(store):
    store.create("a/b", b"1")
    store.remove("a/b")
    store.remove("a/b")
    assert keys(store) == []
    with pytest.raises(NoSuchObject):
        store.get("a/b")
    store.create("a/b", b"2")
    assert store.get("a/b") == b"2"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".hidden",
        "a/.hidden",
        "a b",
        "ä",
        "a\n",
        "a" * (MAX_KEY_BYTES + 1),
    ],
)
def test_keys_that_some_store_cannot_hold_are_refused(store, key):
    with pytest.raises(BadInput):
        store.create(key, b"x")
    with pytest.raises(BadInput):
        store.get(key)
    assert keys(store) == []
