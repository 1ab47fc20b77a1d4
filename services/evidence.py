"""A patient's evidence: where the records stand, by the tables' journal where there is one, else by the archive."""

from __future__ import annotations

from contextlib import closing
from zoneinfo import ZoneInfo

from events.catalogue import SEALED
from events.clock import wall_millis
from events.codec import decode_event, decode_events
from events.effective import cut
from events.envelope import Event
from events.errors import BeyondArchive, Refused, RekamError, WrongUsage
from events.log import Record
from events.patient_keys import ERASED
from events.position import EVENTS, Partition, Position
from events.sealing import ERASURE_FAMILY
from projections.judging import Homes
from projections.store import Tables
from replicator.archive import ArchiveIndex, open_archive
from replicator.auditing.evidence import Moment, make_evidence, records_of
from services.auditing import Auditing
from services.home import Home
from services.moments import parse_moment
from services.patients import one_patient, refuse_restricted

Offsets = dict[Partition, list[int]]


def evidence_of(about: Auditing, patient: str, at: str | None) -> bytes:
    """The file.

    Raises Refused where there is no such patient, or nothing of theirs is to be shown, BeyondArchive where no
    checkpoint covers `at`, and as `open_archive`.
    """
    if not about.verifiers:
        raise WrongUsage("no verification key", "give the one on the printed sheet with --key")
    store, identity = about.opener()()
    index = open_archive(store, identity, None, about.verifiers)
    for outside in about.outside:
        index.refuse_unless_seen(outside.note)
    moment = moment_of(index, None if at is None else parse_moment(at, zone_of(about.home), wall_millis()))
    stream, offsets = _find(about.home, index, patient, moment.position)
    keys, erased = _keys_of(about.home, stream)
    data = make_evidence(index, stream, offsets, moment, about.signer(), keys)
    if erased and any(_in_the_clear(record) for record in records_of(data)):
        raise Refused(
            "this patient was erased, and events of theirs were written before sealing was on",
            "that nothing was changed is shown without them: rekam audit verify",
        )
    return data


def _keys_of(home: Home | None, stream: str) -> tuple[dict[str, bytes], bool]:
    """Those that stand on this machine, and whether the patient is erased; without a home none stands, and what is
    sealed stays so. Raises Refused where the patient's data is restricted."""
    if home is None:
        return {}, False
    with closing(home.patient_keys()) as keys:
        refuse_restricted(keys, stream)
        standing = {key.id: key.secret for key in keys.keys_of(stream) if key.secret is not None}
        return standing, stream in keys.marks(ERASED)


def _in_the_clear(record: Record) -> bool:
    event = decode_event(record.value or b"")
    return event.payload[0] != SEALED and not event.payload[0].startswith(ERASURE_FAMILY)


def zone_of(home: Home | None) -> ZoneInfo:
    return home.zone if home else ZoneInfo("UTC")


def moment_of(index: ArchiveIndex, time: int | None) -> Moment:
    """`time`: milliseconds UTC; None: all that the archive holds."""
    if time is None:
        return Moment(index.end())
    if not len(index.marks) or time > index.marks.last.time:
        raise BeyondArchive("no checkpoint covers that moment yet", "ship first: rekam replicate --once")
    return Moment(cut(time, index.marks, index), time)


def _find(home: Home | None, index: ArchiveIndex, patient: str, stop: Position) -> tuple[str, Offsets]:
    """The stream, and where its events stand: by the journal as far as it goes, behind that by the archive."""
    held = _in_tables(home, patient, stop) if home else None
    if held is None:
        if not patient.startswith("patient-"):
            raise Refused("without tables a patient is named by the stream", "patient-… with 32 hex digits")
        held = patient, {}, Position()
    stream, offsets, known = held
    behind = scan(index, stream, known, stop)
    return stream, {p: [*offsets.get(p, ()), *behind.get(p, ())] for p in {*offsets, *behind}}


def _in_tables(home: Home, patient: str, stop: Position) -> tuple[str, Offsets, Position] | None:
    """(stream, where its events stand, up to where that is all of them); None where no tables tell."""
    offsets: Offsets = {}
    try:
        with closing(home.tables()) as tables:
            tables.require_journal()
            known = _stands_at(tables, stop)
            if not known.records():
                return None
            stream = one_patient(tables, patient)
            for row in tables.journal(stream, known):
                offsets.setdefault(row.partition, []).append(row.log_offset)
    except RekamError:
        if patient.startswith("patient-"):
            return None  # the archive knows every stream by its name
        raise
    return stream, offsets, known


def _stands_at(tables: Tables, stop: Position) -> Position:
    """How far the tables can tell, no farther than is asked for."""
    return Position({p: min(n, tables.position()[p]) for p, n in stop.items()})


def scan(index: ArchiveIndex, stream: str, start: Position, stop: Position) -> Offsets:
    """Where the stream's events stand between two positions, read from the archive; in the stream's own partition."""
    key, number = stream.encode(), Homes(EVENTS, index.end())(stream)
    if number is None:
        return {}
    partition = Partition(EVENTS, number)
    found: list[int] = []
    for batch in index.read(partition, start[partition], stop[partition]):
        records = [record for record in batch if record.key == key]
        events = decode_events([record.value for record in records])
        for record, event in zip(records, events, strict=True):
            if isinstance(event, Event) and event.stream == stream:
                found.append(record.offset)
    return {partition: found}
