"""What an entry tells of its segment's records (times, epochs, rewinds, blobs): planning need not open them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from events.blobs import named_by
from events.codec import BODY, MAGIC, UNKNOWN, Control, as_rewind, decode_control, peek_epoch
from events.envelope import Epoch
from events.log import Record
from events.position import CONTROL, Partition
from replicator.entries import epoch_text

_EPOCH = BODY + 16
_EPOCH_END = _EPOCH + 17


class Contents(NamedTuple):
    """What was found in some records of one partition."""

    members: dict[str, Any]
    """For the segment's entry: `time`, `epochs`, `rewinds`, and where there are any, `blobs`."""
    fingerprints: frozenset[bytes]
    """Of the schemas that the values say they are written in, known or not."""
    blobs: tuple[bytes, ...]
    """Digests of the blobs that the records name, in order."""


def contents(partition: Partition, records: Sequence[Record]) -> Contents:
    """Looks at records in offset order; there is at least one."""
    times = [record.time for record in records]
    on_control = partition.topic == CONTROL
    members: dict[str, Any] = {
        "time": {"first": times[0], "last": times[-1], "min": min(times), "max": max(times)},
        "epochs": [] if on_control else [[epoch_text(e), offset] for e, offset in _epochs(records)],
        "rewinds": [[e.hex(), offset] for e, offset in _rewinds(records)] if on_control else [],
    }
    blobs = tuple(sorted({d for record in records if record.headers for d in named_by(record.headers)}))
    if blobs:
        members["blobs"] = [blob.hex() for blob in blobs]
    heads = {record.value[:BODY] for record in records if record.value is not None}
    found = frozenset(h[len(MAGIC) :] for h in heads if len(h) == BODY and h.startswith(MAGIC))
    return Contents(members, found, blobs)


def _epochs(records: Sequence[Record]) -> list[tuple[Epoch | None, int]]:
    """(epoch, first offset that names it). Neighbours mostly name the same: those are told by two comparisons."""
    found: dict[Epoch | None, int] = {}
    head = branch = b"\xff"
    for record in records:
        value = record.value
        if value is None or (value.startswith(head) and value.startswith(branch, _EPOCH)):
            continue
        epoch = peek_epoch(value)
        if epoch is UNKNOWN:
            continue
        found.setdefault(epoch, record.offset)
        head, branch = value[:BODY], value[_EPOCH : _EPOCH + 1 if epoch is None else _EPOCH_END]
    return sorted(found.items(), key=lambda item: item[1])


def _rewinds(records: Sequence[Record]) -> list[tuple[Epoch, int]]:
    found = []
    for record in records:
        control = decode_control(record.value)
        rewind = as_rewind(control) if isinstance(control, Control) else None
        if rewind is not None:
            found.append((rewind.epoch, record.offset))
    return found
