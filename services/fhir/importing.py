"""Imports FHIR resources as events: pipelined, resumable, twice is once.

How, and why so:
- Resources are decided in batches against the tables: where each stream stands, and each resource's last applied
  content. A resource is skipped only if it equals that; else it becomes an event, a correction where there was one.
- Within a batch every event is decided on the one before it (pipelining), and the batch is appended at once.
- Then the tables are brought to the log's end, data first, control last, and each event's verdict is looked up:
  what did not apply because another writer came first, or because its predecessor did not apply, is decided anew.
- Only the tables remember, so memory is bounded by a batch, and a run that was killed is simply run again.
- A rewind that takes effect while an import runs ends it (SetAside): which of its events still stand is for the
  operator to see. Importing again then applies what is missing, in the new epoch.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from events.attachments import Kept
from events.blobs import headers_of
from events.clock import Clock
from events.envelope import Epoch, EventId
from events.errors import BadInput, Conflict, SetAside
from events.log import MAX_VALUE_BYTES, Entry, EventLog
from events.position import EVENTS, Position
from events.rules import EMPTY, Head
from events.sealing import IN_THE_CLEAR, Encoder
from services.fhir.documents import Original, take_out
from services.fhir.items import Circumstances, Decision, Held, Item, Key, Waiting, decide, place, placed
from services.fhir.reading import Found, Refusal, find_files, read_resources
from services.fhir.waiting_room import WaitingRoom

Keep: TypeAlias = Callable[[str, bytes], Kept]
"""(stream, file) -> where it is kept, durably. `events.attachments.Attachments.keep`."""
DEFAULT_SOURCE = "fhir"
"""The source of files that nobody gave another name: the clinic's own former system."""
MAX_SOURCE_BYTES = 64
BATCH_ITEMS = 1_000
BATCH_BYTES = 4 * 1024 * 1024
MAX_ROUNDS = 25
"""How often a batch is decided anew before other writers are said to be in the way."""
LISTED_REFUSALS = 100
ACTOR: Mapping[str, str] = {"id": "import", "role": "system", "system": "fhir"}


class Standing(Protocol):
    """What an import asks about the record. `standing.TablesStanding` answers it from the tables."""

    def catch_up(self, end: Position) -> None:
        """Everything below is then answered as of a position that covers `end`. Raises where it cannot be."""
        ...

    def epoch(self) -> Epoch | None:
        """The newest epoch: what events are written in."""
        ...

    def heads(self, streams: Collection[str]) -> dict[str, Head]:
        """stream -> where it stands; a stream without an applied event is not in it."""
        ...

    def held(self, keys: Collection[Key]) -> dict[Key, Held]:
        """The last applied content of those resources that the record holds."""
        ...

    def applied(self, event_ids: Collection[EventId]) -> Collection[EventId]:
        """Those of the events that took effect."""
        ...

    def patients_known_as(self, source: str, system: str, value: str) -> Collection[str]:
        """The streams of the source's patients who bear this identifier."""
        ...


class Progress(NamedTuple):
    """How far a run is. Bytes count the files as they lie on the disk."""

    bytes_read: int
    bytes_total: int
    read: int
    appended: int


@dataclass
class Report:
    """What a run did. `read`, `mapped` and `kept` count resources by type; what stood there already counts too."""

    read: Counter[str] = field(default_factory=Counter)
    mapped: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    appended: int = 0
    unchanged: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    """The first LISTED_REFUSALS."""

    def to_json(self) -> dict[str, Any]:
        """The document that `rekam import fhir --json` prints."""
        counts = {name: dict(sorted(getattr(self, name).items())) for name in ("read", "mapped", "kept")}
        return {**counts, "refused": self.refused}


