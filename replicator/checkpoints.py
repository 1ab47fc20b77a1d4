"""Finding and reading checkpoints in a store: listing, notes, manifests. Nothing is trusted before its signature."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from events.errors import ArchiveGap, Corrupt, LostData
from replicator.manifest import CHECKPOINTS, Head, checkpoint_number, note_key
from replicator.note import TreeHead, Verifier, open_note, parse_head
from replicator.stores import NoSuchObject, ObjectReader

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
    """Checkpoints with a number above `after`, committed (with a note) or not, by number."""
    found: dict[int, Listed] = {}
    for stored in store.list(CHECKPOINTS, f"{note_key(after)}~" if after else ""):
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


def committed(found: dict[int, Listed], after: int) -> list[Listed]:
    """The committed ones behind `after`, in order. Raises ArchiveGap where one between is missing."""
    newest = max((n for n, listed in found.items() if listed.has_note), default=after)
    missing = [n for n in range(after + 1, newest + 1) if n not in found or not found[n].has_note]
    if missing:
        raise ArchiveGap(
            f"the notes of {len(missing)} checkpoints are missing, from number {missing[0]} to {missing[-1]}",
            "something removed them: compare with another copy of the archive",
        )
    return [found[n] for n in range(after + 1, newest + 1)]


@dataclass(frozen=True)
class Read:
    """A checkpoint's objects as read; `signed` is what its note says, its signature verified."""

    n: int
    note: bytes
    signed: TreeHead
    manifests: Sequence[bytes]


def read_checkpoint(store: ObjectReader, listed: Listed, origin: str, verifiers: Sequence[Verifier]) -> Read:
    """Raises Corrupt or ArchiveGap naming the checkpoint."""
    where = f"the note of checkpoint {listed.n}"
    try:
        note = store.get(note_key(listed.n))
        manifests = [store.get(key) for key in listed.manifests]
    except NoSuchObject as error:
        raise ArchiveGap(f"checkpoint {listed.n}: {error.message}") from None
    signed = parse_head(open_note(note, verifiers, where), where)
    if signed.origin != origin:
        raise Corrupt(f"{where} is of another archive")
    if not manifests:
        raise ArchiveGap(f"the manifest of checkpoint {listed.n} is missing", "something removed it")
    return Read(listed.n, note, signed, manifests)


def read_checkpoints(
    store: ObjectReader, wanted: Iterable[Listed], origin: str, verifiers: Sequence[Verifier]
) -> Iterator[Read]:
    """In order, read by many threads at once."""
    listed = list(wanted)
    if len(listed) < 2:
        yield from (read_checkpoint(store, one, origin, verifiers) for one in listed)
        return
    with ThreadPoolExecutor(READ_THREADS) as pool:
        yield from pool.map(lambda one: read_checkpoint(store, one, origin, verifiers), listed)


def first_fitting(read: Read, follow: Callable[[bytes], Head]) -> Head:
    """The head that one of the manifests leads to. Raises what the last of them was refused with."""
    refused: LostData = Corrupt(f"checkpoint {read.n} has no manifest")
    for data in read.manifests:
        try:
            return follow(data)
        except LostData as error:
            refused = error
    raise refused
