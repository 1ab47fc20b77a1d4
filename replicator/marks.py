"""The marks of an archive: those of recent checkpoints in memory, older ones in joined objects, read when asked for.

Only the joined object that a moment falls into is read, since each entry tells where it begins and ends.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import overload

from events.effective import ListedMarks, Mark
from events.errors import Refused
from events.position import Position
from replicator.entries import CheckpointsEntry, End
from replicator.joined import Checkpoint
from replicator.manifest import parse_manifest

Load = Callable[[CheckpointsEntry], ListedMarks]


class ArchiveMarks:
    """See effective.Marks."""

    def __init__(self, older: Sequence[CheckpointsEntry], recent: ListedMarks, load: Load) -> None:
        """`older`: consecutive from checkpoint 1, up to where `recent` begins. `load` raises as `fetching.fetch`."""
        self._older = older
        self._recent = recent
        self._load = load

    def __len__(self) -> int:
        return len(self._recent) + (self._older[-1].last.n if self._older else 0)

    def __iter__(self) -> Iterator[Mark]:
        """All of them, oldest first: reads every joined object."""
        for entry in self._older:
            yield from self._load(entry)
        yield from self._recent

    @property
    def first(self) -> Mark:
        return _mark(self._older[0].first) if self._older else self._recent.first

    @property
    def last(self) -> Mark:
        return self._recent.last if self._recent or not self._older else _mark(self._older[-1].last)

    def numbered(self, n: int) -> Mark:
        """That of checkpoint n. Raises Refused where there is none."""
        if not 1 <= n <= len(self):
            raise Refused(f"there is no checkpoint {n}", f"the archive holds 1 to {len(self)}")
        joined = self._older[-1].last.n if self._older else 0
        if n > joined:
            return self._recent[n - joined - 1]
        entry = self._older[bisect_left(self._older, n, key=lambda entry: entry.last.n)]
        return self._load(entry)[n - entry.first.n]

    def at_or_before(self, time: int) -> Mark | None:
        found = self._recent.at_or_before(time)
        if found is not None:
            return found
        at = bisect_right(self._older, time, key=lambda entry: entry.first.time)
        if not at:
            return None
        entry = self._older[at - 1]
        return _mark(entry.last) if entry.last.time <= time else self._load(entry).at_or_before(time)

    def at_or_after(self, time: int) -> Mark | None:
        at = bisect_left(self._older, time, key=lambda entry: entry.last.time)
        if at == len(self._older):
            return self._recent.at_or_after(time)
        entry = self._older[at]
        return _mark(entry.first) if entry.first.time >= time else self._load(entry).at_or_after(time)

    def unseen(self, offset: int) -> Position:
        if not self._older or (self._recent and self._recent.first.position.control <= offset):
            return self._recent.unseen(offset)
        at = bisect_right(self._older, offset, key=lambda entry: entry.first.position.control)
        if not at:
            return Position()
        entry = self._older[at - 1]
        whole = entry.last.position.control <= offset
        return entry.last.position if whole else self._load(entry).unseen(offset)


class JoinedMarks(Sequence[Mark]):
    """Those of a joined object, each parsed when it is looked at: a day holds thousands, and a moment needs a dozen."""

    def __init__(self, checkpoints: Sequence[Checkpoint], where: str) -> None:
        """Whoever looks at one that is no manifest gets Corrupt naming `where`."""
        self._checkpoints = checkpoints
        self._where = where
        self._parsed: dict[int, Mark] = {}

    def __len__(self) -> int:
        return len(self._checkpoints)

    @overload
    def __getitem__(self, index: int) -> Mark: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mark]: ...
    def __getitem__(self, index: int | slice) -> Mark | Sequence[Mark]:
        if isinstance(index, slice):
            return [self._at(at) for at in range(len(self))[index]]
        return self._at(range(len(self))[index])

    def _at(self, index: int) -> Mark:
        if index not in self._parsed:
            manifest = parse_manifest(self._checkpoints[index].manifest, self._where)
            self._parsed[index] = Mark(manifest.time, manifest.position)
        return self._parsed[index]


def _mark(end: End) -> Mark:
    return Mark(end.time, end.position)
