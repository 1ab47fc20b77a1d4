"""Law 7 in the real places: an attacker with all rights to a folder, or to a bucket on an S3 server."""

from __future__ import annotations

from itertools import cycle

import pytest

from replicator.auditing.findings import What
from replicator.auditing.verifying import Depth
from replicator.directory_store import DirectoryStore
from replicator.outcome import Outcome
from replicator.s3_store import Bucket, S3Store
from tests.tampering import (
    CHANGES,
    assert_found,
    audit,
    newest_note,
    put,
    sampled,
    world_with_everything,
)


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path):
    """(store, the note that was kept of the archive in it)"""
    if request.param == "directory":
        store = DirectoryStore(tmp_path / "archive", create=True)
    else:
        bucket = request.getfixturevalue("s3_bucket")
        store = S3Store(
            Bucket(bucket.name, "clinic", bucket.endpoint, "us-east-1", bucket.access, bucket.secret)
        )
    memory = world_with_everything().store
    for stored in memory.list(""):
        store.create(stored.key, memory.get(stored.key))
    return store, newest_note(memory)


def test_every_kind_of_object_changed_swapped_replayed_and_removed(place):
    store, note = place
    for depth in Depth:
        assert audit(store, note, depth).outcome is Outcome.OK
    changes = cycle(CHANGES.values())
    keys = sampled(store, each=2)
    for key in keys:
        clean = store.get(key)
        put(store, key, next(changes)(clean))
        assert_found(audit(store, note), key)
        put(store, key, clean)
    for key, other in zip(keys, [*keys[1:], keys[0]], strict=True):
        clean = store.get(key)
        put(store, key, store.get(other))  # replayed: the bytes of another object, well signed as they are
        assert_found(audit(store, note), key)
        put(store, key, clean)
    assert audit(store, note).outcome is Outcome.OK


def test_what_counts_is_removed(place):
    store, note = place
    for key in ("archive.json", *(sampled(store, [kind])[-1] for kind in ("log/", "schemas/", "snapshots/"))):
        clean = store.get(key)
        store.remove(key)
        assert_found(audit(store, note), key)
        store.create(key, clean)
    assert audit(store, note).outcome is Outcome.OK


def test_rolled_back_to_an_earlier_checkpoint(place):
    store, note = place
    newest = max(stored.key for stored in store.list("checkpoints/0"))[:24]
    for stored in list(store.list(newest)):
        store.remove(stored.key)
    assert [f.what for f in audit(store, note).findings.kept] == [What.ROLLED_BACK]
