"""What goes back with the error: the events that a planned rewind would set aside, by type, patient and actor.

Counted in the tables' journal, as far as the tables have followed the log; nothing is read again and nothing changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from events.errors import RekamError
from events.rules import Effect
from events.sealing import PATIENT
from projections.set_aside import counts_in, difference
from replicator.planning import RecoveryPlan, chain_after
from services.recovery.looking import View
from services.system import System

NAMED = 3
"""So few patients or actors are named."""


@dataclass(frozen=True)
class GoesBack:
    """Events that take no effect any more once a plan is carried out."""

    events: int
    types: Mapping[str, int]
    patients: Mapping[str, int]
    """stream -> events."""
    actors: Mapping[str, int]
    """actor's id -> events."""

    def to_json(self) -> dict[str, Any]:
        few = len(self.patients) <= NAMED
        return {
            "events": self.events,
            "types": dict(self.types),
            "patients": len(self.patients),
            "of": sorted(self.patients) if few else None,
            "actors": dict(self.actors),
        }

    def in_words(self) -> list[str]:
        """Lines for the plan."""
        types = ", ".join(f"{kind} {n:,}" for kind, n in Counter(self.types).most_common())
        lines = [f"{self.events:,} events of {len(self.patients):,} patients: {types}"]
        if len(self.actors) <= NAMED:
            lines.append(f"all by {_listed(list(self.actors))}")
        if len(self.patients) <= NAMED:
            lines.append(f"all about {_listed(list(self.patients))}")
        return lines

    def enough(self, target: str) -> str | None:
        """The `rekam undo` that would do instead, where one patient's, or one actor's, is all that goes back.

        `target`: its option for the plan's own target.
        """
        if len(self.patients) == 1 and self.events == sum(self.patients.values()):
            return (
                f"'rekam undo {next(iter(self.patients))} {target}' takes back the same, without a recovery"
            )
        if len(self.actors) == 1 and self.patients:
            return (
                f"'rekam undo PATIENT {target}' for each patient does without a recovery, where they are few"
            )
        return None


def _listed(names: Sequence[str]) -> str:
    return " and ".join(sorted(names)) or "nobody"


def goes_back(system: System, view: View, plan: RecoveryPlan) -> GoesBack | None:
    """None where nothing goes back, or the tables cannot tell: they are lost, damaged, or still being filled."""
    if not plan.rewind or view.situation.tables is None:
        return None
    now = Effect(view.situation.control, view.end)
    after = dict(chain_after(view.situation.control, plan.position, view.end))
    try:
        with closing(system.tables()) as tables:
            rows = [row for span in difference(now.stops, after) for row in counts_in(tables, span)]
    except RekamError:
        return None
    types: Counter[str] = Counter()
    patients: Counter[str] = Counter()
    actors: Counter[str] = Counter()
    for kind, stream, actor, count in rows:
        types[kind] += count
        actors[actor] += count
        if stream.startswith(PATIENT):
            patients[stream] += count
    return GoesBack(types.total(), types, patients, actors)
