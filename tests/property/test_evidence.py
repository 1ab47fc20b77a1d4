"""Evidence says of every patient, after any history, what the record says; and an edit of it is found."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.errors import BadInput, Corrupt
from events.position import EVENTS
from events.rules import Verdict
from projections.asof import history_at
from replicator.archive import ArchiveIndex
from replicator.auditing.checking import check_evidence
from replicator.auditing.evidence import Moment, finished, make_evidence
from replicator.note import Signer
from replicator.outcome import Outcome
from services.evidence import moment_of, scan
from services.projecting import catch_up_whole
from services.replicating import ship
from tests.attacked import Clinic
from tests.examples import examples

STRANGER = Signer("rekam/" + "c" * 32, bytes(32))


class Shipped(NamedTuple):
    """A clinic with a past, and its archive."""

    clinic: Clinic
    index: ArchiveIndex

    def evidence(self, stream: str, moment: Moment | None = None, *, sign: bool = True) -> bytes:
        moment = moment or Moment(self.index.end())
        offsets = scan(self.index, stream, self.index.start(), moment.position)
        return make_evidence(self.index, stream, offsets, moment, self.key if sign else None)

    @property
    def key(self) -> Signer:
        return self.clinic.system.signer


def shipped(folder: Path, seed: int, steps: int = 40) -> Shipped:
    """Writers that sleep, send twice and conflict; foreign records; rewinds; shipped now and then."""
    clinic = Clinic(folder, seed)
    for _ in range(3):
        clinic.run(steps // 3)
        clinic.now += 5
        ship(clinic.system, clinic.log)
    return Shipped(clinic, clinic.system.archive())


@given(seed=st.integers(0, 2**32), share=st.floats(0, 1))
@settings(max_examples=examples(40))
def test_it_says_what_the_record_says(seed: int, share: float) -> None:
    with TemporaryDirectory() as folder:
        made = shipped(Path(folder), seed)
        marks = made.index.marks
        time = round(marks.first.time + share * (marks.last.time - marks.first.time))
        with closing(made.clinic.system.tables()) as tables:
            catch_up_whole(made.clinic.system.log_opener(), made.clinic.log, tables)
            for moment in (Moment(made.index.end()), moment_of(made.index, time)):
                for stream in made.clinic.streams:
                    rows = history_at(tables, stream, moment.position, made.index.control)
                    _agrees(made, stream, moment, [(row.log_offset, row.verdict) for row in rows])


def _agrees(made: Shipped, stream: str, moment: Moment, rows: list[tuple[int, str]]) -> None:
    if not rows:
        with pytest.raises(BadInput):
            made.evidence(stream, moment)
        return
    found = check_evidence(made.evidence(stream, moment), made.key.verifier, "file")
    assert [(one.record.offset, one.verdict) for one in found.events] == rows
    assert found.position == moment.position and found.at == moment.time
    odd = {Verdict.AHEAD, Verdict.UNKNOWN_EPOCH} & {one.verdict for one in found.events}
    assert found.outcome is (Outcome.INCONCLUSIVE if odd else Outcome.OK)


@lru_cache
def sample() -> tuple[Shipped, str, str]:
    """A clinic, a patient with events that apply and that were set aside, and another patient."""
    folder = Path(_folder().name)
    for seed in range(100):
        place = folder / str(seed)
        place.mkdir()
        made = shipped(place, seed)
        told = {stream: _verdicts(made, stream) for stream in made.clinic.streams}
        several = [stream for stream, verdicts in told.items() if len(verdicts) > 9]
        for stream in several:
            odd = {Verdict.AHEAD, Verdict.UNKNOWN_EPOCH} & {*told[stream]}
            enough = told[stream].count(Verdict.APPLIED) > 1 and Verdict.SET_ASIDE in told[stream]
            if enough and not odd and len(several) > 1:
                return made, stream, next(other for other in several if other != stream)
    raise AssertionError("no such history among these seeds")


@lru_cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


def _verdicts(made: Shipped, stream: str) -> list[Verdict | None]:
    try:
        found = check_evidence(made.evidence(stream), made.key.verifier, "file")
    except BadInput:
        return []
    return [one.verdict for one in found.events]


@given(data=st.data())
@settings(max_examples=examples(400))
def test_every_flipped_byte_is_found(data: st.DataObject) -> None:
    made, stream, _ = sample()
    whole = _signed_or_not(made, stream, data.draw(st.booleans()))
    at, mask = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    with pytest.raises(Corrupt):
        check_evidence(whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :], made.key.verifier, "file")
    with pytest.raises(Corrupt):
        check_evidence(whole[:at], made.key.verifier, "file")
    with pytest.raises(Corrupt):
        check_evidence(whole[:at] + bytes([mask]) + whole[at:], made.key.verifier, "file")


@lru_cache
def _signed_or_not(made: Shipped, stream: str, sign: bool) -> bytes:
    return made.evidence(stream, sign=sign)


def members(data: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(data).items() if name not in ("digest", "statement")}


def events_of(told: dict[str, Any]) -> dict[str, Any]:
    segments: list[dict[str, Any]] = told["segments"]
    return next(s for s in segments if s["entry"]["partition"].startswith(EVENTS) and len(s["records"]) > 1)


def control_of(told: dict[str, Any]) -> dict[str, Any]:
    segments: list[dict[str, Any]] = told["segments"]
    return next(s for s in segments if s["entry"]["rewinds"])


FORGERIES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "another patient's record": lambda t, o: events_of(t)["records"].append(events_of(o)["records"][0]),
    "another name": lambda t, o: t.update(stream=o["stream"]),
    "a record twice": lambda t, o: events_of(t)["records"].append(events_of(t)["records"][0]),
    "records in another order": lambda t, o: events_of(t)["records"].reverse(),
    "one record under another's path": lambda t, o: events_of(t)["records"][0].update(
        record=events_of(t)["records"][1]["record"]
    ),
    "a rewind left out": lambda t, o: control_of(t)["records"].clear(),
    "control's segment left out": lambda t, o: t["segments"].remove(control_of(t)),
    "an entry edited": lambda t, o: t["segments"][0]["entry"].update(size=1),
    "an entry elsewhere": lambda t, o: t["segments"][0].update(index=t["segments"][0]["index"] + 1),
    "no schemas": lambda t, o: t["schemas"].clear(),
    "another schema's text": lambda t, o: t["schemas"][0].update(text="{}"),
    "a position beyond": lambda t, o: t.update(position={p: n + 1 for p, n in t["position"].items()}),
    "a position before": lambda t, o: t.update(position=dict.fromkeys(t["position"], 0)),
    "a position before, of a moment": lambda t, o: t.update(
        at=1, position={p: 0 if p.startswith(EVENTS) else n for p, n in t["position"].items()}
    ),
    "a position that is not the checkpoint's": lambda t, o: t["position"].update({"rekam.access/0": 0}),
    "a schema's text written otherwise": lambda t, o: t["schemas"][0].update(
        text=t["schemas"][0]["text"] + " "
    ),
    "another manifest": lambda t, o: t.update(manifest=t["manifest"].replace('"n":', '"n":1')),
    "a signature more": lambda t, o: t.update(note=t["note"] + t["note"].splitlines()[-1] + "\n"),
    "a member more": lambda t, o: t.update(more="1"),
    "no events": lambda t, o: t.update(segments=[control_of(t)]),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_without_the_clinics_key_is_found(forgery: str) -> None:
    """Whoever edits the file can compute its digest again; what the trees hold cannot be computed again."""
    made, stream, other = sample()
    told, of_other = members(made.evidence(stream)), members(made.evidence(other))
    assert check_evidence(finished(told, None), made.key.verifier, "file").outcome is Outcome.OK
    FORGERIES[forgery](told, of_other)
    with pytest.raises(Corrupt):
        check_evidence(finished(told, None), made.key.verifier, "file")


def test_a_statement_of_somebody_else_is_refused() -> None:
    made, stream, _ = sample()
    told = members(made.evidence(stream))
    with pytest.raises(Corrupt):
        check_evidence(finished(told, STRANGER), made.key.verifier, "file")
    with pytest.raises(Corrupt):
        check_evidence(made.evidence(stream), STRANGER.verifier, "file")


def test_an_event_that_is_left_out_between_others_shows() -> None:
    made, stream, _ = sample()
    told = members(made.evidence(stream))
    verdicts = [one.verdict for one in check_evidence(finished(told, None), made.key.verifier, "file").events]
    segments = [s for s in told["segments"] if s["entry"]["partition"].startswith(EVENTS)]
    records = [(s, record) for s in segments for record in s["records"]]
    segment, record = records[verdicts.index(Verdict.APPLIED)]
    segment["records"].remove(record)
    found = check_evidence(finished(told, None), made.key.verifier, "file")
    assert found.outcome is Outcome.INCONCLUSIVE or Verdict.CONFLICT in {e.verdict for e in found.events}


def test_a_moment_that_nobody_signed_is_inconclusive() -> None:
    made, stream, _ = sample()
    moment = Moment(made.index.end(), made.index.marks.last.time)
    assert check_evidence(made.evidence(stream, moment), made.key.verifier, "file").outcome is Outcome.OK
    unsigned = check_evidence(made.evidence(stream, moment, sign=False), made.key.verifier, "file")
    assert unsigned.outcome is Outcome.INCONCLUSIVE and unsigned.stated_by is None


def test_no_other_patient_is_disclosed() -> None:
    """Not by name, and not by any of the others' event ids; in the records neither."""
    made, stream, _ = sample()
    whole = made.evidence(stream)
    records = [base64.b64decode(r["record"]) for s in json.loads(whole)["segments"] for r in s["records"]]
    for other in made.clinic.streams:
        offsets = scan(made.index, other, made.index.start(), made.index.end())
        if other == stream or not any(offsets.values()):
            continue
        found = check_evidence(made.evidence(other), made.key.verifier, "file")
        secrets = [other.encode(), *(one.event.event_id for one in found.events if one.event)]
        for text in (whole, *records):
            assert not [secret for secret in secrets if secret in text or secret.hex().encode() in text]
