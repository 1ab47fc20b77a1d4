"""From a snapshot at 95 % of the log plus the tail, against the full replay, on the same archive."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from benchmarks.child import Report, run_child
from benchmarks.clinics import shipped_clinic
from benchmarks.harness import Bench, Figure, Missing, at_most, say
from benchmarks.servers import database

Place = Callable[[], AbstractContextManager[str]]
"""Gives the URL of new tables."""


def run(bench: Bench) -> list[Figure]:
    home = str(shipped_clinic(bench).path)
    figures = _figures(
        bench, home, "SQLite", lambda: nullcontext(f"sqlite:{bench.scratch('tables') / 'tables.db'}")
    )
    try:
        return [*figures, *_figures(bench, home, "PostgreSQL", database)]
    except Missing as error:
        say(f"  left out: PostgreSQL ({error})")
        return figures


def _figures(bench: Bench, home: str, name: str, place: Place) -> list[Figure]:
    full: list[float] = []
    quick: list[Report] = []
    for _ in range(bench.runs):
        with place() as url:
            full.append(run_child("rebuild", home, url, "1")["seconds"])
        with place() as url:
            quick.append(run_child("from_snapshot", home, url, "1"))
    whole = statistics.median(full)
    serving = statistics.median(report["serving_seconds"] for report in quick)
    complete = statistics.median(report["seconds"] for report in quick)
    return [
        Figure(f"{name}: full replay", whole, "s"),
        Figure(f"{name}: records serve", serving, "s", note=f"tail of {quick[0]['tail']:,} records"),
        Figure(f"{name}: records serve, against the full replay", serving / whole, "x", at_most(1 / 3)),
        Figure(f"{name}: journal complete", complete, "s"),
    ]
