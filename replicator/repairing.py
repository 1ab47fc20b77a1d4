"""Undoing what somebody did to a versioned bucket: deletion markers over objects, other bytes written over them.

Objects are written once, so the first version of a key is the true one, and where the key carries a digest that can be
checked. A locked bucket keeps it whatever a stolen credential did; repairing brings it back to where readers look.
`VersionsAsOf` reads a bucket as it stood at a time, or (without one) as it was written, whatever happened since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, Protocol

from replicator.copying import key_digest
from replicator.pruning import Needed, is_needed
from replicator.stores import Stored, Version, missing


class VersionedStore(Protocol):
    """A store that keeps what was overwritten or deleted."""

    def versions(self, prefix: str) -> Iterator[Version]: ...
    def get_version(self, version: Version) -> bytes: ...
    def remove_version(self, version: Version) -> None: ...
    def put_over(self, key: str, data: bytes) -> None: ...


class VersionsAsOf:
    """An ObjectReader over a bucket's versions: as it stood at `time` (milliseconds UTC, by the store's clock), or,
    without a time, the first version of every key."""

    def __init__(self, store: VersionedStore, time: int | None = None) -> None:
        self._store = store
        self._chosen: dict[str, Version] = {}
        for key, versions in _by_key(store.versions("")):
            found = first_version(versions) if time is None else newest_at(versions, time)
            if found is not None and not found.is_marker:
                self._chosen[key] = found

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        version = self._chosen.get(key)
        if version is None:
            raise missing(key)
        data = self._store.get_version(version)
        return data[start : None if length is None else start + length]

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        for key in sorted(self._chosen):
            if key.startswith(prefix) and key > after:
                yield Stored(key, self._chosen[key].size_bytes, self._chosen[key].modified)


def _by_key(versions: Iterable[Version]) -> Iterator[tuple[str, list[Version]]]:
    for key, found in groupby(sorted(versions, key=lambda v: v.key), key=lambda v: v.key):
        yield key, list(found)


def first_version(versions: Iterable[Version]) -> Version | None:
    """The oldest that is no deletion marker: what was written under a key that is written once.

    The last of those listed, newest first: times alone do not tell, since a store may count in seconds.
    """
    return next(iter(v for v in reversed(list(versions)) if not v.is_marker), None)


def newest_at(versions: Iterable[Version], time: int) -> Version | None:
    """What readers saw at a time; a marker where the object was deleted then."""
    return max(
        (v for v in versions if v.modified <= time), key=lambda v: (v.modified, v.is_latest), default=None
    )


class Hidden(NamedTuple):
    """An object that readers do not see as it was written."""

    key: str
    original: Version
    markers: tuple[Version, ...]
    """Deletion markers above it; taking them away shows it again if nothing was written over it."""
    overwritten: bool


def plan_repair(versions: Iterable[Version], needs: Needed, time: int | None = None) -> list[Hidden]:
    """Of the objects that the archive needs, those whose newest version is not their first, or the one of `time`."""
    found = []
    for key, held in _by_key(versions):
        original = first_version(held) if time is None else newest_at(held, time)
        if original is None or original.is_marker or original.is_latest or not is_needed(key, needs):
            continue
        newer = [v for v in held if v is not original and (time is None or v.modified > time)]
        markers = tuple(v for v in newer if v.is_marker)
        found.append(Hidden(key, original, markers, len(markers) < len(newer)))
    return found


@dataclass
class Repaired:
    """What a repair did. `lost`: keys whose first version is not what the key says; another copy has to be found."""

    undeleted: int = 0
    rewritten: int = 0
    lost: list[str] = field(default_factory=list)


def repair(store: VersionedStore, hidden: Iterable[Hidden], digests: Mapping[str, bytes]) -> Repaired:
    """Brings each object back. `digests`: of the stored bytes that the archive names, by key. Raises Refused where the
    credential may not, StoreUnavailable."""
    done = Repaired()
    for key, original, markers, overwritten in hidden:
        data = store.get_version(original)
        wanted = digests.get(key) or bytes.fromhex(key_digest(key) or "")
        if wanted and hashlib.sha256(data).digest() != wanted:
            done.lost.append(key)
        elif overwritten:
            store.put_over(key, data)
            done.rewritten += 1
        else:
            for marker in markers:
                store.remove_version(marker)
            done.undeleted += 1
    return done
