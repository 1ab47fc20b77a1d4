"""Restoring into scratch, outside the home: the log from the archive, the tables from a snapshot and the tail.

What comes out is compared by digest, table by table, with the live history as of the same position. And the whole way
round: an event is appended to a stream of its own, shipped, restored, and found.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from events.client import Draft
from events.codec import encode_control
from events.codec import rewound as rewound_record
from events.envelope import ID_BYTES, EventId, derive_id
from events.log import EventLog, Record, TimeType
from events.partitioning import all_partitions
from events.patient_keys import MemoryKeys
from events.payloads.clinic import SettingChanged
from events.position import CONTROL_PARTITION, Position
from events.rules import Effect, Rewind
from events.sealing import Opener
from events.sqlite_log import SqliteLog, SqliteRestorer
from projections.bulk import rebuild
from projections.completing import complete_journal
from projections.digest import TableDigest, differences, digest, digest_at
from projections.store import Tables, open_tables
from replicator.archive import ArchiveIndex
from replicator.planning import newest_usable
from replicator.snapshot import open_snapshot
from services.projecting import catch_up_whole
from services.recovery.keys import bring_into, erase_by_log
from services.system import System
from services.writing import client_on

SENTINEL = "sentinel"
ACTOR = {"id": "verification", "role": "system", "system": "rekam"}

Check = Callable[[], None]
"""Called now and then; raises whatever ends the rehearsal."""


@contextmanager
def restored(
    system: System, index: ArchiveIndex, position: Position, check: Check, *, rewound: bool = False
) -> Iterator[tuple[Tables, Path]]:
    """The tables as a recovery would make them of the archive and the backup of patients' keys alone, in a folder that
    is gone afterwards. With `rewound`, by all that a recovery does: the log is restored whole, then goes back."""
    keys = MemoryKeys()
    bring_into(keys, system, index, lambda text: None)
    with tempfile.TemporaryDirectory(prefix="rekam-verify-") as name:
        folder = Path(name)
        rewind = _rewind_to(index, position) if rewound else None
        position, control = _restore_log(index, position, folder / "log.db", check, rewind)
        opener = partial(SqliteLog, folder / "log.db")
        with closing(opener()) as log:
            erase_by_log(keys, index, log, lambda text: None)
        with closing(open_tables(f"sqlite:{folder / 'tables.db'}", reveal=Opener(keys))) as tables:
            links = Effect(control, position).links
            point = newest_usable(index.holdings().snapshots, links)
            snapshot = open_snapshot(index, point.id) if point else None
            rebuild(opener, position, tables, snapshot=snapshot, scratch=folder, progress=_progress(check))
            complete_journal(opener, tables, scratch=folder, progress=_progress(check))
            yield tables, folder


def _rewind_to(index: ArchiveIndex, position: Position) -> Rewind:
    return Rewind(secrets.token_bytes(ID_BYTES), Effect(index.control, index.end()).newest, position)


def _restore_log(
    index: ArchiveIndex, position: Position, path: Path, check: Check, rewind: Rewind | None
) -> tuple[Position, Sequence[tuple[int, Rewind]]]:
    """The log up to a position, or all of it and a rewind behind: where it ends, and its rewinds."""
    end = position if rewind is None else index.end()
    counts: dict[str, int] = {}
    for partition in index.end():
        counts[partition.topic] = counts.get(partition.topic, 0) + 1
    with closing(SqliteRestorer(path)) as restorer:
        restorer.begin(counts)
        for partition in all_partitions(counts):
            for batch in index.read(partition, 0, end[partition]):
                check()
                restorer.write(partition, batch)
        if rewind is not None:
            restorer.write(CONTROL_PARTITION, [_record_of(index, rewind)])
        restorer.finish()
    if rewind is None:
        return end, index.control
    return end.replace({CONTROL_PARTITION: end.control + 1}), [*index.control, (end.control, rewind)]


def _record_of(index: ArchiveIndex, rewind: Rewind) -> Record:
    """Of scratch alone: the clinic's own log hears nothing of it."""
    control = rewound_record(
        control_id=secrets.token_bytes(ID_BYTES),
        recorded_at=0,
        actor=ACTOR,
        rewind=rewind,
        kind="recovery",
        target_time=None,
        reason="rehearsal",
    )
    return Record(
        index.end().control, index.marks.last.time, TimeType.APPEND, None, (), encode_control(control)
    )


def _progress(check: Check) -> Callable[[str, int, int], None]:
    return lambda stage, done, total: check()


class Compared(NamedTuple):
    """What was restored, and how it stands to the live history."""

    tables: dict[str, TableDigest]
    differ: list[str]
    """The tables in which it differs."""
    millis: int
    """What restoring took."""


def compare_with_live(
    system: System, index: ArchiveIndex, position: Position, check: Check, *, rewound: bool = False
) -> Compared:
    """What was restored at a position (as `restored` does) against the live history there.

    Raises LostData where it cannot be restored, or the live log has lost what the archive holds.
    """
    begun = system.clock()
    with (
        restored(system, index, position, check, rewound=rewound) as (tables, folder),
        closing(Opener(system.patient_keys())) as reveal,
    ):
        taken = system.clock() - begun
        ours = digest(tables)["tables"]
        check()
        live = digest_at(system.log_opener(), position, scratch=folder, reveal=reveal)["tables"]
    return Compared(ours, differences(ours, live), max(0, taken))


def append_sentinel(system: System, log: EventLog, clinic_id: str) -> EventId:
    """An event on a stream that nothing else writes to; it has taken effect on return."""
    now = system.clock()
    payload = SettingChanged(name=SENTINEL, value=json.dumps(now), reason="verification of the archive")
    with closing(system.tables()) as tables:
        catch_up_whole(system.log_opener(), log, tables)
        client = client_on(system, log, tables)
        stream = f"clinic-{derive_id(SENTINEL, clinic_id).hex()}"
        draft = Draft(payload.to_payload(), now * 1000, ACTOR)
        return client.append(stream, lambda head: draft).event.event_id


def comes_back(system: System, index: ArchiveIndex, event_id: EventId, check: Check) -> bool:
    """Whether an event is in effect in what the archive alone restores."""
    with restored(system, index, index.end(), check) as (tables, _):
        return tables.applied(event_id) is not None
