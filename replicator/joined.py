"""Checkpoints joined: the notes and manifests of many consecutive ones in one object, byte for byte.

An archive that ships every few seconds makes millions of checkpoints in ten years. The small objects of one expire
after some days; what they held stays here, so that every note can be verified and every leaf hashed for as long as
the archive stands, and listing it names a few thousand objects. docs/archive-format.md fixes the format.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from events.avro_reading import MALFORMED, compile_rows_reader
from events.avro_writing import compile_tuple_writer
from events.errors import Corrupt
from replicator.canonical import canonical
from replicator.container import Block, read_container, write_container
from replicator.manifest import CHECKPOINTS

JOINED = f"{CHECKPOINTS}merged/"
BLOCK_BYTES = 1024 * 1024
_KEY = re.compile(r"checkpoints/merged/([0-9]{12})-([0-9]{12})-[0-9a-f]{64}\Z")

SCHEMA = {
    "type": "record",
    "name": "Checkpoint",
    "namespace": "id.rekam.archive",
    "fields": [
        {"name": "n", "type": "long"},
        {"name": "note", "type": "bytes"},
        {"name": "manifest", "type": "bytes"},
    ],
}


class Checkpoint(NamedTuple):
    """One checkpoint's objects: its note and the manifest that the note's tree ends in."""

    n: int
    note: bytes
    manifest: bytes


def join_checkpoints(checkpoints: Sequence[Checkpoint]) -> bytes:
    """The object of some consecutive checkpoints."""
    write = compile_tuple_writer(SCHEMA, b"")
    rows = [write(checkpoint) for checkpoint in checkpoints]
    sync = hashlib.sha256(b"rekam checkpoints\0" + b"".join(rows)).digest()[:16]
    return write_container(canonical(SCHEMA), sync, _blocks(rows))


def _blocks(rows: Sequence[bytes]) -> Iterator[Block]:
    start = size = 0
    for n, row in enumerate(rows, 1):
        size += len(row)
        if size >= BLOCK_BYTES or n == len(rows):
            yield Block(n - start, b"".join(rows[start:n]))
            start, size = n, 0


def split_checkpoints(data: bytes, where: str) -> list[Checkpoint]:
    """The checkpoints of a joined object. Raises Corrupt naming `where`."""
    schema, blocks = read_container(data, where)
    if schema != SCHEMA:
        raise Corrupt(f"{where} does not hold checkpoints")
    found: list[Checkpoint] = []
    for block in blocks:
        try:
            found += [Checkpoint(*row) for row in _reader()(block.data, block.number)]
        except MALFORMED:
            raise Corrupt(f"{where}: a block does not hold what its schema says") from None
    if not found or [c.n for c in found] != list(range(found[0].n, found[0].n + len(found))):
        raise Corrupt(f"{where} does not hold consecutive checkpoints")
    return found


@lru_cache
def _reader() -> Callable[[bytes, int], list[tuple[Any, ...]]]:
    return compile_rows_reader(SCHEMA)


def joined_key(first: int, last: int, digest: str) -> str:
    return f"{JOINED}{first:012d}-{last:012d}-{digest}"


def joined_range(key: str) -> tuple[int, int] | None:
    """(first, last) of a joined object's key; None for another key."""
    found = _KEY.match(key)
    return (int(found[1]), int(found[2])) if found else None
