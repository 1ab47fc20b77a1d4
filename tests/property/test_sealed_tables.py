"""Whoever has the keys sees the same record, sealed or not: followed, rebuilt, loaded, gone back, and in the past."""

from __future__ import annotations

import random
import tempfile
from contextlib import closing
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.envelope import Event
from events.patient_keys import MemoryKeys
from events.sealing import Opener, Sealer
from projections.asof import as_of, history_at
from projections.bulk import rebuild
from projections.digest import digest
from projections.projector import project
from projections.store import Tables, open_tables
from tests.log_histories import History

SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


class SealedHistory(History):
    """As its seed says, with some events sealed and some, of the time before, in the clear."""

    def __init__(self, seed: int, keys: MemoryKeys, in_the_clear: float = 0.2) -> None:
        super().__init__(seed)
        self.in_the_clear = in_the_clear
        self.sealer = Sealer(keys, sealing=True)
        self.choice = random.Random(seed)

    def encode(self, event: Event) -> bytes:
        if self.choice.random() < self.in_the_clear:
            return super().encode(event)
        return self.sealer.encode(event)


@SETTINGS
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 60))
def test_sealed_or_not_the_tables_are_the_same(seed: int, steps: int) -> None:
    keys, names = MemoryKeys(random=random.Random(seed).randbytes), count()
    plain, sealed = History(seed), SealedHistory(seed, keys)
    plain.run(steps)
    sealed.run(steps)
    assert plain.log.end() == sealed.log.end()
    with tempfile.TemporaryDirectory() as folder:

        def tables(with_keys: bool = True) -> Tables:
            url = f"sqlite:{folder}/{next(names)}.db"
            return open_tables(url, reveal=Opener(keys)) if with_keys else open_tables(url)

        with closing(tables(False)) as truth, closing(tables()) as followed, closing(tables()) as rebuilt:
            project(plain.log, truth)
            project(sealed.log, followed)
            rebuild(lambda: sealed.log, sealed.log.end(), rebuilt)
            want = digest(truth)
            assert digest(followed) == want
            assert digest(rebuilt) == want
            at = sealed.torn()
            for stream in sealed.streams:
                assert as_of(followed, stream, at) == as_of(truth, stream, at)
                mine, theirs = history_at(rebuilt, stream, at), history_at(truth, stream, at)
                assert [row[:-1] for row in mine] == [row[:-1] for row in theirs], "types and verdicts show"


@SETTINGS
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 40))
def test_without_the_keys_everything_stands_where_it_stood_and_shows_nothing(seed: int, steps: int) -> None:
    keys = MemoryKeys()
    history = SealedHistory(seed, keys, in_the_clear=0)
    history.run(steps)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_tables(f"sqlite:{folder}/a.db", reveal=Opener(keys))) as seen,
        closing(open_tables(f"sqlite:{folder}/b.db", reveal=Opener(lost := MemoryKeys()))) as blind,
    ):
        project(history.log, seen)
        project(history.log, blind)
        with_keys, without = digest(seen)["tables"], digest(blind)["tables"]
        assert without["streams"] == with_keys["streams"]
        assert without["events"]["rows"] == with_keys["events"]["rows"]
        assert not any(t["rows"] for n, t in without.items() if n not in ("streams", "events"))
        blind.reveal.refresh()
        assert set(lost.missing()) <= {key.id for key in keys.changes(0).keys}
        assert bool(lost.missing()) == bool(with_keys["events"]["rows"])
