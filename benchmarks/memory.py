"""A whole recovery at two sizes: log and tables are lost, the archive alone is left. Memory is bounded, time linear."""

from __future__ import annotations

from benchmarks.child import Report, run_child
from benchmarks.clinics import make_clinic
from benchmarks.harness import Bench, Figure, at_most
from services.home import Home

FRACTION = 4
"""The smaller clinic has this part of the events."""
MOST_MIB = 1024
LINEAR = 1.25
"""Time per event may differ by this factor between the sizes: at the smaller, starting up weighs more."""


def run(bench: Bench) -> list[Figure]:
    small = _recover(bench, max(1, bench.events // FRACTION))
    large = _recover(bench, bench.events)
    return [
        Figure(f"memory, {small['records']:,} records", small["peak_mib"], "MiB", at_most(MOST_MIB)),
        Figure(f"memory, {large['records']:,} records", large["peak_mib"], "MiB", at_most(MOST_MIB)),
        Figure("memory, larger against smaller", large["peak_mib"] / small["peak_mib"], "x"),
        Figure("recovery of the larger", large["seconds"], "s", note=_steps(large)),
        Figure("time per record, larger against smaller", _each(large) / _each(small), "x", at_most(LINEAR)),
    ]


def _recover(bench: Bench, events: int) -> Report:
    home = make_clinic(bench, events)
    lose_disk(home)
    return run_child("recover", str(home.path))


def lose_disk(home: Home) -> None:
    """Log and tables are gone, as with the disk they were on."""
    for database in home.path.glob("*.db*"):
        database.unlink()


def _each(report: Report) -> float:
    return float(report["seconds"] / max(1, report["records"]))


def _steps(report: Report) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report["steps"].items())
