"""How an archive's tree grew from one size on: what a consistency proof for a witness is made of.

The proof from an old size needs the frontier of the old tree, which is O(log n) hashes and stands in the manifests, and
the leaves since. So neither the past nor the log is read: only the checkpoints behind the one that the witness saw
last, each checked as an auditor checks it, and no leaf is kept that the witness has seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from replicator.archive_index import ArchiveIndex
from replicator.checkpoints import Read, checkpoints_after, first_fitting, signed_head
from replicator.config import read_config
from replicator.joined import Checkpoint
from replicator.manifest import Head, advance, first_head, manifest_leaf, parse_manifest, resume
from replicator.merkle import Frontier, leaf_hash, root
from replicator.note import SignedHead

STRIDE = 10_000
"""Checkpoints that are read before the witness is asked: it is caught up with in strides, in bounded memory."""


class Growth:
    """The tree from a base size up to checkpoint `head`."""

    def __init__(self, head: Head, base: Frontier | None = None) -> None:
        self.head = head
        self.base = (base or head.tree).copy()
        self._leaves: list[bytes] = []
        """Hashes of the leaves from the base on."""

    @property
    def size(self) -> int:
        return self.head.tree.size

    def add(self, read: Read) -> None:
        """The next checkpoint. Raises Corrupt, ArchiveGap or ArchiveDiverged where it does not follow."""
        before, fitting = self.head, b""

        def follow(data: bytes) -> Head:
            nonlocal fitting
            fitting = data
            return advance(before, data, read.note, read.signed)

        head = first_fitting(read, follow)
        assert head.manifest is not None
        self._leaves += [leaf_hash(entry.leaf()) for entry in head.manifest.entries]
        self._leaves.append(manifest_leaf(head.n, fitting))
        self.head = head

    def forget(self, size: int) -> None:
        """No proof from a smaller tree than this is wanted any more."""
        gone = min(size, self.size) - self.base.size
        if gone > 0:
            for leaf in self._leaves[:gone]:
                self.base.append(leaf)
            del self._leaves[:gone]

    def reaches(self, old: int) -> bool:
        """Whether the proof from a tree of `old` leaves can be made."""
        return old == 0 or self.base.size <= old <= self.size

    def proof(self, old: int) -> list[bytes]:
        """The consistency proof from a tree of `old` leaves to the head's: empty from nothing, as C2SP has it."""
        assert self.reaches(old)
        if old == 0:
            return []
        grown = self.base.copy()
        known = old - grown.size
        for leaf in self._leaves[:known]:
            grown.append(leaf)
        return proof_from_frontier(grown, self._leaves[known:])


def proof_from_frontier(old: Frontier, new: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n]) of RFC 6962, section 2.1.2, from the frontier of the first m leaves and the leaf hashes since.

    On the way down to leaf m everything to the left is a complete subtree of the old tree, largest first, which is its
    frontier, and everything to the right consists of new leaves.
    """
    left = list(old.hashes)
    first, start, stop = old.size, 0, old.size + len(new)
    path: list[bytes] = []
    while stop > first:
        split = start + (1 << ((stop - start - 1).bit_length() - 1))
        if first <= split:
            path.append(root(new[split - first : stop - first]))
            stop = split
        else:
            path.append(left.pop(0))
            start = split
    if start > 0:
        path += left  # the one that ends in leaf m; where it is the whole old tree, the verifier has it
    return path[::-1]


def growth_from(index: ArchiveIndex, size: int) -> Growth:
    """From the newest checkpoint with at most `size` leaves on, nothing read behind it yet; 0: from the newest at all.

    Raises as `open_archive`.
    """
    if size == 0 or size >= index.head.tree.size:
        return Growth(index.head)
    reached = [entry for entry in index.joined if entry.first.leaves <= size]
    growth = Growth(first_head(read_config(index.store)[1], index.config.verifier))
    if reached:
        fitting = [c for c in index.checkpoints(reached[-1]) if _leaves(c) <= size]
        growth = Growth(_resumed(index, fitting[-1]))
    if len(reached) == len(index.joined):
        for read in _behind(index, growth.head.n):
            if read.signed.size > size:
                break
            growth.add(read)
            growth.forget(read.signed.size)
    return growth


def read_on(growth: Growth, index: ArchiveIndex, limit: int = STRIDE) -> None:
    """Adds up to `limit` of the checkpoints between the growth's head and the index's. Raises as `open_archive`."""
    if growth.head.n < index.head.n:
        for read in islice(_behind(index, growth.head.n), limit):
            growth.add(read)


def _behind(index: ArchiveIndex, n: int) -> Iterator[Read]:
    """The checkpoints behind number n up to the index's newest: from joined objects as far as there are any."""
    for entry in index.joined:
        if entry.last.n > n:
            for found in index.checkpoints(entry):
                if found.n > n:
                    yield Read(found.n, found.note, _signed(index, found), [found.manifest])
            n = entry.last.n
    if n < index.head.n:
        for read in checkpoints_after(index.store, n, index.config.origin, index.keys):
            if read.n > index.head.n:
                return
            yield read


def _signed(index: ArchiveIndex, found: Checkpoint) -> SignedHead:
    return signed_head(found.note, found.n, index.config.origin, index.keys)


def _resumed(index: ArchiveIndex, found: Checkpoint) -> Head:
    return resume(found.manifest, found.note, _signed(index, found), found.n, index.config.verifier)


def _leaves(found: Checkpoint) -> int:
    manifest = parse_manifest(found.manifest, f"the manifest of checkpoint {found.n}")
    return manifest.before.size + len(manifest.entries) + 1
