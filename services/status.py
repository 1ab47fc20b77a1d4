"""How a system stands, in plain words: what is behind, what is odd, what is wrong.

Red is what loses or hides data if nobody acts; yellow is what a person should look at; green is the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from events.control import NOTHING_KNOWN, Known, rewinds_upto
from events.errors import LogMissing, LogRecreated, LostData, Refused, Unavailable
from events.log import EventLog
from events.patient_keys import ERASED
from events.position import Partition, Position
from events.rules import Effect, Verdict
from projections.continuity import known_rewinds, refuse_diverged
from projections.database import MADE_ANEW
from projections.projector import refuse_other_log
from projections.store import Tables
from replicator.archive import ArchiveIndex
from replicator.backups import size_of
from replicator.continuity import check_continuity
from replicator.erasures import read_erasures
from services.backups.standing import Standing, backups_of
from services.moments import show_millis, show_span
from services.shipped_attachments import not_shipped
from services.skew import ALERT_SECONDS, measure
from services.system import System

MILLIS = 1000


class Colour(StrEnum):
    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


@dataclass
class Status:
    """What was found. `None` where it could not be asked."""

    now: int
    findings: list[tuple[Colour, str]] = field(default_factory=list)
    log_end: Position | None = None
    rewinds: int | None = None
    tables_position: Position | None = None
    behind_records: int | None = None
    verdicts: dict[str, int] = field(default_factory=dict)
    unreadable: int | None = None
    checkpoint: int | None = None
    complete_through: int | None = None
    unshipped_records: int | None = None
    unshipped_seconds: float | None = None
    """The age of the oldest record that the archive does not hold."""
    archive_bytes: int | None = None
    """Stored bytes of what counts in the archive."""
    missing_attachments: int | None = None
    """Named by archived records, and neither in the archive nor here."""
    gaps: int | None = None
    """Known holes in what the archive holds."""
    further: dict[str, Status] = field(default_factory=dict)
    """Of each further archive, by name: what concerns that archive alone."""
    backups: Standing | None = None
    skew: dict[Partition, float] = field(default_factory=dict)
    """partition -> seconds that the clock of its log times is seen to be ahead (below 0: behind)."""

    @property
    def skew_seconds(self) -> float | None:
        """How far apart the log's clocks are seen to be: what a moment cannot be finer than."""
        return max(map(abs, self.skew.values()), default=None)

    @property
    def colour(self) -> Colour:
        found = {colour for colour, _ in self.findings}
        return next((c for c in (Colour.RED, Colour.YELLOW) if c in found), Colour.GREEN)

    @property
    def well(self) -> bool:
        return self.colour is not Colour.RED

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.colour.value,
            "findings": [{"status": colour.value, "text": text} for colour, text in self.findings],
            "log": None if self.log_end is None else self.log_end.to_json(),
            "rewinds": self.rewinds,
            "tables": None if self.tables_position is None else self.tables_position.to_json(),
            "behind_records": self.behind_records,
            "verdicts": self.verdicts,
            "unreadable": self.unreadable,
            "checkpoint": self.checkpoint,
            "complete_through": self.complete_through,
            "unshipped_records": self.unshipped_records,
            "unshipped_seconds": self.unshipped_seconds,
            "missing_attachments": self.missing_attachments,
            "backups": None if self.backups is None else self.backups.to_json(),
            "archives": {
                name: {
                    "checkpoint": other.checkpoint,
                    "complete_through": other.complete_through,
                    "unshipped_records": other.unshipped_records,
                    "unshipped_seconds": other.unshipped_seconds,
                }
                for name, other in self.further.items()
            },
            "skew_seconds": self.skew_seconds,
            "skew": {str(partition): seconds for partition, seconds in self.skew.items()},
        }

    def in_words(self, zone: ZoneInfo) -> list[str]:
        lines = [f"Status: {self.colour.value}"]
        if self.log_end is not None:
            lines.append(f"Log: {self.log_end.records():,} records, {self.rewinds:,} rewinds in effect.")
        if self.tables_position is not None:
            lines.append(f"Tables: {self.behind_records or 0:,} records behind the log.")
        odd = ", ".join(f"{name} {n:,}" for name, n in self.verdicts.items() if name != Verdict.APPLIED)
        lines.append(
            f"Events in effect: {self.verdicts.get(Verdict.APPLIED, 0):,}; without effect: {odd or 'none'}."
        )
        lines += self._archive_words("Archive", zone)
        for name, other in self.further.items():
            lines += other._archive_words(f"Archive {name}", zone)
        if self.skew_seconds is not None:
            lines.append(f"Clocks: the log's are {show_span(self.skew_seconds)} apart, as far as is seen.")
        lines.extend(f"{colour.value}: {text}" for colour, text in self.findings)
        return lines

    def _archive_words(self, name: str, zone: ZoneInfo) -> list[str]:
        lines = []
        if self.complete_through is not None:
            upto = show_millis(self.complete_through, zone)
            lines.append(f"{name}: checkpoint {self.checkpoint}, complete to {upto}.")
        if self.backups is not None:
            lines += self.backups.in_words(self.now)
        if self.unshipped_records:
            age = show_span(self.unshipped_seconds or 0)
            lines.append(f"Not shipped yet: {self.unshipped_records:,} records, the oldest {age} old.")
        return lines


