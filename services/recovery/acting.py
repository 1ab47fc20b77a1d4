"""Carrying a recovery out, step by step. Each step can be killed and is taken up by running the command again:

* a log is restored beside nothing, and opens only when it is whole, its generation's rewind included;
* the rewind is one record, appended once: run again, the plan finds the history already there. It names the epoch
  that the plan was made in, so of two recoveries at once, or of one that waited for its operator, the later fails;
* tables are rebuilt beside the old ones and swapped in whole, or follow the log in transactions;
* the checkpoint that covers the rewind is the end: only then has the recovery happened;
* attached files come back last, when everything else serves;
* what it took away is noted beside, so that the report of a recovery taken up tells of the whole (taking_up.py).
"""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from functools import partial
from typing import Literal

from events.codec import encode_control, rewound
from events.envelope import ID_BYTES, Epoch
from events.errors import Busy, Refused, TablesDamaged, Unavailable
from events.log import Entry as LogEntry
from events.log import EventLog, Record, TimeType
from events.partitioning import all_partitions
from events.position import CONTROL, CONTROL_PARTITION, Position
from events.rules import Effect, Rewind
from projections.bulk import rebuild
from projections.completing import complete_journal
from projections.store import Tables
from replicator.continuity import check_continuity
from replicator.planning import Holdings, RecoveryPlan, beyond, plan_recovery
from replicator.pruning import pin
from replicator.snapshot import open_snapshot, reopened_snapshot
from replicator.targets import Point, Target, refuse_future, resolve
from services.backups.cadence import Work
from services.projecting import catch_up, finish_journal
from services.recovery.attachments import Brought, bring_attachments
from services.recovery.keys import bring_keys, erase_by_log, note_missing, open_again, restrict_by_log
from services.recovery.locating import locate
from services.recovery.looking import View, find_log, look
from services.recovery.measuring import keep_rates, read_rates
from services.recovery.taking_up import Attempt, Tell
from services.recovery.verifying import verify
from services.replicating import ship
from services.system import System

MILLIS = 1000


@dataclass(frozen=True)
class Request:
    """What the operator asked for."""

    target: Target
    actor: dict[str, str]
    reason: str
    workers: int = 1
    zone: tzinfo = UTC
    """In which messages tell times."""


@dataclass
class Report:
    """What a recovery did, and how long the clinic was without."""

    started: int
    """Milliseconds UTC."""
    plan: RecoveryPlan | None = None
    finished: int = 0
    restored_records: int = 0
    epoch: Epoch | None = None
    back_to: int | None = None
    """The moment (milliseconds UTC) that a rewind went back to."""
    set_aside_records: int = 0
    """Records of events beyond the recovery point up to where the data ended once the rewind stood."""
    checkpoint: int = 0
    steps: dict[str, float] = field(default_factory=dict)
    """step -> seconds."""
    verified: dict[str, int] = field(default_factory=dict)
    attachments: Brought = field(default_factory=Brought)
    lost_after: int | None = None
    """Where the log was lost: anything later than this (milliseconds UTC) may be gone."""

    @property
    def rto_seconds(self) -> float:
        return (self.finished - self.started) / MILLIS

    @property
    def rpo_seconds(self) -> float | None:
        """From the moment to which records are there again to the start of the recovery; None: nothing went back."""
        then = self.back_to if self.back_to is not None else self.lost_after
        return None if then is None else max(0, self.started - then) / MILLIS


def prepare(system: System, request: Request, tell: Tell, *, ship_first: bool) -> tuple[View, RecoveryPlan]:
    """Looks, ships the unshipped tail where the log stands (unless only planning), resolves and plans."""
    now = system.clock()
    if request.target.time is not None and request.target.time > now:
        # By the log's clock, which times are read on, it may be over: then a checkpoint says so.
        refuse_future(request.target, system.archive().restorable, now, request.zone)
    if ship_first:
        bring_keys(system, tell)
    log = find_log(system)
    try:
        if log is None:
            tell("The log is gone: it will be restored from the archive.")
        elif ship_first:
            tell("Shipping what the archive does not hold yet.")
            ship(system, log, not_before=request.target.time)
        view = look(system, log)
        if log is not None and not ship_first:
            check_continuity(log, view.archive.head)  # as shipping would
        return view, _plan(system, request, view, with_tail=log is not None and not ship_first)
    except BaseException:
        if log is not None:
            log.close()
        raise


