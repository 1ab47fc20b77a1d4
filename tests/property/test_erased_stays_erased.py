"""Law 8: erased stays erased through every recovery, and everybody else is untouched.

The lives are those of the laws (test_laws.py), with erasures among appends, rewinds, snapshots, losses (of log, tables
and keys, to backups of any age) and recoveries to any moment. After each step nothing of an erased patient is in the
tables, in their past, or in an export; and whatever the tables were made by, they are the same.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from events.codec import encode_event
from events.envelope import Event
from events.patient_keys import Erased
from projections.asof import as_of
from projections.digest import digest, digest_at
from projections.store import Tables
from projections.system_tables import STREAMS
from projections.tables import PATIENTS
from replicator.erasures import read_erasures
from services.erasing import Request, erase
from services.fhir.exporting import export_fhir
from services.projecting import catch_up
from tests.examples import examples
from tests.property.test_laws import ACTOR, SHRINKING_SECONDS, Laws, Life
from tests.systems import Died


class SleepingLife(Life):
    """Whose writers may not have heard of an erasure: they write in the clear, or under the key that is gone."""

    def encode(self, event: Event) -> bytes:
        try:
            return super().encode(event)
        except Erased:
            return encode_event(event)


class Erasures(Laws):
    most_writes = 8

    def begin_life(self, seed: int) -> Life:
        self.erased: set[str] = set()
        return SleepingLife(seed, self.system)

    # -- what is compared: everybody but the erased --------------------------------------------------------------

    def picture(self, tables: Tables) -> Any:
        found = {}
        with tables.reading():
            for table in (*tables.definition.tables, STREAMS):
                rows = tables.all_rows(table)
                found[table.name] = [row for row in rows if row[0] not in self.erased]
        return found

    def known(self, picture: Any) -> Any:
        return {name: [row for row in rows if row[0] not in self.erased] for name, rows in picture.items()}

    # -- erasing -------------------------------------------------------------------------------------------------

    @rule(pick=st.integers(0, 4))
    def erase_somebody(self, pick: int) -> None:
        stream = self.life.streams[pick]
        with closing(self.system.tables()) as tables:
            catch_up(self.system.log(), tables)
            before = self.picture(tables)
            there = bool(tables.journal(stream))
        if not there:
            return
        report = erase(self.system, Request(stream, ACTOR, "asked for", "ordered"), retention_years=25)
        self.erased.add(stream)
        with closing(self.system.tables()) as tables:
            assert self.picture(tables) == self.known(before), "somebody else changed"
        self.look()
        named = {key for entry in read_erasures(self.system.archive()) for key in entry.keys}
        assert set(report.keys) <= named

    @rule(at=st.integers(0, 12), pick=st.integers(0, 4), at_keys=st.booleans())
    def die_while_erasing(self, at: int, pick: int, at_keys: bool) -> None:
        """Killed at any operation on a store; from the first step on nothing is shown, and the same again ends it."""
        stream = self.life.streams[pick]
        with closing(self.system.tables()) as tables:
            catch_up(self.system.log(), tables)
            if not tables.journal(stream):
                return
        store = self.key_store if at_keys else self.store
        store.die_after(at)
        try:
            erase(self.system, Request(stream, ACTOR, "asked for", "ordered"), retention_years=25)
        except Died:
            pass
        finally:
            store.live()
        self.erased.add(stream)
        self.look()
        erase(self.system, Request(stream, ACTOR, "asked for", "ordered"), retention_years=25)

    # -- coming back ---------------------------------------------------------------------------------------------

    def recover(self, time: int | None) -> None:
        super().recover(time)
        self.look()

    @rule()
    def keep_old_keys(self) -> None:
        """Somebody copies the backup of keys, to put it back one day."""
        self.old_keys = {s.key: self.key_store.get(s.key) for s in self.key_store.list("")}

    @rule(back=st.integers(0, 400), lose_log=st.booleans(), lose_tables=st.booleans())
    def recover_with_old_keys(self, back: int, lose_log: bool, lose_tables: bool) -> None:
        """The store of keys is lost, and beside its backup lies an older one, or alone."""
        for key, data in getattr(self, "old_keys", {}).items():
            if not any(stored.key == key for stored in self.key_store.list("")):
                self.key_store.create(key, data)
        self.system.lose_keys()
        self.recover_any_time(back, lose_log, lose_tables)

    # -- looking -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        if not self.system.log_stands:
            return
        log = self.system.log()
        end = log.end()
        with closing(self.system.tables()) as tables:
            catch_up(log, tables)
            for stream in self.erased:
                self.shows_nothing({t.name: tables.rows(t, stream) for t in tables.definition.tables})
                for at in (None, self.life.torn()):
                    self.shows_nothing(as_of(tables, stream, at))
                assert not list(export_fhir(tables, stream)), "law 8: in an export"
            live = digest(tables)
        made_anew = digest_at(self.system.log_opener(), end, reveal=self.system.reveal())
        assert made_anew == live, "law 8: rebuilt tables are others"

    @staticmethod
    def shows_nothing(rows: dict[str, list[Any]]) -> None:
        names = [column.name for column in PATIENTS.columns]
        for table, found in rows.items():
            for row in found:
                assert table == "patients", f"law 8: {table} shows an erased patient"
                held = {n: v for n, v in zip(names, row, strict=True) if v not in (None, 0)}
                told = {"stream", "event_id", "version", "occurred_at", "erased_by", "sex"}
                assert set(held) <= told | {"name"} and not held.get("name"), "law 8: a row shows more"


TestErasures = pytest.mark.timeout(SHRINKING_SECONDS)(Erasures.TestCase)
TestErasures.settings = settings(
    max_examples=examples(40),
    stateful_step_count=20,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