def import_fhir(
    paths: Sequence[Path],
    *,
    source: str = DEFAULT_SOURCE,
    clinic_stream: str,
    log: EventLog,
    standing: Standing,
    clock: Clock,
    on_progress: Callable[[Progress], None] | None = None,
    on_refusal: Callable[[Refusal], None] | None = None,
    correlation_id: bytes | None = None,
    encoder: Encoder = IN_THE_CLEAR,
    keep: Keep | None = None,
) -> Report:
    """Imports every resource of the files; returns once all of it is durable on the log and in the tables.

    `clock` gives microseconds; `correlation_id` (16 bytes) marks the run's events; `encoder` makes their
    values; `keep` keeps a stream's large files outside of them (None: they stay in). Raises BadInput where there is
    nothing to read or the source's name is none, SetAside where a rewind came in between, Conflict where other
    writers never let it through, and whatever log and `standing` raise; all of them leave a state that the
    next run goes on from.
    """
    if not source.strip() or len(source.encode()) > MAX_SOURCE_BYTES or not source.isprintable():
        raise BadInput(
            f"a source's name has 1 to {MAX_SOURCE_BYTES} printable bytes",
            "name the system, like 'hospital-a'",
        )
    files = find_files(paths)
    run = _Run(
        source, clinic_stream, log, standing, clock, correlation_id, on_progress, on_refusal, encoder, keep
    )
    run.bytes_total = sum(path.stat().st_size for path in files)
    with closing(run.waiting), _few_collections():
        run.take_all(read_resources(files, run.moved))
    return run.report


