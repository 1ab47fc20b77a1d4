"""What a figure depends on: the machine, how busy it is, and the versions of what is measured."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = (
    "fastavro",
    "sqlalchemy",
    "psycopg",
    "kafka-python",
    "confluent-kafka",
    "cryptography",
    "pyrage",
    "eventsourcing",
)


def facts(folder: Path) -> dict[str, str]:
    """Name and value of everything that a reader needs to compare a figure with his own. `folder`: where it runs."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    memory = psutil.virtual_memory()
    return {
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}",
        "memory": f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB available",
        "file system": _file_system(folder),
        "system": platform.platform(),
        "load (1, 5, 15 min)": load,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "revision": _revision(),
        **{name: _version(name) for name in PACKAGES},
    }


def cores() -> int:
    return len(os.sched_getaffinity(0))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _file_system(folder: Path) -> str:
    here = str(folder.resolve())
    parts = [p for p in psutil.disk_partitions(all=True) if here.startswith(p.mountpoint)]
    kind = max(parts, key=lambda p: len(p.mountpoint)).fstype if parts else "unknown"
    return f"{kind}, {psutil.disk_usage(here).free / 2**30:.0f} GiB free"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _revision() -> str:
    git = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
