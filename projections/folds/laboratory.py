"""Folds of the laboratory family."""

from __future__ import annotations

from collections.abc import Mapping

from projections import record_tables as tables
from projections.folds.records import record_fold
from projections.rows import Fold

_RESULT = record_fold(tables.LABORATORY_RESULTS, "laboratory_result")

FOLDS: Mapping[str, Fold] = {
    "id.rekam.laboratory.LaboratoryOrdered": record_fold(tables.LABORATORY_ORDERS, "laboratory_order"),
    "id.rekam.laboratory.SpecimenCollected": record_fold(tables.SPECIMENS, "specimen"),
    "id.rekam.laboratory.LaboratoryResulted": _RESULT,
    "id.rekam.laboratory.LaboratoryResultCorrected": _RESULT,
    "id.rekam.laboratory.LaboratoryReported": record_fold(tables.LABORATORY_REPORTS, "laboratory_report"),
}
