"""Merkle trees: the vectors of Certificate Transparency, and proofs that only true claims pass."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import BadInput
from replicator import merkle

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CONSISTENCY = {
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
}
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]

counts = st.integers(1, 70)


def hashes_of(size):
    return [merkle.leaf_hash(b"%d" % n) for n in range(size)]


def by_the_book(leaves):
    """MTH of RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + by_the_book(leaves[:k]) + by_the_book(leaves[k:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_known_roots(size):
    assert merkle.root(HASHES[:size]).hex() == ROOTS[size]
    frontier = merkle.Frontier()
    for leaf in HASHES[:size]:
        frontier.append(leaf)
    assert frontier.root().hex() == ROOTS[size]


def test_known_proofs():
    for (index, size), want in INCLUSION.items():
        assert [h.hex() for h in merkle.inclusion_proof(HASHES[:size], index)] == want
    for (old, size), want in CONSISTENCY.items():
        assert [h.hex() for h in merkle.consistency_proof(HASHES[:size], old)] == want


@given(counts)
def test_root_and_frontier_agree_with_the_definition(size):
    leaves = hashes_of(size)
    frontier = merkle.Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    assert merkle.root(leaves) == frontier.root() == by_the_book(leaves)
    assert len(frontier.hashes) == size.bit_count()
    resumed = merkle.Frontier(frontier.size, frontier.hashes)
    assert resumed == frontier
    resumed.append(HASHES[0])
    assert resumed.root() == by_the_book([*leaves, HASHES[0]])
    assert frontier.size == size


@given(counts, st.data())
def test_inclusion_is_proved_and_nothing_else_passes(size, data):
    leaves = hashes_of(size)
    index = data.draw(st.integers(0, size - 1))
    root, proof = merkle.root(leaves), merkle.inclusion_proof(leaves, index)
    assert merkle.root_from_inclusion(leaves[index], index, size, proof) == root
    assert merkle.root_from_inclusion(HASHES[0], index, size, proof) != root
    assert merkle.root_from_inclusion(leaves[index], index, size, [*proof, HASHES[0]]) != root
    if proof:
        assert merkle.root_from_inclusion(leaves[index], index, size, proof[:-1]) != root
        other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index))
        assert merkle.root_from_inclusion(leaves[index], other, size, proof) != root


@given(counts, st.data())
def test_consistency_is_proved_and_nothing_else_passes(size, data):
    leaves = hashes_of(size)
    old = data.draw(st.integers(1, size))
    roots = merkle.root(leaves[:old]), merkle.root(leaves)
    proof = merkle.consistency_proof(leaves, old)
    assert merkle.consistent(old, roots[0], size, roots[1], proof)
    assert not merkle.consistent(old, HASHES[0], size, roots[1], proof)
    assert not merkle.consistent(old, roots[0], size, HASHES[0], proof)
    assert not merkle.consistent(old, roots[0], size, roots[1], [*proof, HASHES[0]])
    if proof:
        assert not merkle.consistent(old, roots[0], size, roots[1], proof[:-1])
        assert not merkle.consistent(old, roots[0], size, roots[1], [HASHES[0], *proof[1:]])


def test_what_is_no_tree_is_refused():
    for size, hashes in ((1, []), (2, [HASHES[0]] * 2), (-1, []), (1, [b"short"])):
        with pytest.raises(BadInput):
            merkle.Frontier(size, hashes)
    with pytest.raises(BadInput):
        merkle.inclusion_proof(HASHES, 8)
    with pytest.raises(BadInput):
        merkle.consistency_proof(HASHES, 9)


@given(counts, st.data())
def test_many_paths_in_one_pass_are_those_of_rfc_6962(size, data):
    hashes = hashes_of(size)
    wanted = data.draw(st.sets(st.integers(0, size - 1)))
    root, paths = merkle.root_and_paths(hashes, wanted)
    assert root == merkle.root(hashes)
    assert paths == {index: merkle.inclusion_proof(hashes, index) for index in wanted}
    with pytest.raises(BadInput):
        merkle.root_and_paths(hashes, [size])


def test_known_paths_in_one_pass():
    root, paths = merkle.root_and_paths(HASHES, [0, 5])
    assert root.hex() == ROOTS[8]
    assert {(index, 8): [step.hex() for step in path] for index, path in paths.items()} == INCLUSION
