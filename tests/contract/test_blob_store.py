"""What every store of blobs keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from events.blobs import BlobMissing, BlobStore, MemoryBlobs
from events.directory_blobs import DirectoryBlobs
from events.errors import Corrupt, Unavailable


class Place:
    """A store that can be opened again, and whose bytes can be spoiled behind its back."""

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.memory = folder, MemoryBlobs()

    def open(self) -> BlobStore:
        return self.memory if self.folder is None else DirectoryBlobs(self.folder)

    def spoil(self, digest: bytes, data: bytes) -> None:
        if self.folder is None:
            self.memory.held[digest] = data
        else:
            (self.folder / digest.hex()[:2] / digest.hex()).write_bytes(data)


@pytest.fixture(params=["memory", "directory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path / "home" / "attachments" if request.param == "directory" else None)


def test_what_was_put_comes_back_under_its_digest(place: Place) -> None:
    digest = place.open().put(b"a scan")
    assert digest == hashlib.sha256(b"a scan").digest()
    again = place.open()
    assert again.get(digest) == b"a scan" and again.holds(digest)
    assert again.head(digest, 3) == b"a s" and again.head(digest, 100) == b"a scan"
    assert again.get(again.put(b"")) == b""


def test_twice_is_once(place: Place) -> None:
    store = place.open()
    assert store.put(b"same") == store.put(b"same")
    assert list(store.digests()) == [hashlib.sha256(b"same").digest()]


def test_all_are_listed_in_order(place: Place) -> None:
    store = place.open()
    assert list(store.digests()) == []
    put = {store.put(bytes([n])) for n in range(50)}
    assert list(store.digests()) == sorted(put)


@pytest.mark.parametrize(
    "ask",
    [lambda store, digest: store.get(digest), lambda store, digest: store.head(digest, 4)],
    ids=["get", "head"],
)
def test_what_is_not_there_is_said_to_be_missing(
    place: Place, ask: Callable[[BlobStore, bytes], bytes]
) -> None:
    store, digest = place.open(), b"d" * 32
    assert not store.holds(digest)
    with pytest.raises(BlobMissing, match=digest.hex()):
        ask(store, digest)


def test_removing_is_idempotent_and_leaves_the_others(place: Place) -> None:
    store = place.open()
    gone, stays = store.put(b"gone"), store.put(b"stays")
    store.remove(gone)
    store.remove(gone)
    assert not store.holds(gone) and list(store.digests()) == [stays]
    assert store.put(b"gone") == gone and store.get(gone) == b"gone"


def test_damage_is_named_and_never_given_out(place: Place) -> None:
    store = place.open()
    digest = store.put(b"as it was")
    place.spoil(digest, b"as it is not")
    with pytest.raises(Corrupt, match=digest.hex()):
        store.get(digest)


def test_a_folder_mends_what_was_cut_when_it_is_put_again(tmp_path: Path) -> None:
    place = Place(tmp_path / "attachments")
    digest = place.open().put(b"whole")
    place.spoil(digest, b"who")
    assert place.open().put(b"whole") == digest
    assert place.open().get(digest) == b"whole"


def test_what_a_killed_writer_left_is_no_blob(tmp_path: Path) -> None:
    store = DirectoryBlobs(tmp_path / "attachments")
    digest = store.put(b"whole")
    (tmp_path / "attachments" / digest.hex()[:2] / f".{digest.hex()}.0a1b2c3d").write_bytes(b"who")
    (tmp_path / "attachments" / "notes.txt").write_text("somebody's")
    assert list(store.digests()) == [digest]


def test_a_disk_that_refuses_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "attachments").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="attachments"):
        DirectoryBlobs(tmp_path / "attachments").put(b"x")
