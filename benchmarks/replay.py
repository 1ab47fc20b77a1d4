"""From the archive to tables, journal and indexes included: SQLite, PostgreSQL with one worker and with all.

Beside PostgreSQL stands what it allows at best: the same rows loaded with COPY and indexed, by one client.
"""

from __future__ import annotations

import statistics

from benchmarks.bare_copy import bare_copy_seconds
from benchmarks.child import Report, run_child
from benchmarks.clinics import shipped_clinic
from benchmarks.harness import Bench, Figure, Missing, at_least, say
from benchmarks.machine import cores
from benchmarks.servers import database, plain
from projections.postgresql_database import SCHEMA


def run(bench: Bench) -> list[Figure]:
    home = str(shipped_clinic(bench).path)
    runs = [
        run_child("rebuild", home, f"sqlite:{bench.scratch('tables') / 'tables.db'}", "1")
        for _ in range(bench.runs)
    ]
    figures = [Figure("into SQLite, one core", rate(runs), "events/s", at_least(50_000), memory(runs))]
    try:
        return [*figures, *_postgresql(bench, home)]
    except Missing as error:
        say(f"  left out: PostgreSQL ({error})")
        return figures


def _postgresql(bench: Bench, home: str) -> list[Figure]:
    one: list[Report] = []
    every: list[Report] = []
    bare: list[float] = []
    for _ in range(bench.runs):
        with database() as url:
            one.append(run_child("rebuild", home, url, "1"))
            bare.append(bare_copy_seconds(plain(url), SCHEMA, bench.folder))
        if cores() > 1:
            with database() as url:
                every.append(run_child("rebuild", home, url, str(cores())))
    floor = bench.events / statistics.median(bare)
    figures = [
        Figure(
            "bare COPY of the same rows, indexed", floor, "events/s", note="one client, nothing else done"
        ),
        Figure("into PostgreSQL, one worker", rate(one), "events/s", at_least(45_000), memory(one)),
        Figure("one worker against bare COPY", rate(one) / floor, "x"),
    ]
    if every:
        name = f"into PostgreSQL, {cores()} workers"
        figures += [
            Figure(name, rate(every), "events/s", at_least(60_000), memory(every)),
            Figure("all workers against one", rate(every) / rate(one), "x"),
        ]
    return figures


def rate(reports: list[Report]) -> float:
    """Records a second, from the start of the work to tables that serve."""
    return float(statistics.median(report["records"] / report["seconds"] for report in reports))


def memory(reports: list[Report]) -> str:
    return f"at most {max(report['peak_mib'] for report in reports):,.0f} MiB"
