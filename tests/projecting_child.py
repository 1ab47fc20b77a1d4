"""A process to be killed: projects or rebuilds. `python -m tests.projecting_child WORK LOG TABLES`."""

from __future__ import annotations

import sys
from pathlib import Path

from events.sqlite_log import SqliteLog
from projections import projector
from projections.bulk import rebuild
from projections.store import open_tables
from tests.tiny_tables import tiny


def main(work: str, log_path: str, url: str) -> None:
    log = SqliteLog(Path(log_path))
    tables = open_tables(url, define=tiny)
    if work == "project":
        projector.BATCH_RECORDS = 50
        projector.project(log, tables)
    else:
        rebuild(lambda: SqliteLog(Path(log_path)), log.end(), tables)


if __name__ == "__main__":
    main(*sys.argv[1:])