def status_of(system: System, further: Mapping[str, System] = MappingProxyType({})) -> Status:
    """Asks log, tables and archive, each by itself, so that one that is down hides none of the others.

    `further`: the same system with each of its further archives.
    """
    status = Status(system.clock())
    log = _log(system, status)
    archive = _archive(system, status)
    _keys(system, status, archive)
    try:
        known = _tables(system, status, log)
        if log is not None:
            _rewinds(status, log, known)
            _continuity(status, log, archive)
            _unshipped(status, log, archive)
            _attachments(system, status, log, archive)
            _skew(status, log, archive)
        for name, other in further.items():
            _further(name, other, status, log)
    finally:
        if log is not None:
            log.close()
    return status


def _rpo(status: Status, age_seconds: float) -> None:
    objective = status.backups.rpo_seconds if status.backups else None
    if objective is not None and age_seconds > objective:
        status.findings.append(
            (
                Colour.RED,
                f"the RPO of {show_span(objective)} is missed: a record that is {show_span(age_seconds)} old "
                "is not in the archive; is 'rekam run' or 'rekam replicate' running?",
            )
        )


def _further(name: str, system: System, status: Status, log: EventLog | None) -> None:
    found = status.further[name] = Status(status.now, log_end=status.log_end)
    archive = _archive(system, found)
    if log is not None:
        _continuity(found, log, archive)
        _unshipped(found, log, archive)
        _attachments(system, found, log, archive)
    status.findings += ((colour, f"archive {name!r}: {text}") for colour, text in found.findings)


def _log(system: System, status: Status) -> EventLog | None:
    try:
        log = system.log()
    except LogMissing as error:
        status.findings.append(
            (Colour.RED, f"{error.message}: bring it back with 'rekam recover --to latest'")
        )
        return None
    except (Unavailable, LostData, Refused) as error:
        status.findings.append((Colour.RED, str(error)))
        return None
    status.log_end = log.end()
    return log


def _rewinds(status: Status, log: EventLog, known: Known) -> None:
    end = status.log_end
    if end is not None:
        status.rewinds = len(Effect(rewinds_upto(log, end.control, known), end).links) - 1


