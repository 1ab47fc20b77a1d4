"""Merkle trees as in RFC 6962, section 2.1: roots, growing by a frontier, and proofs.

A leaf is hashed with 0x00 before it and a node with 0x01, so that neither can pass for the other. The frontier of a
tree is the hashes of its complete subtrees, largest first: O(log n) hashes from which it can grow without its leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from events.errors import BadInput

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

_sha256 = hashlib.sha256


def leaf_hash(leaf: bytes) -> bytes:
    return _sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return _sha256(b"\1" + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes: level by level, an odd one rising as it is, which is RFC 6962's tree."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def _above(level: list[bytes]) -> list[bytes]:
    sha256 = _sha256
    odd = [level.pop()] if len(level) % 2 else []
    pairs = iter(level)
    return [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)] + odd


def root_and_paths(hashes: Sequence[bytes], wanted: Iterable[int]) -> tuple[bytes, dict[int, list[bytes]]]:
    """The root over leaf hashes, and the audit path of each wanted leaf: one pass, however many are wanted."""
    paths: dict[int, list[bytes]] = {index: [] for index in wanted}
    if not all(0 <= index < len(hashes) for index in paths):
        raise BadInput(f"a tree of {len(hashes)} leaves does not have all of those")
    level, places = list(hashes), {index: index for index in paths}
    while len(level) > 1:
        for index, place in places.items():
            if place ^ 1 < len(level):
                paths[index].append(level[place ^ 1])
            places[index] = place >> 1
        level = _above(level)
    return (level[0] if level else EMPTY_ROOT), paths


class Frontier:
    """A tree that grows: its size and the hashes of its complete subtrees, largest first."""

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if size < 0 or len(self.hashes) != size.bit_count() or any(len(h) != HASH_BYTES for h in self.hashes):
            raise BadInput("this frontier does not belong to a tree of this size")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frontier) and (self.size, self.hashes) == (other.size, other.hashes)

    def __hash__(self) -> int:
        return hash((self.size, *self.hashes))

    def append(self, leaf: bytes) -> None:
        """Adds a leaf hash."""
        carry = leaf
        size = self.size
        while size & 1:
            carry = node_hash(self.hashes.pop(), carry)
            size >>= 1
        self.hashes.append(carry)
        self.size += 1

    def root(self) -> bytes:
        if not self.hashes:
            return EMPTY_ROOT
        *older, result = self.hashes
        for left in reversed(older):
            result = node_hash(left, result)
        return result

    def copy(self) -> Frontier:
        return Frontier(self.size, self.hashes)


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, D[n]) of RFC 6962, section 2.1.1: the audit path of a leaf, from the leaf to the root."""
    size = len(hashes)
    if not 0 <= index < size:
        raise BadInput(f"a tree of {size} leaves has no leaf {index}")
    if size == 1:
        return []
    split = _split(size)
    if index < split:
        return [*inclusion_proof(hashes[:split], index), root(hashes[split:])]
    return [*inclusion_proof(hashes[split:], index - split), root(hashes[:split])]


def consistency_proof(hashes: Sequence[bytes], old: int) -> list[bytes]:
    """PROOF(old, D[n]) of RFC 6962, section 2.1.2: that the tree of the first `old` leaves is a prefix."""
    if not 0 < old <= len(hashes):
        raise BadInput(f"a tree of {len(hashes)} leaves never had {old}")
    return _subproof(hashes, old, whole=True)


def _subproof(hashes: Sequence[bytes], old: int, whole: bool) -> list[bytes]:
    size = len(hashes)
    if old == size:
        return [] if whole else [root(hashes)]
    split = _split(size)
    if old <= split:
        return [*_subproof(hashes[:split], old, whole), root(hashes[split:])]
    return [*_subproof(hashes[split:], old - split, whole=False), root(hashes[:split])]


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that an audit path leads to (RFC 9162, section 2.1.3.2), None where the path does not fit."""
    if not 0 <= index < size:
        return None
    node, last, result = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return None
        if node & 1 or node == last:
            result = node_hash(step, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, step)
        node, last = node >> 1, last >> 1
    return result if last == 0 else None


def consistent(old: int, old_root: bytes, size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the old tree is a prefix of the new one (RFC 9162, section 2.1.4.2)."""
    if old == size:
        return not proof and old_root == new_root
    if not 0 < old < size:
        return False
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = path[0]
    for step in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, step)
        node, last = node >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _split(size: int) -> int:
    """The largest power of two that is smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)
