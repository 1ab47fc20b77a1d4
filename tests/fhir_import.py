"""An import into log and tables in a folder."""

from __future__ import annotations

from pathlib import Path

from events.sqlite_log import SqliteLog
from projections.store import open_tables
from services.fhir.importing import Report, import_fhir
from services.fhir.standing import TablesStanding

CLINIC = "clinic-" + "0" * 32
NOW = 1_795_395_600_000_000


def import_into(folder: Path, source: str, path: Path, tables_url: str | None = None) -> Report:
    log = SqliteLog(folder / "log.db", create=True)
    tables = open_tables(tables_url or f"sqlite:{folder / 'tables.db'}")
    try:
        return import_fhir(
            [path],
            source=source,
            clinic_stream=CLINIC,
            log=log,
            standing=TablesStanding(log, tables),
            clock=lambda: NOW,  # so that every run writes the same bytes
        )
    finally:
        tables.close()
        log.close()