def _archive(system: System, status: Status) -> ArchiveIndex | None:
    try:
        archive = system.archive()
    except (Unavailable, LostData, Refused) as error:
        status.findings.append((Colour.RED, f"archive: {error}"))
        return None
    try:
        system.writer()
    except (Unavailable, LostData, Refused) as error:
        status.findings.append((Colour.RED, f"nothing can be shipped: {error}"))
    if not len(archive.marks):
        status.findings.append(
            (Colour.YELLOW, "the archive holds no checkpoint: nothing could be recovered yet")
        )
        return archive
    status.checkpoint = archive.head.n
    status.archive_bytes = size_of(archive.entries)
    status.gaps = len(archive.manifest.gaps)
    if status.gaps:
        status.findings.append((Colour.RED, f"the archive has {status.gaps} known holes"))
    status.complete_through = archive.marks.last.time
    status.backups = backups_of(system, archive)
    status.findings += ((Colour(colour), text) for colour, text in status.backups.findings)
    return archive


def _keys(system: System, status: Status, archive: ArchiveIndex | None) -> None:
    """Whether what is sealed can be opened, and what was erased stands in the ledger."""
    try:
        with closing(system.patient_keys()) as keys:
            missing = len(set(keys.missing().values()))
            erased = {stream: {key.id for key in keys.keys_of(stream)} for stream in keys.marks(ERASED)}
            ledger = {key for entry in read_erasures(archive) for key in entry.keys} if archive else set()
            standing = {key for key in ledger if keys.find(key) is not None}
    except (Unavailable, LostData, Refused) as error:
        status.findings.append((Colour.RED, f"patients' keys: {error}"))
        return
    if missing:
        text = f"the keys of {missing:,} patients are missing, and their sealed events show nothing"
        hint = "bring them back with 'rekam recover --to latest', from where keys.backup in rekam.toml says"
        status.findings.append((Colour.RED, f"{text}: {hint}"))
    if standing:
        text = f"{len(standing):,} keys stand that the archive's ledger of erasures says are destroyed"
        hint = "was the store of keys put back from a copy? 'rekam recover --to latest'"
        status.findings.append((Colour.RED, f"{text}: {hint}"))
    unfinished = sum(not ids & ledger for ids in erased.values()) if archive else 0
    if unfinished:
        text = f"{unfinished:,} erasures are not in the archive's ledger: run 'rekam erase' for them again"
        status.findings.append((Colour.RED, text))


def _tables(system: System, status: Status, log: EventLog | None) -> Known:
    """How the tables stand, and what they know of control."""
    try:
        tables = system.tables()
    except (Unavailable, LostData, Refused) as error:
        status.findings.append((Colour.RED, f"tables: {error}"))
        return NOTHING_KNOWN
    with closing(tables):
        _look_into(tables, status)
        _files_here(system, tables, status)
        if log is None:
            return NOTHING_KNOWN
        _same_log(tables, status, log)
        return known_rewinds(log, tables)


def _look_into(tables: Tables, status: Status) -> None:
    with tables.reading():
        status.tables_position = tables.position()
        status.verdicts = tables.verdicts()
        status.unreadable = int(tables.database.fetch("SELECT count(*) FROM unreadable")[0][0])
    if status.log_end is not None:
        status.behind_records = status.log_end.records() - status.tables_position.records()
        if status.log_end.records() and not status.tables_position.records():
            status.findings.append((Colour.YELLOW, f"the tables are empty: {MADE_ANEW}"))
        if not status.log_end.covers(status.tables_position):
            status.findings.append(
                (Colour.RED, "the tables stand beyond the log: run 'rekam recover --to latest'")
            )
    if status.verdicts.get(Verdict.UNKNOWN_EPOCH):
        status.findings.append(
            (
                Colour.RED,
                "events name an epoch that no rewind bears: a control record is missing, or a writer is broken",
            )
        )
    if status.verdicts.get(Verdict.AHEAD):
        status.findings.append(
            (Colour.YELLOW, "events stand ahead of their stream: one before them is missing")
        )
    if status.unreadable:
        status.findings.append(
            (Colour.YELLOW, f"{status.unreadable:,} records on the log are no event of ours")
        )


