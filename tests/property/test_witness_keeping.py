"""Law 7, the witness's part: whenever it is killed and whatever it is asked, it never cosigns two trees of one size.

The clinic here is the adversary: it has two histories, both signed with its own key, and asks for whatever it likes.
"""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.durable import put_durably
from events.errors import BadConfiguration, Corrupt, Refused
from replicator.merkle import consistency_proof, leaf_hash, root
from replicator.note import Signer, TreeHead, head_text, parse_head, sign_note
from replicator.witnessing.cosignature import cosigned
from replicator.witnessing.deciding import Refusal, admit
from replicator.witnessing.keeping import WitnessFolder
from replicator.witnessing.request import AddCheckpoint
from tests.systems import Died

ORIGIN = "rekam/a/b"
clinic = Signer("rekam/a", b"1" * 32)
COMMON = 4
HISTORIES = [
    [leaf_hash(b"%d" % n if n < COMMON else b"%d of %d" % (n, which)) for n in range(16)]
    for which in range(2)
]


class DyingPut:
    """Puts a file in place as `put_durably` does; the process dies at the step that a test says (0: never)."""

    def __init__(self) -> None:
        self.die_at = 0

    def __call__(self, path: Path, data: bytes) -> None:
        fresh = path.with_name(f".{path.name}.half")
        if self.die_at == 1:
            raise Died
        fresh.write_bytes(data[: len(data) // 2] if self.die_at == 2 else data)
        if self.die_at in (2, 3):
            raise Died
        fresh.replace(path)
        if self.die_at == 4:
            raise Died


class Witness:
    """A witness that is started again after each death, and all the cosigned notes that ever left it."""

    def __init__(self, path: Path, put=put_durably) -> None:
        self.path = path
        self.put = put
        WitnessFolder.create(path, "notary", lambda n: bytes(n)).trust(ORIGIN, clinic.verifier)
        self.given: list[bytes] = []

    def ask(self, leaves: list[bytes], old: int, size: int) -> bytes | Refusal:
        note = sign_note(head_text(TreeHead(ORIGIN, size, root(leaves[:size]))), [clinic])
        proof = consistency_proof(leaves[:size], old) if 0 < old <= size else []
        folder = WitnessFolder.open(self.path)
        folder._put = self.put
        admitted = admit(AddCheckpoint(old, proof, note).to_bytes(), folder.trusted())
        if isinstance(admitted, Refusal):
            return admitted
        answer = folder.add(admitted, 1)
        if isinstance(answer, bytes):
            self.given.append(note + answer)
        return answer

    def newest(self) -> TreeHead | None:
        note = WitnessFolder.open(self.path).newest(ORIGIN)
        return parse_head(note.partition(b"\n\n")[0] + b"\n") if note else None


def holds(witness: Witness) -> None:
    """Every cosigned note that left is genuine, and all of them are of one growing tree, no newer than what is kept."""
    key = WitnessFolder.open(witness.path).cosigner.key
    heads = []
    for note in witness.given:
        text, times = cosigned(note, [key])
        assert times
        heads.append(parse_head(text))
    roots: dict[int, bytes] = {}
    for head in heads:
        assert roots.setdefault(head.size, head.root) == head.root
    assert [h.size for h in heads] == sorted(h.size for h in heads)
    newest = witness.newest()
    if heads:
        assert newest is not None
        fits = [
            leaves for leaves in HISTORIES if all(root(leaves[: h.size]) == h.root for h in (*heads, newest))
        ]
        assert fits, "no history has all that was cosigned"


asks = st.tuples(st.integers(0, 1), st.integers(0, 16), st.integers(1, 16), st.integers(0, 4), st.booleans())


@given(st.lists(asks, max_size=25))
def test_whenever_it_dies_it_never_cosigns_two_trees_of_one_size(steps) -> None:
    with TemporaryDirectory() as folder:
        put = DyingPut()
        witness = Witness(Path(folder), put)
        for which, old, size, put.die_at, from_newest in steps:
            newest = witness.newest()
            try:
                witness.ask(HISTORIES[which], newest.size if from_newest and newest else old, size)
            except Died:
                pass
            holds(witness)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 16)), min_size=1, max_size=10))
def test_an_honest_history_goes_on_after_any_death(steps) -> None:
    """Being killed costs nothing but the answer: the size that is kept is where the next request goes on."""
    with TemporaryDirectory() as folder:
        put = DyingPut()
        witness = Witness(Path(folder), put)
        for die_at, size in ((4 * dies, size) for dies, size in steps):
            newest = witness.newest()
            old = newest.size if newest else 0
            put.die_at = die_at
            try:
                answer = witness.ask(HISTORIES[0], old, max(old, size))
            except Died:
                continue
            assert isinstance(answer, bytes)
        holds(witness)


def test_of_two_histories_asked_for_at_once_one_is_cosigned(tmp_path: Path) -> None:
    """The lock holds between folders opened apart, as two processes would."""
    for round_ in range(10):
        witness = Witness(tmp_path / str(round_))
        start = threading.Barrier(8)

        def ask(which: int, witness: Witness = witness, start: threading.Barrier = start) -> None:
            start.wait()
            for old, size in ((0, 6), (6, 9), (9, 16)):
                witness.ask(HISTORIES[which], old, size)

        threads = [threading.Thread(target=ask, args=(n % 2,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        witness.given.sort(key=lambda note: int(note.split(b"\n")[1]))
        assert witness.given
        holds(witness)


def test_a_folder_that_lost_what_it_kept_cosigns_nothing(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    assert isinstance(witness.ask(HISTORIES[0], 0, 9), bytes)
    (newest,) = tmp_path.glob("origins/*/newest.note")
    kept = newest.read_bytes()
    for damaged in (kept[:-1], kept.replace(b"\n9\n", b"\n8\n"), kept.rpartition("—".encode())[0]):
        newest.write_bytes(damaged)
        with pytest.raises(Corrupt):
            witness.ask(HISTORIES[1], 0, 9)
    newest.unlink()
    with pytest.raises(Corrupt, match="is gone"):
        witness.ask(HISTORIES[1], 0, 9)
    newest.write_bytes(kept)
    assert isinstance(witness.ask(HISTORIES[0], 9, 12), bytes)


def test_trusting_twice_is_once_and_a_second_key_is_added_or_takes_the_place_of_the_first(
    tmp_path: Path,
) -> None:
    folder = WitnessFolder.create(tmp_path, "notary")
    second = Signer("rekam/a", b"2" * 32).verifier
    for verifier in (clinic.verifier, clinic.verifier, second):
        folder.trust(ORIGIN, verifier)
    assert folder.trusted() == {ORIGIN: [clinic.verifier, second]}
    folder.trust(ORIGIN, second, only=True)
    assert folder.trusted() == {ORIGIN: [second]}
    assert folder.newest(ORIGIN) == b""


def test_what_no_witness_takes(tmp_path: Path) -> None:
    folder = WitnessFolder.create(tmp_path, "notary", lambda n: b"w" * n)
    for origin in ("", "two\nlines", "x" * 256):
        with pytest.raises(BadConfiguration):
            folder.trust(origin, clinic.verifier)
    with pytest.raises(Refused):
        folder.trust(ORIGIN, Signer("notary", b"w" * 32).verifier)
    with pytest.raises(Refused):
        WitnessFolder.create(tmp_path, "notary")
    with pytest.raises(BadConfiguration):
        WitnessFolder.open(tmp_path / "nowhere")
