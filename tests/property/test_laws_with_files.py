"""The laws and the erasures, over lives in which files are attached too, and the folder that keeps them is lost.

After each recovery every document in effect has its file, byte for byte; an erased patient's is nowhere here, whatever
was lost and wherever one went back to.
"""

from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from events.attachments import HEAD_BYTES, erased_owners, owner_of
from events.client import Client
from events.errors import Conflict
from events.heads import LogHeads
from events.patient_keys import Erased
from replicator.blobs import not_held
from services.attachments import Wanted, attach, content_of
from services.projecting import catch_up
from services.replicating import ship
from tests.examples import examples
from tests.property.test_erased_stays_erased import Erasures
from tests.property.test_laws import ACTOR, SHRINKING_SECONDS, Laws, Life


class WithFiles(Laws):
    """What files add to any life."""

    most_writes = 6

    def begin_life(self, seed: int) -> Life:
        self.contents: dict[tuple[str, bytes], bytes] = {}
        """(stream, document's record_id in hex) -> its file."""
        return super().begin_life(seed)

    @rule(
        pick=st.integers(0, 4),
        content=st.sampled_from([b"", b"consent", b"scan " * 300, bytes(range(256)) * 9]),
    )
    def attach_a_file(self, pick: int, content: bytes) -> None:
        stream, log = self.life.streams[pick], self.system.log()
        self.life.now += 1
        client = Client(log, LogHeads(log), clock=lambda: self.life.now * 1000, encoder=self.system.encoder())
        with closing(self.system.tables()) as tables:
            files = self.system.attachments(self.system.patient_keys())
            wanted = Wanted(content, "text/plain", kind="consent")
            try:
                done = attach(tables, client, files, stream, wanted, ACTOR, self.life.now * 1000)
            except Erased:
                assert stream in self.erased
                return
            except Conflict:
                return
        assert stream not in self.erased
        self.contents[stream, done.event.payload[1]["record_id"]] = content

    @rule()
    def lose_files(self) -> None:
        """The folder is gone, and what was shipped comes back with the next recovery."""
        ship(self.system, self.system.log())
        self.system.lose_blobs()
        self.recover(None)

    def recover(self, time: int | None) -> None:
        super().recover(time)
        self.look_at_files()

    def look_at_files(self) -> None:
        with closing(self.system.tables()) as tables:
            catch_up(self.system.log(), tables)
            table = next(table for table in tables.definition.tables if table.name == "documents")
            names = [column.name for column in table.columns]
            with tables.reading():
                rows = [dict(zip(names, row, strict=True)) for row in tables.all_rows(table)]
            files = self.system.attachments(self.system.patient_keys())
            for row in rows:
                stream = row["stream"]
                assert stream not in self.erased, "law 8: a document of an erased patient"
                held = content_of(tables, files, stream, row)
                assert held == self.contents[stream, row["record_id"]], (
                    "law 4: not the file that was attached"
                )

    @invariant()
    def nothing_of_the_erased_is_here(self) -> None:
        if not hasattr(self, "system"):
            return
        owners, blobs = erased_owners(self.system.patient_keys(), self.erased), self.system.blobs()
        left = [d for d in blobs.digests() if owner_of(blobs.head(d, HEAD_BYTES)) in owners]
        assert not left, "law 8: a file of an erased patient"

    @invariant()
    def every_file_is_shipped_with_its_record(self) -> None:
        if hasattr(self, "system") and self.system.archive().head.n:
            assert list(not_held(self.system.archive())) == []


class LawsWithFiles(WithFiles):
    """The laws."""


class ErasuresWithFiles(WithFiles, Erasures):
    """Law 8."""

    @rule(pick=st.integers(0, 4), shipped=st.booleans(), lost=st.booleans())
    def erase_somebody_with_a_file(self, pick: int, shipped: bool, lost: bool) -> None:
        """Chance alone seldom brings the two together."""
        self.attach_a_file(pick=pick, content=b"consent")
        if shipped:
            ship(self.system, self.system.log())
        self.erase_somebody(pick=pick)
        self.nothing_of_the_erased_is_here()
        if lost:
            self.system.lose_blobs()
        self.recover(None)


TestLawsWithFiles = pytest.mark.timeout(SHRINKING_SECONDS)(LawsWithFiles.TestCase)
TestErasuresWithFiles = pytest.mark.timeout(SHRINKING_SECONDS)(ErasuresWithFiles.TestCase)
TestLawsWithFiles.settings = TestErasuresWithFiles.settings = settings(
    max_examples=examples(12),
    stateful_step_count=20,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
