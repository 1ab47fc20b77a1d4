"""Attachments: what was kept comes back to its patient alone, the same file is kept once, and nothing else opens."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from events.attachments import (
    HEAD_BYTES,
    Attachments,
    NoKey,
    clear_blob,
    clear_owner,
    erased_owners,
    open_blob,
    owner_of,
    remove_owned,
    seal_blob,
)
from events.blobs import MemoryBlobs
from events.errors import Corrupt, TooLarge
from events.patient_keys import ERASED, Erased, Key, Mark, MemoryKeys

FILES = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda b, n: b * n, st.binary(min_size=1, max_size=8), st.integers(1, 400)),
)
STREAMS = st.sampled_from([f"patient-{c * 32}" for c in "abc"])
KEYS = st.builds(Key, st.binary(min_size=16, max_size=16).map(bytes.hex), st.binary(min_size=32, max_size=32))


def _opened(data: bytes, content: bytes, stream: str, key: Key) -> bytes:
    digest = hashlib.sha256(content).digest()
    return open_blob(data, stream, digest, len(content), {key.id: key.secret}.get)


@given(FILES, STREAMS, KEYS)
def test_what_was_sealed_opens_and_the_same_again_is_the_same(content: bytes, stream: str, key: Key) -> None:
    data = seal_blob(content, stream, key)
    assert data == seal_blob(content, stream, key)
    assert _opened(data, content, stream, key) == content
    assert owner_of(data[:HEAD_BYTES]) == bytes.fromhex(key.id)
    assert len(content) < 16 or content not in data[HEAD_BYTES:]


@given(FILES, STREAMS, KEYS, KEYS)
def test_another_key_opens_nothing(content: bytes, stream: str, key: Key, other: Key) -> None:
    assume(key.secret != other.secret)
    data = seal_blob(content, stream, key)
    with pytest.raises(Corrupt):
        _opened(data, content, stream, Key(key.id, other.secret))
    with pytest.raises(NoKey):
        open_blob(data, stream, hashlib.sha256(content).digest(), len(content), lambda key_id: None)
    assert seal_blob(content, stream, other) != data, "nobody sees that two patients have the same file"


@given(FILES, STREAMS, STREAMS, KEYS)
def test_a_blob_moved_to_another_patient_does_not_open(
    content: bytes, stream: str, other: str, key: Key
) -> None:
    assume(stream != other)
    for data in (seal_blob(content, stream, key), clear_blob(content, stream)):
        assert _opened(data, content, stream, key) == content
        with pytest.raises(Corrupt):
            _opened(data, content, other, key)
    assert clear_blob(content, stream) != clear_blob(content, other)


@given(FILES, FILES, STREAMS, KEYS)
def test_a_blob_in_the_place_of_another_does_not_open(
    content: bytes, other: bytes, stream: str, key: Key
) -> None:
    assume(content != other)
    for data in (seal_blob(content, stream, key), clear_blob(content, stream)):
        with pytest.raises(Corrupt):
            _opened(data, other, stream, key)


@given(FILES, STREAMS, KEYS, st.data())
def test_an_edited_blob_does_not_open(content: bytes, stream: str, key: Key, draw: st.DataObject) -> None:
    whole = seal_blob(content, stream, key)
    at = draw.draw(st.integers(0, len(whole) - 1))
    edited = whole[:at] + bytes([whole[at] ^ draw.draw(st.integers(1, 255))]) + whole[at + 1 :]
    cut = whole[: draw.draw(st.integers(0, len(whole) - 1))]
    for data in (edited, cut):
        with pytest.raises((Corrupt, NoKey)):
            _opened(data, content, stream, key)


def test_a_file_is_kept_once_for_each_patient() -> None:
    keys, blobs = MemoryKeys(), MemoryBlobs()
    for sealing in (True, False):
        files = Attachments(blobs, keys, sealing=sealing, limit_bytes=1000)
        first, again, other = (files.keep(f"patient-{c * 32}", b"consent" * 50) for c in "aab")
        assert first == again and first.blob_sha256 != other.blob_sha256
        assert files.read(f"patient-{'a' * 32}", first) == b"consent" * 50
    assert len(blobs.held) == 4


def test_a_file_over_the_limit_is_refused_before_anything_is_kept() -> None:
    files = Attachments(MemoryBlobs(), MemoryKeys(), sealing=True, limit_bytes=10)
    with pytest.raises(TooLarge, match="11 bytes"):
        files.keep("patient-a", b"x" * 11)
    assert not files.blobs.held  # type: ignore[attr-defined]


@pytest.mark.parametrize("sealing", [True, False])
def test_the_erased_keep_nothing_and_their_blobs_are_found(sealing: bool) -> None:
    keys, blobs = MemoryKeys(), MemoryBlobs()
    files = Attachments(blobs, keys, sealing=sealing, limit_bytes=1000)
    gone, stays = (files.keep(stream, b"scan") for stream in ("patient-a", "patient-b"))
    orphan = blobs.put(clear_blob(b"named by no event", "patient-a"))
    blobs.put(b"foreign")
    keys.destroy("patient-a", Mark("patient-a", ERASED, {"at": 1}))
    with pytest.raises(Erased):
        files.keep("patient-a", b"another")
    assert clear_owner("patient-a") in erased_owners(keys)
    assert remove_owned(blobs, erased_owners(keys)) == 2
    assert not blobs.holds(gone.blob_sha256) and not blobs.holds(orphan) and blobs.holds(stays.blob_sha256)
    assert remove_owned(blobs, frozenset()) == 0
