"""From a snapshot at 95 % of the log plus the tail, against the full replay, on the same archive.

The replay is one worker's. The snapshot is loaded by one process, and by as many as `rekam recover` takes by itself:
one a processor.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from benchmarks.child import Report, run_child
from benchmarks.clinics import shipped_clinic
from benchmarks.harness import Bench, Figure, Missing, at_most, say
from benchmarks.machine import cores
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
    quick: dict[int, list[Report]] = {workers: [] for workers in sorted({1, cores()})}
    for _ in range(bench.runs):
        with place() as url:
            full.append(run_child("rebuild", home, url, "1")["seconds"])
        for workers, reports in quick.items():
            with place() as url:
                reports.append(run_child("from_snapshot", home, url, str(workers)))
    whole = statistics.median(full)
    figures = [Figure(f"{name}: full replay, one worker", whole, "s")]
    for workers, reports in quick.items():
        figures += _of(reports, f"{name}, {workers} worker{'s' * (workers > 1)}", whole, workers == cores())
    return figures


def _of(reports: list[Report], name: str, whole: float, as_recovered: bool) -> list[Figure]:
    """`as_recovered`: with as many processes as `rekam recover` takes, which is what the limit is for."""
    serving = statistics.median(report["serving_seconds"] for report in reports)
    complete = statistics.median(report["seconds"] for report in reports)
    limit = at_most(1 / 3) if as_recovered else None
    return [
        Figure(f"{name}: records serve", serving, "s", note=f"tail of {reports[0]['tail']:,} records"),
        Figure(f"{name}: records serve, against the full replay", serving / whole, "x", limit),
        Figure(f"{name}: journal complete", complete, "s"),
    ]