@contextmanager
def _few_collections() -> Iterator[None]:
    """Resources are many small dicts without cycles: looking for cycles among them costs a quarter of an import."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Run:
    """The state of one import."""

    def __init__(
        self,
        source: str,
        clinic_stream: str,
        log: EventLog,
        standing: Standing,
        clock: Clock,
        correlation_id: bytes | None,
        on_progress: Callable[[Progress], None] | None,
        on_refusal: Callable[[Refusal], None] | None,
        encoder: Encoder,
        keep: Keep | None,
    ) -> None:
        self.encoder, self.keep = encoder, keep
        self.source, self.clinic_stream = source, clinic_stream
        self.log, self.standing, self.clock = log, standing, clock
        self.correlation_id, self.on_progress, self.on_refusal = correlation_id, on_progress, on_refusal
        self.report = Report()
        self.waiting = WaitingRoom()
        self.bytes_read = self.bytes_total = 0
        self.standing.catch_up(self.log.end())
        self.epoch = self.standing.epoch()

    def moved(self, size_bytes: int) -> None:
        self.bytes_read += size_bytes

    # -- batches -----------------------------------------------------------------------------------------------

    def take_all(self, items: Iterator[Found | Refusal]) -> None:
        batch: list[Item] = []
        size = 0
        for item in items:
            if isinstance(item, Refusal):
                self._refuse(item)
                continue
            self.report.read[item.resource["resourceType"]] += 1
            found = place(item, self.source, self.clinic_stream)
            if isinstance(found, Waiting):
                self.waiting.add(found)
                continue
            batch.append(found)
            size += len(item.text)
            if len(batch) >= BATCH_ITEMS or size >= BATCH_BYTES:
                self._settle(batch)
                batch, size = [], 0
        self._settle(batch)
        self._settle_waiting()

    def _settle_waiting(self) -> None:
        """All patients are in; who is not known now stays with the source."""
        batch: list[Item] = []
        named: dict[str, str | None] = {}
        for waiting in self.waiting:
            if waiting.identifier not in named:
                named[waiting.identifier] = self._patient_named(waiting.identifier)
            batch.append(placed(waiting, self.source, named[waiting.identifier]))
            if len(batch) >= BATCH_ITEMS:
                self._settle(batch)
                batch, named = [], {}
        self._settle(batch)

    def _patient_named(self, identifier: str) -> str | None:
        """The stream of the one patient who bears it; of several nobody guesses."""
        system, _, value = identifier.partition("|")
        found = self.standing.patients_known_as(self.source, system, value)
        return next(iter(found)) if len(found) == 1 else None

    def _settle(self, batch: list[Item]) -> None:
        """Decides, appends and judges until every item of the batch stands in the record."""
        for _ in range(MAX_ROUNDS):
            if not batch:
                break
            batch = self._round(batch)
            self._tell()
        if batch:
            raise Conflict(
                f"{len(batch)} resources did not get through: other writers were faster {MAX_ROUNDS} times",
                "run the import again when they are done",
            )

    def _tell(self) -> None:
        if self.on_progress is not None:
            read, appended = self.report.read.total(), self.report.appended
            self.on_progress(Progress(self.bytes_read, self.bytes_total, read, appended))

    # -- one round ---------------------------------------------------------------------------------------------

    def _round(self, batch: Sequence[Item]) -> list[Item]:
        """Those that have to be decided anew, in order."""
        decisions, entries = self._decide(batch)
        if not decisions:
            return []
        self.log.append(EVENTS, entries)
        # The end of control is read after the events stand: a rewind that they did not know is seen before they count.
        self.standing.catch_up(self.log.end())
        epoch = self.standing.epoch()
        if epoch != self.epoch:
            raise SetAside(
                "a recovery went back to an earlier moment while the import ran",
                "run the import again: what is missing then applies anew",
                epoch=epoch,
            )
        applied = self._applied(decisions)
        for decision in decisions:
            if decision.event.event_id in applied:
                self._count(decision.item, decision.mapped)
        self.report.appended += len(applied)
        return [d.item for d in decisions if d.event.event_id not in applied]

    def _decide(self, batch: Sequence[Item]) -> tuple[list[Decision], list[Entry]]:
        self.encoder.prepare({item.stream for item in batch})
        heads = self.standing.heads({item.stream for item in batch})
        contents = self.standing.held({item.key for item in batch})
        # A file may hold several versions of a resource. Where they end with what the record holds, they were imported
        # before: going through them again would be no news.
        ends = {item.key: item.digest for item in batch}
        settled = {key for key, held in contents.items() if held.digest == ends[key]}
        now = Circumstances(self.source, dict(ACTOR), self.epoch, self.correlation_id, self.clock())
        decisions: list[Decision] = []
        entries: list[Entry] = []
        for item in batch:
            if self.encoder.refuses(item.stream):
                self._refuse(Refusal(item.found.file, item.found.line, "its patient was erased"))
                continue
            held = contents.get(item.key)
            known = item.key in settled
            try:
                original = self._original(item, known or (held is not None and held.digest == item.digest))
            except BadInput as error:
                self._refuse(Refusal(item.found.file, item.found.line, error.message))
                continue
            decision = None if known else decide(item, heads.get(item.stream, EMPTY), held, now, original)
            if decision is None:
                self.report.unchanged += 1
                self._count(item, held is not None and held.mapped)
                continue
            value = self.encoder.encode(decision.event)
            if len(value) > MAX_VALUE_BYTES:
                reason = f"larger than {MAX_VALUE_BYTES} bytes even when compressed"
                self._refuse(Refusal(item.found.file, item.found.line, reason))
                continue
            event = decision.event
            heads[item.stream] = Head(event.version, event.event_id)
            contents[item.key] = Held(item.digest, event.event_id, decision.mapped)
            decisions.append(decision)
            entries.append(Entry(item.stream.encode(), value, headers_of(event.payload)))
        return decisions, entries

    def _original(self, item: Item, is_known: bool) -> Original | None:
        """The resource without its large files, which are kept before its event is. Raises BadInput (TooLarge)."""
        keep, found = self.keep, item.found
        if keep is None or is_known:
            return None
        return take_out(found.text, found.resource, partial(keep, item.stream))

    def _applied(self, decisions: Sequence[Decision]) -> set[EventId]:
        """Which of the events took effect: those that last set their resource, and of the others those that did
        although something (a later one of this batch, another import) has set it since."""
        last = {held.event_id for held in self.standing.held({d.item.key for d in decisions}).values()}
        ids = {d.event.event_id for d in decisions}
        rest = ids - last
        return (ids & last) | (set(self.standing.applied(rest)) if rest else set())

    # -- counting ----------------------------------------------------------------------------------------------

    def _count(self, item: Item, mapped: bool) -> None:
        (self.report.mapped if mapped else self.report.kept)[item.key[2]] += 1

    def _refuse(self, refusal: Refusal) -> None:
        self.report.refused += 1
        if len(self.report.refusals) < LISTED_REFUSALS:
            self.report.refusals.append(refusal)
        if self.on_refusal is not None:
            self.on_refusal(refusal)
