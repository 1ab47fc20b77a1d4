"""What is folded into what: the state tables and the fold of each event type.

The clinic's own definition is tables.STATE_TABLES and folds.FOLDS; tests bring smaller ones. It is named by the
function that gives it, since a worker process has to make it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import sqlalchemy as sa

from projections.rows import Fold


class Definition(NamedTuple):
    tables: tuple[sa.Table, ...]
    """The state tables, in the order of a digest and a snapshot."""
    folds: Mapping[str, Fold]
    """Full Avro name of an event type -> its fold; a type without one changes no state table."""


Define: TypeAlias = Callable[[], Definition]
"""A module-level function, so that it can be named to a worker process."""


def clinic() -> Definition:
    """The definition that Rekam runs with."""
    from projections.folds import FOLDS
    from projections.tables import STATE_TABLES

    return Definition(tuple(STATE_TABLES), FOLDS)
