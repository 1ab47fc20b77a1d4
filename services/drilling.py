"""Drills: a recovery into scratch at a moment that nobody chose, compared with the live history, measured and kept.

What is rehearsed is the loss of everything but the archive, the owner's identity and the backup of patients' keys, by
the steps of a recovery: the log comes back whole and then goes back, so all of it is read whatever the moment is. The
result stands on control and in the archive, so the next checkpoint signs it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, tzinfo
from random import Random

from events.codec import drill_completed, encode_control
from events.envelope import ID_BYTES
from events.errors import Busy, LogMissing, LostData, Refused, Unavailable
from events.log import Entry as LogEntry
from events.position import CONTROL
from replicator.drills import Drill, add_drill
from replicator.outcome import Outcome
from replicator.targets import Target, resolve
from services.backups.rehearsing import Check, compare_with_live
from services.replicating import ship
from services.system import System

MILLIS = 1000
UNDECIDED = (Unavailable, Busy, LogMissing)
ACTOR = {"id": "drill", "role": "system", "system": "rekam"}


def drill(
    system: System,
    random: Random,
    check: Check,
    target: int | None = None,
    tell: Callable[[str], object] = str,
    zone: tzinfo = UTC,
) -> Drill:
    """Rehearses a recovery to `target`, else to a random restorable moment; keeps nothing yet.
    `zone`: in which messages tell times.

    Raises Refused where nothing can be rehearsed: there is no checkpoint, or no identity to open the archive with.
    """
    index = system.archive()
    span = index.restorable
    if span is None:
        raise Refused("the archive holds no checkpoint, so there is nothing to rehearse", "ship first")
    if index.recipients and index.identity_key is None:
        raise Refused("a drill opens the archive", "put the owner's file (owner.txt) into the keys folder")
    time = random.randint(span.first, span.last) if target is None else target
    point = resolve(Target(time), span, index.marks, index, system.clock(), zone=zone)
    begun = system.clock()
    tell(f"Rehearsing the loss of everything but the archive: {index.end().records():,} records.")
    findings: list[str] = []
    outcome, taken = Outcome.OK, 0
    try:
        compared = compare_with_live(system, index, point.position, check, rewound=True)
        taken = compared.millis
        findings = [f"the table {table} differs from the live history" for table in compared.differ]
        outcome = Outcome.INVALID if findings else Outcome.OK
    except UNDECIDED as error:
        findings, outcome = [str(error)], Outcome.INCONCLUSIVE
    except LostData as error:
        findings, outcome = [str(error)], Outcome.INVALID
    return Drill(
        time=begun,
        target=time,
        position=point.position,
        checkpoint=index.head.n,
        outcome=outcome,
        records=index.end().records(),
        rto_millis=taken,
        rpo_millis=max(0, begun - span.last),
        findings=tuple(findings),
    )


def keep(system: System, done: Drill) -> int:
    """In the archive and on control; the checkpoint that names it. Raises Unavailable, Busy, LostData, Refused."""
    entry = add_drill(system.writer(), done)  # first: what cannot be kept there is tried again, and told once
    with closing(system.log()) as log:
        value = drill_completed(
            control_id=secrets.token_bytes(ID_BYTES),
            recorded_at=system.clock() * MILLIS,
            actor=ACTOR,
            drill_id=secrets.token_hex(ID_BYTES),
            target_time=done.target,
            position=done.position,
            succeeded=done.outcome is Outcome.OK,
            events=done.records,
            rpo_millis=done.rpo_millis,
            rto_millis=done.rto_millis or None,
            summary="; ".join(done.findings) or "every table agreed with the live history",
        )
        log.append(CONTROL, [LogEntry(None, encode_control(value))])
        return ship(system, log, entries=[entry]).checkpoint
