"""Proofs of consistency: between any two checkpoints, and against anything else in the file."""

from __future__ import annotations

import hashlib
from itertools import combinations_with_replacement

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.errors import ArchiveDiverged, BadInput
from replicator import merkle
from replicator.auditing.consistency import Leaves, check_consistency, prove
from replicator.note import Signer
from replicator.outcome import Outcome
from tests.archives import SIGNER, World
from tests.examples import examples
from tests.tampering import world_with_everything

VERIFIERS = [SIGNER.verifier]

# The inputs of the reference tree of certificate-transparency (RFC 6962), and the proofs that it gives.
RFC_LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
RFC_PROOFS = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


@pytest.fixture(scope="module")
def leaves() -> Leaves:
    return Leaves(world_with_everything(pruned=True).store, VERIFIERS)


@pytest.mark.parametrize(("sizes", "wanted"), RFC_PROOFS.items())
def test_the_reference_vectors_of_rfc_6962(sizes, wanted):
    old, new = sizes
    hashes = [hashlib.sha256(b"\0" + leaf).digest() for leaf in RFC_LEAVES]
    proof = merkle.consistency_proof(hashes[:new], old)
    assert [step.hex() for step in proof] == wanted
    roots = merkle.root(hashes[:old]), merkle.root(hashes[:new])
    assert merkle.consistent(old, roots[0], new, roots[1], proof)


def test_any_two_checkpoints(leaves):
    for old, new in combinations_with_replacement(range(1, len(leaves.notes) + 1), 2):
        data = prove(leaves, leaves.note(old), leaves.note(new))
        assert check_consistency(data, SIGNER.verifier, "proof").outcome is Outcome.OK


@settings(max_examples=examples(200))
@given(at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_any_edit_of_a_proof_shows(leaves, at, bit):
    data = bytearray(prove(leaves, leaves.note(5), leaves.note(12)))
    at %= len(data) - 1
    data[at] ^= 1 << bit
    try:
        assert check_consistency(bytes(data), SIGNER.verifier, "proof").outcome is Outcome.INVALID
    except BadInput:
        return  # it does not even look like one


def test_a_note_of_another_history_has_no_proof(leaves):
    other = World()
    other.write(99)
    other.ship()
    note = other.index().head.note
    with pytest.raises(ArchiveDiverged):
        prove(leaves, note, leaves.note(3))


def test_another_key_verifies_nothing(leaves):
    data = prove(leaves, leaves.note(1), leaves.note(2))
    other = Signer(SIGNER.verifier.name, bytes(32)).verifier
    assert check_consistency(data, other, "proof").outcome is Outcome.INVALID
