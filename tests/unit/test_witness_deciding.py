"""What a witness answers, case by case as C2SP tlog-witness has it, and for every pair of sizes of a growing tree."""

from __future__ import annotations

import base64
from http import HTTPStatus

import pytest

from events.errors import BadInput
from replicator.merkle import EMPTY_ROOT, consistency_proof, leaf_hash, root
from replicator.note import Signer, TreeHead, head_text, sign_note
from replicator.witnessing.deciding import Refusal, Submitted, admit, decide
from replicator.witnessing.request import MAX_REQUEST_BYTES, AddCheckpoint, parse_request

ORIGIN = "rekam/a/b"
clinic, stranger = Signer("rekam/a", b"1" * 32), Signer("rekam/x", b"2" * 32)
TRUSTED = {ORIGIN: [clinic.verifier]}
LEAVES = [leaf_hash(b"%d" % n) for n in range(20)]
FORKED = [*LEAVES[:5], *(leaf_hash(b"other %d" % n) for n in range(15))]
# The example of the specification, but for its key.
EXAMPLE = b"""old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

"""


def head(leaves: list[bytes], size: int) -> TreeHead:
    return TreeHead(ORIGIN, size, root(leaves[:size]))


def asked(leaves: list[bytes], old: int, size: int, *, signer: Signer = clinic) -> AddCheckpoint:
    proof = consistency_proof(leaves[:size], old) if 0 < old <= size else []
    return AddCheckpoint(old, proof, sign_note(head_text(head(leaves, size)), [signer]))


def answered(newest: TreeHead | None, request: AddCheckpoint) -> Refusal | None:
    admitted = admit(request.to_bytes(), TRUSTED)
    return admitted if isinstance(admitted, Refusal) else decide(newest, admitted)


def test_the_specifications_example_is_read_and_written_alike() -> None:
    note = sign_note(EXAMPLE.split(b"\n\n")[1] + b"\n", [clinic])
    body = EXAMPLE.split(b"\n\n")[0] + b"\n\n" + note
    found = parse_request(body)
    assert (found.old, len(found.proof), found.note) == (20852014, 4, note)
    assert found.to_bytes() == body


@pytest.mark.parametrize("size", range(1, 21))
def test_a_tree_that_grew_is_cosigned_from_every_size(size: int) -> None:
    assert answered(None, asked(LEAVES, 0, size)) is None
    for old in range(1, size + 1):
        assert answered(head(LEAVES, old), asked(LEAVES, old, size)) is None


@pytest.mark.parametrize("size", range(6, 21))
def test_a_forked_tree_is_refused_from_every_size(size: int) -> None:
    for old in range(6, size + 1):
        found = answered(head(LEAVES, old), asked(FORKED, old, size))
        assert found is not None
        want = HTTPStatus.CONFLICT if old == size else HTTPStatus.UNPROCESSABLE_ENTITY
        assert found.status == want


def test_another_old_size_is_told_the_newest() -> None:
    for newest, size in ((None, 0), (head(LEAVES, 7), 7)):
        for old in {0, 3, 9} - {size}:
            found = answered(newest, asked(LEAVES, old, 12))
            assert found == Refusal(HTTPStatus.CONFLICT, f"{size}\n", "text/x.tlog.size")


def test_a_shorter_tree_is_told_the_newest() -> None:
    for old in range(9):
        found = answered(head(LEAVES, 12), asked(LEAVES, old, 8))
        assert found == Refusal(HTTPStatus.CONFLICT, "12\n", "text/x.tlog.size")


def test_a_proof_where_none_belongs() -> None:
    for old, newest in ((0, None), (8, head(LEAVES, 8))):
        request = asked(LEAVES, old, 8)
        found = answered(newest, AddCheckpoint(old, [LEAVES[0]], request.note))
        assert found is not None and found.status == HTTPStatus.UNPROCESSABLE_ENTITY


def test_the_empty_tree() -> None:
    empty = sign_note(head_text(TreeHead(ORIGIN, 0, EMPTY_ROOT)), [clinic])
    assert answered(None, AddCheckpoint(0, [], empty)) is None
    other = sign_note(head_text(TreeHead(ORIGIN, 0, LEAVES[0])), [clinic])
    found = answered(None, AddCheckpoint(0, [], other))
    assert found is not None and found.status == HTTPStatus.CONFLICT


def test_who_signed_and_what_is_known() -> None:
    for request, status in (
        (asked(LEAVES, 0, 8, signer=stranger), HTTPStatus.FORBIDDEN),
        (asked(LEAVES, 0, 8, signer=Signer("rekam/a", b"9" * 32)), HTTPStatus.FORBIDDEN),
        (asked(LEAVES, 9, 8), HTTPStatus.BAD_REQUEST),
    ):
        found = answered(None, request)
        assert found is not None and found.status == status
    unknown = sign_note(head_text(TreeHead("rekam/z/z", 3, LEAVES[0])), [clinic])
    found = answered(None, AddCheckpoint(0, [], unknown))
    assert found is not None and found.status == HTTPStatus.NOT_FOUND
    changed = asked(LEAVES, 0, 8).note.replace(b"\n8\n", b"\n9\n")
    found = answered(None, AddCheckpoint(0, [], changed))
    assert found is not None and found.status == HTTPStatus.FORBIDDEN


def test_of_a_note_only_trusted_signatures_are_kept() -> None:
    text = head_text(head(LEAVES, 8))
    found = admit(AddCheckpoint(0, [], sign_note(text, [stranger, clinic])).to_bytes(), TRUSTED)
    assert isinstance(found, Submitted)
    assert found.note == sign_note(text, [clinic])


GOOD = asked(LEAVES, 3, 8).to_bytes()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 3",
        b"old 3\n\n",
        b"\n\n" + GOOD,
        GOOD.replace(b"old 3", b"old 03"),
        GOOD.replace(b"old 3", b"old -3"),
        GOOD.replace(b"old 3", b"old  3"),
        GOOD.replace(b"old 3", "old ٣".encode()),
        GOOD.replace(b"old 3", b"old " + b"9" * 30),
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"=\n", b"\n"),
        GOOD[:-1],
        b"old 3\n" + base64.b64encode(b"short") + b"\n" + GOOD[6:],
        b"old 3\n" + (base64.b64encode(LEAVES[0]) + b"\n") * 64 + b"\n" + asked(LEAVES, 0, 8).note,
        GOOD + b"x" * MAX_REQUEST_BYTES,
        b"old 3\n\xff\n\n" + asked(LEAVES, 0, 8).note,
        b"old 0\n\nrekam/a/b\nmany\nroots\n\n" + b"\xe2\x80\x94 a AAAAAAAA\n",
    ],
)
def test_what_is_no_request(body: bytes) -> None:
    found = admit(body, TRUSTED)
    assert isinstance(found, Refusal)
    assert found.status == HTTPStatus.BAD_REQUEST


def test_sixty_three_hashes_are_read() -> None:
    body = b"old 3\n" + (base64.b64encode(LEAVES[0]) + b"\n") * 63 + b"\n" + asked(LEAVES, 0, 8).note
    assert len(parse_request(body).proof) == 63
    with pytest.raises(BadInput):
        parse_request(b"new 3\n\n")
