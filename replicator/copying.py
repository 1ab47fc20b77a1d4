"""Copying an archive to another place, and comparing two places: byte for byte, notes last.

A copy is the same archive: the same id, the same signed notes, checked like the first. While it is made, notes come
after everything that they cover and in order, so a copy that was stopped is a shorter archive and never a broken one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from events.errors import ArchiveDiverged, Corrupt, Refused
from replicator.config import read_config
from replicator.manifest import CHECKPOINTS, CONFIG_KEY
from replicator.stores import AlreadyThere, ArchiveStore, NoSuchObject, ObjectReader

COPY_THREADS = 8
PINS = "pins/"
_DIGEST = re.compile(r"([0-9a-f]{64})(?:\.[a-z.]+)?\Z")

Progress = Callable[[int, int], object]
"""(objects done, of how many)"""


@dataclass
class Copied:
    """What a copy did."""

    objects: int = 0
    size_bytes: int = 0
    there_already: int = 0


def copy_archive(
    source: ObjectReader, target: ArchiveStore, progress: Progress = lambda done, total: None
) -> Copied:
    """Brings `target`, an empty place or an earlier copy, up to `source`.

    Raises Refused where the target holds another archive, Corrupt where an object of the source is not what its key
    says, ArchiveDiverged where the target holds other bytes under the same key, StoreUnavailable.
    """
    _refuse_other(source, target)
    there = {stored.key for stored in target.list("")}
    # The notes are settled before the rest is listed: what those name was there before them.
    notes = {stored.key for stored in source.list(CHECKPOINTS) if _is_note(stored.key)}
    wanted = [s.key for s in source.list("") if s.key in notes or _is_copied_anyway(s.key)]
    copied = Copied(there_already=sum(key in there for key in wanted))
    missing = [key for key in wanted if key not in there]
    with ThreadPoolExecutor(COPY_THREADS) as pool:
        for keys in _in_order(missing):
            for size in pool.map(lambda key: _copy(source, target, key), keys):
                copied.objects += 1
                copied.size_bytes += size
                progress(copied.objects, len(missing))
    return copied


def _is_note(key: str) -> bool:
    return key.startswith(CHECKPOINTS) and key.endswith("/note")


def _is_copied_anyway(key: str) -> bool:
    return not _is_note(key) and not key.startswith(PINS)


def _refuse_other(source: ObjectReader, target: ArchiveStore) -> None:
    _, data = read_config(source)
    try:
        found = target.get(CONFIG_KEY)
    except NoSuchObject:
        if next(iter(target.list("")), None) is not None:
            raise Refused("the target is not empty, and holds no archive", "name an empty place") from None
        return
    if found != data:
        raise Refused("the target holds another archive", "name an empty place, or an earlier copy")


def _in_order(keys: Iterable[str]) -> Iterator[list[str]]:
    """archive.json, then objects in any order, then manifests, then the notes one by one."""
    held = list(keys)
    yield [key for key in held if key == CONFIG_KEY]
    yield [key for key in held if key != CONFIG_KEY and not _is_note(key)]
    for note in sorted(filter(_is_note, held)):
        yield [note]


def _copy(source: ObjectReader, target: ArchiveStore, key: str) -> int:
    data = source.get(key)
    digest = key_digest(key)
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise Corrupt(f"{key}: its bytes are not those that its key names", "look with 'rekam audit verify'")
    try:
        target.create(key, data)
    except AlreadyThere:
        if target.get(key) != data:
            raise ArchiveDiverged(f"{key}: the target holds other bytes", "keep both, and ask why") from None
    return len(data)


def key_digest(key: str) -> str | None:
    """The digest of the stored bytes that a key carries; None for archive.json and notes."""
    found = _DIGEST.search(key.rsplit("/", 1)[-1])
    return found[1] if found else None


@dataclass
class Difference:
    """How two places differ. Keys in order."""

    objects: int = 0
    """In both, and alike."""
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    """In both, with other bytes."""

    @property
    def alike(self) -> bool:
        return not (self.only_first or self.only_second or self.different)


def compare_archives(first: ObjectReader, second: ObjectReader) -> Difference:
    """By keys, which carry digests, and sizes; what has no digest in its key is read. Raises StoreUnavailable."""
    one, two = _sizes(first), _sizes(second)
    found = Difference()
    for key in sorted(one.keys() | two.keys()):
        if key not in two:
            found.only_first.append(key)
        elif key not in one:
            found.only_second.append(key)
        elif one[key] != two[key] or (key_digest(key) is None and first.get(key) != second.get(key)):
            found.different.append(key)
        else:
            found.objects += 1
    return found


def _sizes(store: ObjectReader) -> dict[str, int]:
    return {s.key: s.size_bytes for s in store.list("") if not s.key.startswith(PINS)}
