"""How fast this machine recovers, as it was measured last: plans and the cadence of snapshots estimate with it."""

from __future__ import annotations

import json
from dataclasses import asdict

from pydantic import TypeAdapter, ValidationError

from events.errors import Unavailable
from replicator.planning import ASSUMED, Rates
from services.backups.cadence import Work, measured
from services.system import System

_RATES = TypeAdapter(Rates)


def read_rates(system: System) -> Rates:
    """Those that are assumed where nothing was measured, or what is kept is not ours."""
    try:
        found = _RATES.validate_json(system.measured() or b"")
    except ValidationError:
        return ASSUMED
    return found if min(asdict(found).values()) > 0 else ASSUMED


def keep_rates(system: System, work: Work) -> None:
    """Learns from what a recovery took. Nothing fails for the want of it."""
    before = read_rates(system)
    after = measured(before, work)
    if after != before:
        try:
            system.keep_measured(json.dumps(asdict(after), sort_keys=True).encode())
        except Unavailable:
            return