def _plan(system: System, request: Request, view: View, *, with_tail: bool) -> RecoveryPlan:
    holdings = _with_tail(view.holdings, system.clock()) if with_tail else view.holdings
    target = request.target
    point = resolve(
        target,
        holdings.range,
        holdings.marks,
        view.times,
        system.clock(),
        located=locate(system, view, target.event) if target.event else None,
        control=view.situation.control,
        zone=request.zone,
    )
    if target.latest:
        point = Point(view.end, None)
    return plan_recovery(target, point, holdings, view.situation, read_rates(system))


def _with_tail(holdings: Holdings, now: int) -> Holdings:
    """For a plan alone: what would be shipped first can be restored too."""
    span = holdings.range
    return holdings if span is None else replace(holdings, range=replace(span, last=max(now, span.last)))


def act(system: System, request: Request, view: View, plan: RecoveryPlan, report: Report, tell: Tell) -> None:
    """Carries `plan` out and fills `report`. Raises whatever stopped it; the same command takes it up again."""
    clock = _Stopwatch(system, report)
    report.plan = plan
    attempt = Attempt(system, report.started, view.newest, tell)
    log, after = view.log, view.newest
    pin_archive(system, plan, tell)
    if plan.restore_log is not None:
        tell(f"Restoring the log: {plan.restore_log.records():,} records.")
        generation = new_epoch()
        attempt.loses(view.holdings.marks.last.time, generation)
        report.restored_records = restore_log(system, view, plan.restore_log, request, generation)
        log = system.log()
        after = view.effect_now(log).newest
        clock.step("log")
    assert log is not None
    with closing(log):
        if view.effect_now(log).newest != after:
            raise overtaken()
        if plan.rewind:
            tell(
                f"Appending the rewind; it sets {plan.set_aside_records:,} records aside, which stay as evidence."
            )
            rewind = Rewind(new_epoch(), after, plan.position)
            attempt.goes_back(plan.time, rewind.epoch, plan.set_aside_records)
            report.epoch = append_rewind(system, log, view, rewind, request, plan.time)
            attempt.goes_back(plan.time, rewind.epoch, beyond(plan.position, log.end()))
            clock.step("rewind")
        with closing(system.patient_keys()) as keys:
            erase_by_log(keys, view.archive, log, tell)
        bring_tables(system, log, view, plan, request.workers, tell)
        clock.step("tables")
        keep_rates(system, _work(view, plan, report))
        tell("Writing the checkpoint that covers the recovery.")
        report.checkpoint = ship(system, log).checkpoint
        clock.step("checkpoint")
        try:
            report.verified = finish(system, log, request.workers, clock)
        except TablesDamaged:  # where the plan did not need to look
            make_tables_anew(system, log, request.workers, tell)
            report.verified = finish(system, log, request.workers, clock)
        report.finished = system.clock()  # everything serves: what follows comes back beside
        report.attachments = bring_attachments(system, view.archive, tell)
        clock.step("attachments")
        attempt.ended(report, view.effect_now(log))


def pin_archive(system: System, plan: RecoveryPlan, tell: Tell) -> None:
    """Keeps what the plan reads from being pruned; a store that refuses is told, and the recovery goes on."""
    if plan.restore_log is None and plan.snapshot is None:
        return
    try:
        pin(system.writer().store, secrets.token_hex(8), "a recovery reads this archive")
    except (Refused, Unavailable) as error:
        tell(
            f"warning: the archive is not pinned ({error.message}): let nobody prune it until this has ended"
        )


def _work(view: View, plan: RecoveryPlan, report: Report) -> Work:
    """What was done so far, for the estimates of the next plan."""
    rows = sum(s.rows for s in view.holdings.snapshots if s.id == plan.snapshot)
    seconds = report.steps
    return Work(report.restored_records, seconds.get("log", 0.0), rows, plan.replayed, seconds["tables"])


class _Stopwatch:
    def __init__(self, system: System, report: Report) -> None:
        self._clock, self._report, self._last = system.clock, report, system.clock()

    def step(self, name: str) -> None:
        now = self._clock()
        self._report.steps[name] = (now - self._last) / MILLIS
        self._last = now


