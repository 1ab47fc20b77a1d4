"""Finding and reading checkpoints in a store: listing, notes, manifests, joined or not. Nothing is trusted before its
signature."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeVar

from events.errors import ArchiveGap, Corrupt, LostData
from replicator.joined import JOINED, joined_range, split_checkpoints
from replicator.manifest import (
    CHECKPOINTS,
    Head,
    checkpoint_number,
    manifest_leaf,
    note_key,
    parse_manifest,
    resume,
)
from replicator.merkle import leaf_hash
from replicator.note import SignedHead, parse_head
from replicator.stores import NoSuchObject, ObjectReader
from replicator.trust import Keyring

READ_THREADS = 16

_Result = TypeVar("_Result")


@dataclass
class Listed:
    """The objects of one checkpoint's folder."""

    n: int
    has_note: bool = False
    manifests: list[str] = field(default_factory=list)
    """Usually one; others are orphans of writers that died or lost."""


def list_checkpoints(store: ObjectReader, after: int = 0) -> dict[int, Listed]:
    """Checkpoints with a number above `after` that have objects of their own, committed (with a note) or not."""
    found: dict[int, Listed] = {}
    for stored in store.list(CHECKPOINTS, f"{note_key(after)}~" if after else ""):
        if stored.key.startswith(JOINED):
            break  # they come last, and there are thousands
        place = checkpoint_number(stored.key)
        if place is None:
            continue
        n, is_note = place
        listed = found.setdefault(n, Listed(n))
        if is_note:
            listed.has_note = True
        else:
            listed.manifests.append(stored.key)
    return found


@dataclass(frozen=True)
class Read:
    """A checkpoint's objects as read; `signed` is what its note says, its signature verified."""

    n: int
    note: bytes
    signed: SignedHead
    manifests: Sequence[bytes]


def read_checkpoint(store: ObjectReader, listed: Listed, origin: str, keys: Keyring) -> Read:
    """Raises Corrupt or ArchiveGap naming the checkpoint."""
    try:
        note = store.get(note_key(listed.n))
        manifests = [store.get(key) for key in listed.manifests]
    except NoSuchObject as error:
        raise ArchiveGap(f"checkpoint {listed.n}: {error.message}") from None
    signed = signed_head(note, listed.n, origin, keys)
    if not manifests:
        raise ArchiveGap(f"the manifest of checkpoint {listed.n} is missing", "something removed it")
    return Read(listed.n, note, signed, manifests)


def read_checkpoints(
    store: ObjectReader, wanted: Iterable[Listed], origin: str, keys: Keyring
) -> Iterator[Read]:
    """In order, read by many threads at once."""
    listed = list(wanted)
    if len(listed) < 2:
        yield from (read_checkpoint(store, one, origin, keys) for one in listed)
        return
    with ThreadPoolExecutor(READ_THREADS) as pool:
        yield from pool.map(lambda one: read_checkpoint(store, one, origin, keys), listed)


def fitting_manifest(read: Read) -> bytes:
    """The manifest that the note's tree ends in. Raises Corrupt where none is."""
    for data in read.manifests:
        with suppress(Corrupt):
            resume(data, read.note, read.signed, read.n)
            return data
    raise Corrupt(f"checkpoint {read.n} has no manifest")


def leaves_of(read: Read) -> tuple[bytes, list[bytes]]:
    """A checkpoint's manifest, and the hashes of the leaves that it added to the archive's tree. Raises Corrupt."""
    data = fitting_manifest(read)
    manifest = parse_manifest(data, f"the manifest of checkpoint {read.n}")
    return data, [*(leaf_hash(entry.leaf()) for entry in manifest.entries), manifest_leaf(read.n, data)]


def first_fitting(read: Read, follow: Callable[[bytes], Head]) -> Head:
    """The head that one of the manifests leads to. Raises what the last of them was refused with."""
    refused: LostData = Corrupt(f"checkpoint {read.n} has no manifest")
    for data in read.manifests:
        try:
            return follow(data)
        except LostData as error:
            refused = error
    raise refused


def checkpoints_after(store: ObjectReader, after: int, origin: str, keys: Keyring) -> Iterator[Read]:
    """Every committed checkpoint behind number `after`, in order: from its own objects, else from a joined one.

    Raises ArchiveGap where one is missing, Corrupt.
    """
    found = {n: listed for n, listed in list_checkpoints(store, after).items() if listed.has_note}
    joined: dict[int, str] | None = None
    newest = max(found, default=after)
    if after == 0 and 1 not in found:
        joined = _list_joined(store)
        newest = max([newest, *(last for last, _ in map(_range, joined.values()))])
    while after < newest:
        run = list(takewhile(found.__contains__, range(after + 1, newest + 1)))
        if run:
            yield from read_checkpoints(store, [found[n] for n in run], origin, keys)
            after = run[-1]
            continue
        joined = _list_joined(store) if joined is None else joined
        key = joined.get(after + 1)
        if key is None:
            raise _missing(found, after, newest)
        yield from _read_joined(store, key, origin, keys)
        after = _range(key)[1]


def _list_joined(store: ObjectReader) -> dict[int, str]:
    """first number -> the key of the joined object that goes furthest from there."""
    keys = (stored.key for stored in store.list(JOINED))
    return {_range(key)[0]: key for key in sorted(key for key in keys if joined_range(key))}


def _range(key: str) -> tuple[int, int]:
    found = joined_range(key)
    assert found is not None
    return found


def _read_joined(store: ObjectReader, key: str, origin: str, keys: Keyring) -> Iterator[Read]:
    for n, note, manifest in split_checkpoints(store.get(key), key):
        yield Read(n, note, signed_head(note, n, origin, keys), [manifest])


def _missing(found: Mapping[int, Listed], after: int, newest: int) -> ArchiveGap:
    missing = [n for n in range(after + 1, newest + 1) if n not in found]
    return ArchiveGap(
        f"the notes of {len(missing)} checkpoints are missing, from number {missing[0]} to {missing[-1]}",
        "something removed them: compare with another copy of the archive",
    )


def signed_head(note: bytes, n: int, origin: str, keys: Keyring) -> SignedHead:
    """What the note of checkpoint n says, its signature verified. Raises Corrupt."""
    where = f"the note of checkpoint {n}"
    text, by = keys.open(note, where)
    head = parse_head(text, where)
    if head.origin != origin:
        raise Corrupt(f"{where} is of another archive")
    return SignedHead(*head, by)
