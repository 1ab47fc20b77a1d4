"""What a witness answers to an add-checkpoint request: pure. C2SP tlog-witness fixes each status.

Only one tree of each size is ever cosigned for an origin, and each grew from the one cosigned before. So whoever holds
two cosigned notes of one origin that do not fit together has caught the witness, and nobody else can make them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from events.errors import BadInput, Corrupt
from replicator.merkle import EMPTY_ROOT, consistent
from replicator.note import TreeHead, Verifier, open_note, parse_head, signature_line, split_note
from replicator.witnessing.request import AddCheckpoint, parse_request

SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"

Trusted = Mapping[str, Sequence[Verifier]]
"""origin -> the keys that its checkpoints may be signed with."""


@dataclass(frozen=True)
class Refusal:
    """Nothing is cosigned."""

    status: HTTPStatus
    body: str
    content_type: str = TEXT_TYPE


@dataclass(frozen=True)
class Submitted:
    """A request whose note is signed by a key that is trusted for its origin."""

    request: AddCheckpoint
    text: bytes
    head: TreeHead
    note: bytes
    """With the signatures of trusted keys alone."""


def admit(body: bytes, trusted: Trusted) -> Submitted | Refusal:
    """The request, where it is one and of a known archive. What the witness has seen is not asked yet."""
    try:
        request = parse_request(body)
        text, signatures = split_note(request.note)
        head = parse_head(text)
    except (BadInput, Corrupt) as error:
        return Refusal(HTTPStatus.BAD_REQUEST, f"{error.message}\n")
    keys = trusted.get(head.origin)
    if keys is None:
        return Refusal(HTTPStatus.NOT_FOUND, "this witness does not know the origin\n")
    try:
        open_note(request.note, keys)
    except Corrupt:
        return Refusal(HTTPStatus.FORBIDDEN, "no key that is trusted for the origin signed the checkpoint\n")
    if request.old > head.size:
        return Refusal(HTTPStatus.BAD_REQUEST, "the old size is beyond the checkpoint's\n")
    known = {(key.name, key.id) for key in keys}
    lines = [signature_line(*found) for found in signatures if (found.name, found.key_id) in known]
    return Submitted(request, text, head, text + b"\n" + b"".join(lines))


def decide(newest: TreeHead | None, submitted: Submitted) -> Refusal | None:
    """None: it is to be cosigned, once it is kept. `newest`: what was cosigned last for the origin."""
    old, head, proof = submitted.request.old, submitted.head, submitted.request.proof
    size = newest.size if newest else 0
    root = newest.root if newest else EMPTY_ROOT
    if old != size or (head.size == size and head.root != root):
        return Refusal(HTTPStatus.CONFLICT, f"{size}\n", SIZE_TYPE)
    grew = not proof if old == 0 else consistent(old, root, head.size, head.root, proof)
    if not grew:
        return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "the proof does not show that the tree grew\n")
    return None
