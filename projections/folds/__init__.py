"""The fold of every event type of rekam.events, by its full name.

Access events go to the access log, whose rows the projector writes itself; Sealed payloads are opened before they
are folded, or fold to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from projections.folds import billing, care, clinic, laboratory, registration
from projections.rows import Fold

FOLDS: Mapping[str, Fold] = {
    **registration.FOLDS,
    **care.FOLDS,
    **laboratory.FOLDS,
    **billing.FOLDS,
    **clinic.FOLDS,
}