def _files_here(system: System, tables: Tables, status: Status) -> None:
    """Whether the files of the documents in effect are on this machine."""
    rows = tables.database.fetch("SELECT blob_sha256 FROM documents WHERE blob_sha256 IS NOT NULL")
    try:
        here = set(system.blobs().digests()) if rows else set()
    except Unavailable as error:
        status.findings.append((Colour.RED, f"attachments: {error}"))
        return
    lacking = len({bytes(row[0]) for row in rows} - here)
    if lacking:
        text = f"{lacking:,} attached files are not on this machine: 'rekam recover --to latest' brings them back"
        status.findings.append((Colour.YELLOW, text))


def _same_log(tables: Tables, status: Status, log: EventLog) -> None:
    try:
        refuse_other_log(tables, log.identity())
        if status.log_end is not None and status.log_end.covers(tables.position()):
            refuse_diverged(log, tables, tables.position())
    except LogRecreated as error:
        status.findings.append((Colour.RED, f"tables: {error}"))


def _continuity(status: Status, log: EventLog, archive: ArchiveIndex | None) -> None:
    """Whether the log is the one that the archive holds the beginning of."""
    if archive is None or not len(archive.marks):
        return
    try:
        check_continuity(log, archive.head)
    except LostData as error:
        status.findings.append((Colour.RED, f"the log does not continue the archive: {error}"))


def _unshipped(status: Status, log: EventLog, archive: ArchiveIndex | None) -> None:
    if archive is None or status.log_end is None:
        return
    held = archive.end() if len(archive.marks) else Position()
    status.unshipped_records = sum(max(0, n - held[p]) for p, n in status.log_end.items())
    oldest = None
    for partition, stop in status.log_end.items():
        if held[partition] < stop:
            record = next(iter(log.read(partition, held[partition], held[partition] + 1)))[0]
            oldest = record.time if oldest is None else min(oldest, record.time)
    if oldest is not None:
        status.unshipped_seconds = max(0, status.now - oldest) / MILLIS
        _rpo(status, status.unshipped_seconds)
    rpo = status.backups.rpo_seconds if status.backups else None
    if rpo is not None and (status.unshipped_seconds or 0) > rpo:
        late = f"{show_span(status.unshipped_seconds or 0)}, and the RPO is {show_span(rpo)}"
        status.findings.append((Colour.RED, f"the oldest record that is not shipped has waited {late}"))


def _attachments(system: System, status: Status, log: EventLog, archive: ArchiveIndex | None) -> None:
    """Files of documents that the archive should hold."""
    if archive is None or not len(archive.marks):
        return
    try:
        with closing(system.patient_keys()) as keys:
            found = not_shipped(system.blobs(), keys, log, archive)
    except (Unavailable, LostData, Refused) as error:
        status.findings.append((Colour.RED, f"attachments: {error}"))
        return
    status.missing_attachments = found.missing
    if found.missing:
        text = f"{found.missing:,} attachments are neither in the archive nor on this machine"
        status.findings.append((Colour.RED, f"{text}: put them back from a copy, and they are shipped"))
    if found.waiting:
        text = f"{found.waiting:,} attachments that were missing are back, and wait to be shipped"
        status.findings.append((Colour.YELLOW, text))


def _skew(status: Status, log: EventLog, archive: ArchiveIndex | None) -> None:
    if status.log_end is None:
        return
    mark = archive.marks.last if archive is not None and len(archive.marks) else None
    status.skew = measure(log, status.log_end, mark, status.now)
    if status.skew_seconds is not None and status.skew_seconds >= ALERT_SECONDS:
        worst, seconds = max(status.skew.items(), key=lambda of_one: abs(of_one[1]))
        side = "ahead" if seconds > 0 else "behind"
        text = f"the log's clocks are apart: {worst}'s is {show_span(abs(seconds))} {side}"
        status.findings.append((Colour.YELLOW, f"{text}; a moment is no finer than that: set the clocks"))
