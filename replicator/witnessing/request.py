"""The add-checkpoint request of C2SP tlog-witness, written and read.

`old N`, the hashes of a consistency proof in base64, an empty line, and the checkpoint's note; every line ends in a
newline, and each has one way to be written.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from events.errors import BadInput
from replicator.merkle import HASH_BYTES
from replicator.note import decode64

MAX_PROOF_HASHES = 63
MAX_REQUEST_BYTES = 64 * 1024
"""A proof of 63 hashes and a note with many signatures fit several times."""
_OLD = re.compile(rb"old (0|[1-9][0-9]{0,18})\Z")


@dataclass(frozen=True)
class AddCheckpoint:
    """`old` is the size that the witness should have seen last; `proof` shows that the note's tree grew from it."""

    old: int
    proof: Sequence[bytes]
    note: bytes

    def to_bytes(self) -> bytes:
        lines = [f"old {self.old}", *(base64.b64encode(step).decode() for step in self.proof), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note


def parse_request(body: bytes) -> AddCheckpoint:
    """Raises BadInput."""
    if len(body) > MAX_REQUEST_BYTES:
        raise BadInput(f"a request has at most {MAX_REQUEST_BYTES} bytes")
    head, blank, note = body.partition(b"\n\n")
    first, *rest = head.split(b"\n")
    old = _OLD.match(first)
    if old is None or not blank:
        raise BadInput("a request begins with 'old N', proof lines and an empty line")
    if len(rest) > MAX_PROOF_HASHES:
        raise BadInput(f"a proof has at most {MAX_PROOF_HASHES} hashes")
    return AddCheckpoint(int(old[1]), [_hash(line) for line in rest], note)


def _hash(line: bytes) -> bytes:
    found = decode64(line.decode("ascii", errors="replace"))
    if found is None or len(found) != HASH_BYTES:
        raise BadInput("a proof line is one hash in base64")
    return found
