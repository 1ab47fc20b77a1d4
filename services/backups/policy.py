"""How long backups are kept: what the clinic's owner decides, in rekam.toml's [retention]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from replicator.backups import Kind


class Keep(NamedTuple):
    """How many of a kind stay at least, and how long all of them do."""

    newest: int
    days: float


class Hold(NamedTuple):
    """Backups of these moments (milliseconds UTC, both inclusive) stay, whatever their age."""

    first: int
    last: int
    reason: str


@dataclass(frozen=True)
class Policy:
    """What the clinic's owner decided."""

    keep: Mapping[Kind, Keep]
    holds: Sequence[Hold] = ()
    automatic: bool = True
