"""A log that turned up late (the old disk, the old brokers) against the log that took its place.

Both hold the same records up to where the archive ended when the log was restored. Behind that stands what was never
shipped: it is listed, and chosen events are applied again. The late log is only read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from events.blobs import BlobStore, named_by
from events.control import read_rewinds
from events.directory_blobs import DirectoryBlobs
from events.envelope import Event
from events.errors import Corrupt, LostData, Refused
from events.log import EventLog, LogReader, Record
from events.patient_keys import KeyStore
from events.position import EVENTS, Partition, Position
from events.rules import Effect, Verdict
from events.sqlite_keys import SqliteKeys
from projections.judging import Homes, Standing, sort_out
from services.places import open_log
from services.projecting import catch_up_whole
from services.reapplying import Chosen, Reapplied, reapplying
from services.system import System

LOG_FILE, KEYS_FOLDER, FILES_FOLDER = "log.db", "keys", "attachments"


class Late(NamedTuple):
    """An event that the late log alone holds, and that applied there."""

    event: Event
    time: int
    """Its log time there, milliseconds UTC."""
    files: tuple[bytes, ...]
    """Digests of the blobs that its record names."""


class Beside(NamedTuple):
    """What lies beside a late log, where it is in a home folder."""

    keys: Path | None
    files: Path | None


@dataclass(frozen=True)
class Salvage:
    """What a late log holds beyond the one in use."""

    common: Position
    """Up to here both hold the same records of events."""
    late: Sequence[Late]
    """In the order of the log."""
    here: int
    """Events beyond that are in effect here too, by the same id: somebody wrote them again."""
    unreadable: int
    """Records beyond that are no event of ours, or had no effect there."""

    def by_stream(self) -> Iterator[tuple[str, list[Late]]]:
        found: dict[str, list[Late]] = {}
        for late in self.late:
            found.setdefault(late.event.stream, []).append(late)
        yield from sorted(found.items())


def types_of(late: Sequence[Late]) -> Mapping[str, int]:
    return Counter(one.event.type for one in late)


def late_log(place: str) -> tuple[str, Beside]:
    """(the log's address, what lies beside it) of what an operator names.

    `place`: a home folder, a log's file, or an address as rekam.toml has it.
    """
    if place.startswith(("sqlite:", "kafka:")):
        return place, Beside(None, None)
    path = Path(place).expanduser().absolute()
    folder = path if path.is_dir() else path.parent
    file = path / LOG_FILE if path.is_dir() else path
    if not file.exists():
        raise Refused(f"there is no log at {place}", "name a home folder, a log's file, or kafka://…")
    keys, files = folder / KEYS_FOLDER, folder / FILES_FOLDER
    beside = Beside(keys if (keys / "patients.db").exists() else None, files if files.is_dir() else None)
    return f"sqlite:{file}", beside


def take_keys(ours: KeyStore, folder: Path) -> None:
    """Takes in the keys that lie beside a late log; what is destroyed here stays so, what was there is so here too."""
    with closing(SqliteKeys(folder / "patients.db", folder / "wrapping.key")) as theirs:
        found = theirs.changes(0)
    ours.merge(found.keys, found.marks)


def take_files(ours: BlobStore, folder: Path, late: Iterable[Late]) -> int:
    """Takes in the files that late events name, as far as they lie there whole; how many."""
    theirs, taken = DirectoryBlobs(folder), 0
    for digest in {digest for one in late for digest in one.files}:
        if not ours.holds(digest):
            with suppress(LostData):  # status tells of those that are nowhere
                ours.put(theirs.get(digest))
                taken += 1
    return taken


def look_into(system: System, address: str, home: Path) -> Salvage:
    """Reads both logs. Raises Refused where the late one is the one in use, or another clinic's."""
    with (
        closing(system.log()) as log,
        closing(_open_late(address, home)) as theirs,
        closing(system.tables()) as tables,
    ):
        if dict(theirs.identity()) == dict(log.identity()):
            raise Refused("this is the log in use", "name the one that turned up late")
        catch_up_whole(system.log_opener(), log, tables)
        end = theirs.end()
        common = Position(
            {p: common_stop(log, theirs, p, log.end()[p], stop) for p, stop in end.of(EVENTS).items()}
        )
        if end.of(EVENTS) and log.end().of(EVENTS) and not common.records():
            raise Refused("this log shares no record with the one in use", "is it this clinic's?")
        found, others = _beyond(theirs, common, end)
        applied = tables.applied_many([late.event.event_id for late in found])
    late = [one for one in found if one.event.event_id not in applied]
    return Salvage(common, late, len(found) - len(late), others)


def _open_late(address: str, home: Path) -> EventLog:
    try:
        return open_log(address, home)
    except Corrupt as error:  # its hint is for the log in use
        raise Corrupt(
            error.message, "this late log cannot be read: name a log, or try another copy of the old disk"
        ) from None


def common_stop(ours: LogReader, theirs: LogReader, partition: Partition, stop: int, other: int) -> int:
    """Up to which offset two logs hold the same records."""
    upto = min(stop, other)
    for offset, (one, two) in enumerate(
        zip(_records(ours, partition, upto), _records(theirs, partition, upto), strict=True)
    ):
        if (one.key, one.value, one.headers) != (two.key, two.value, two.headers):
            return offset
    return upto


def _records(reader: LogReader, partition: Partition, stop: int) -> Iterator[Record]:
    return chain.from_iterable(reader.read(partition, 0, stop))


def _beyond(log: EventLog, common: Position, end: Position) -> tuple[list[Late], int]:
    """The events beyond that applied there, by both rules, and how many records beyond did not."""
    effect, homes, standing = (
        Effect(read_rewinds(log, end.control), end),
        Homes(EVENTS, end),
        Standing({}, {}),
    )
    found: list[Late] = []
    for partition, stop in end.of(EVENTS).items():
        for batch in log.read(
            partition, 0, stop
        ):  # from the first on: what applies depends on what did before
            files = {r.offset: tuple(named_by(r.headers)) for r in batch if r.headers}
            for _, offset, time, _, event in sort_out(partition, batch, homes)[0]:
                verdict = effect.judge(event.epoch, partition, offset) or standing.judge(event)
                if verdict is Verdict.APPLIED and offset >= common[partition]:
                    found.append(Late(event, time, files.get(offset, ())))
    return found, sum(stop - common[p] for p, stop in end.of(EVENTS).items()) - len(found)


def salvage(
    system: System,
    found: Salvage,
    chosen: Chosen,
    actor: Mapping[str, str],
    tell: Callable[[int, int], object],
) -> Reapplied:
    """Applies chosen events of the late log again, in its order. `tell`: (done, of how many).

    Raises Refused where one that is named is not among them, LogUnavailable: the same again goes on.
    """
    strange = chosen.event_ids - {late.event.event_id for late in found.late}
    if strange:
        raise Refused(f"that log holds no event {min(strange).hex()} beyond this one", "list them first")
    wanted = [late.event for late in found.late if chosen.takes(late.event.stream, late.event.event_id)]
    with closing(system.log()) as log, closing(system.tables()) as tables:
        catch_up_whole(system.log_opener(), log, tables)
        with reapplying(system, log, tables, actor) as again:
            for count, event in enumerate(wanted, 1):
                again.apply(event)
                tell(count, len(wanted))
    return again.done