def finish(system: System, log: EventLog, workers: int, clock: _Stopwatch) -> dict[str, int]:
    """The journal, filled, and what verification counted."""
    fill_journal(system, log, workers)
    clock.step("journal")
    open_again(system)
    note_missing(system)
    restrict_by_log(system)
    with closing(system.tables()) as tables:
        verified = verify(log, tables)
    clock.step("verification")
    return verified


def restore_log(system: System, view: View, held: Position, request: Request, epoch: Epoch) -> int:
    """The log as archived up to `held`, and behind it the rewind that begins the new generation in `epoch`.

    Where an earlier try was stopped after that rewind, it is that one's, with that one's epoch.
    """
    counts: dict[str, int] = {}
    for partition in held:
        counts[partition.topic] = counts.get(partition.topic, 0) + 1
    with closing(system.restorer()) as restorer:
        stands = restorer.begin(counts, f"{view.archive.config.archive_id}/{view.archive.head.n}")
        restored = 0
        for partition in all_partitions(counts):  # control's last
            for batch in view.archive.read(partition, stands[partition], held[partition]):
                restorer.write(partition, batch)
                restored += len(batch)
        if stands.control <= held.control:
            restorer.write(CONTROL_PARTITION, [_generation(system, view, held, request, epoch)])
        restorer.finish()
    return restored


def _generation(system: System, view: View, held: Position, request: Request, epoch: Epoch) -> Record:
    after = Effect(view.situation.control, held).newest
    value = _rewound(system, request, Rewind(epoch, after, held), "generation", None)
    time = max(system.clock(), view.holdings.marks.last.time)
    return Record(held.control, time, TimeType.APPEND, None, (), value)


def _rewound(
    system: System,
    request: Request,
    rewind: Rewind,
    kind: Literal["recovery", "generation"],
    time: int | None,
) -> bytes:
    return encode_control(
        rewound(
            control_id=secrets.token_bytes(ID_BYTES),
            recorded_at=system.clock() * MILLIS,
            actor=request.actor,
            rewind=rewind,
            kind=kind,
            target_time=time,
            reason=request.reason,
        )
    )


def append_rewind(
    system: System, log: EventLog, view: View, rewind: Rewind, request: Request, time: int | None
) -> Epoch:
    """Appends the rewind and reads it back. Raises Busy where another one was faster."""
    log.append(CONTROL, [LogEntry(None, _rewound(system, request, rewind, "recovery", time))])
    if rewind.epoch not in view.effect_now(log).known:
        raise overtaken()
    return rewind.epoch


def overtaken() -> Busy:
    return Busy(
        "another recovery came first, after this one was planned; this one has no effect",
        "look at 'rekam status', then decide again",
    )


def new_epoch() -> Epoch:
    return secrets.token_bytes(ID_BYTES)


def bring_tables(
    system: System, log: EventLog, view: View, plan: RecoveryPlan, workers: int, tell: Tell
) -> None:
    """The tables at the log's end: rebuilt in bulk, or by following."""
    try:
        with closing(_tables_to_bring(system, plan)) as tables:
            if plan.tables == "rebuild":
                end = log.end()
                tell(f"Rebuilding the tables from {end.records():,} records.")
                snapshot = open_snapshot(view.archive, plan.snapshot) if plan.snapshot else None
                again = partial(reopened_snapshot, system.archive_opener(), snapshot.id) if snapshot else None
                rebuild(
                    system.log_opener(),
                    end,
                    tables,
                    workers=workers,
                    snapshot=snapshot,
                    open_snapshot=again,
                )
            else:
                finish_journal(system.log_opener(), tables)
            catch_up(log, tables)
    except TablesDamaged:
        make_tables_anew(system, log, workers, tell)


def _tables_to_bring(system: System, plan: RecoveryPlan) -> Tables:
    """Those that are to be rebuilt may have another version's layout."""
    return system.tables(check=plan.tables != "rebuild")


def make_tables_anew(system: System, log: EventLog, workers: int, tell: Tell) -> None:
    """In place of damaged ones, from the log alone."""
    tell("The tables are damaged: they are thrown away and made anew.")
    system.discard_tables()
    with closing(system.tables()) as tables:
        rebuild(system.log_opener(), log.end(), tables, workers=workers)
        catch_up(log, tables)


def fill_journal(system: System, log: EventLog, workers: int) -> None:
    """The journal behind a snapshot's tables, which serve already; nothing where it is whole."""
    with closing(system.tables()) as tables:
        complete_journal(system.log_opener(), tables, workers=workers)
        catch_up(log, tables)
