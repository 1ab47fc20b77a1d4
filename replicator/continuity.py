"""Whether a log is the one that an archive holds the beginning of. Asked before anything is appended or shipped.

A topic that was deleted and made again, a log that is shorter than the archive, or other records at the same offsets
are lost data and stop the shipper (law 5), but for one case: a log that a recovery rebuilt from this archive. It holds
the archive's records, and behind them on control a rewind of the kind `generation`.
"""

from __future__ import annotations

from dataclasses import replace

from events.codec import REWOUND, as_rewind
from events.control import read_control
from events.errors import ArchiveDiverged, LogGap, LogRecreated
from events.log import EventLog
from events.position import Position
from replicator.manifest import Generation, Head, Manifest
from replicator.segment import record_leaf

PUT_AWAY = (
    "put this log away and keep it, since it may hold what was not shipped; "
    "then 'rekam recover --to latest' restores the one that the archive holds"
)


def check_continuity(log: EventLog, head: Head) -> Generation:
    """The log's generation. Raises LogGap, LogRecreated or ArchiveDiverged, naming what differs."""
    start, end = log.start(), log.end()
    for partition, held in start.items():
        if held > head.position[partition]:
            raise LogGap(
                f"{partition}: offsets {head.position[partition]} to {held - 1} are neither on the log nor archived",
                "they are lost here: look for another copy of the log or of the archive",
            )
    if head.manifest is None:
        return Generation()
    _check_length(end, head.position)
    _check_tails(log, head.manifest)
    if dict(log.identity()) == dict(head.manifest.topics):
        return head.manifest.generation
    return _next_generation(log, head.manifest, end)


def _check_length(end: Position, held: Position) -> None:
    for partition, stop in held.items():
        if end[partition] < stop:
            raise LogGap(
                f"{partition}: the log ends before offset {end[partition]}, and the archive holds up to {stop}",
                f"it lost its end, or is another log: {PUT_AWAY}",
            )


def _check_tails(log: EventLog, manifest: Manifest) -> None:
    """The last archived record of every partition is the log's record at that offset."""
    for partition, tail in manifest.tails.items():
        offset = manifest.position[partition] - 1
        (batch,) = log.read(partition, offset, offset + 1)
        if record_leaf(batch[0]) != tail:
            raise ArchiveDiverged(
                f"{partition}: the log's record at offset {offset} is not the one that was archived",
                f"this is the archive of another log, or the log lost its end and was written to again: {PUT_AWAY}",
            )


def _next_generation(log: EventLog, manifest: Manifest, end: Position) -> Generation:
    for _, control in read_control(log, manifest.position.control, end.control):
        name, fields = control.body
        rewind = as_rewind(control) if name == REWOUND and fields["kind"] == "generation" else None
        if rewind is not None:
            return replace(manifest.generation, number=manifest.generation.number + 1, epoch=rewind.epoch)
    known, found = manifest.topics, log.identity()
    changed = sorted(topic for topic in {*known, *found} if known.get(topic) != found.get(topic))
    raise LogRecreated(
        f"{', '.join(changed)}: deleted and made again since checkpoint {manifest.n}",
        f"nothing was shipped; {PUT_AWAY}",
    )
