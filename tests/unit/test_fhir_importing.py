"""Importing: twice is once, changes are corrections, and nobody else's writing or dying loses or doubles anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import decode_event, encode_event
from events.errors import BadInput, Conflict, LogUnavailable, SetAside
from events.log import Entry
from events.memory_log import MemoryLog
from events.position import EVENTS, Partition
from events.rules import Verdict
from services.fhir import importing
from services.fhir.exact_json import parse
from services.fhir.exporting import export_events
from services.fhir.importing import Progress, Report, import_fhir
from services.fhir.references import patient_stream, source_stream
from tests.examples import examples
from tests.fhir_resources import RESOURCES, TEXTS
from tests.fhir_standing import LogStanding, MeddledLog, rewind

CLINIC = "clinic-" + "0" * 32
PATIENT = patient_stream("s", "p1")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog({EVENTS: 3})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All mapped types in the order of their names: the allergy comes before the patient."""
    lines = [" ".join(TEXTS[kind].split("\n")) for kind in sorted(TEXTS)]
    (tmp_path / "all.ndjson").write_text("\n".join(lines))
    return tmp_path


def run(log: Any, *paths: Path, source: str = "s", **more: Any) -> Report:
    return import_fhir(
        paths,
        source=source,
        clinic_stream=CLINIC,
        log=log,
        standing=more.pop("standing", None) or LogStanding(log),
        clock=lambda: 1_700_000_000_000_000,
        **more,
    )


def standing(log: MemoryLog) -> LogStanding:
    found = LogStanding(log)
    found.catch_up(log.end())
    return found


def write(path: Path, *resources: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(r, default=float) for r in resources))
    return path


def vital(identity: str, value: object = 1, patient: str = "Patient/p1", **more: object) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": identity,
        "status": "final",
        "subject": {"reference": patient},
        "valueInteger": value,
        **more,
    }


def records(log: MemoryLog) -> int:
    return log.end().records()


def exported(log: MemoryLog, stream: str = PATIENT) -> list[dict[str, Any]]:
    return [e.resource for e in export_events(standing(log).of(stream))]


# -- what becomes of resources ------------------------------------------------------------------------------------


def test_every_mapped_type_becomes_its_event_and_comes_back_exactly(log: MemoryLog, folder: Path) -> None:
    report = run(log, folder)
    assert report.read == report.mapped == dict.fromkeys(TEXTS, 1)
    assert (report.kept, report.refused, report.appended) == ({}, 0, len(TEXTS))
    back = {r["resourceType"]: r for stream in (PATIENT, CLINIC) for r in exported(log, stream)}
    assert back == RESOURCES
    assert exported(log)[0]["resourceType"] == "Patient"


def test_importing_again_changes_nothing(log: MemoryLog, folder: Path) -> None:
    first = run(log, folder)
    end = log.end()
    again = run(log, folder)
    assert log.end() == end
    assert (again.appended, again.unchanged) == (0, len(TEXTS))
    assert again.to_json() == first.to_json()


def test_another_layout_is_no_change(log: MemoryLog, folder: Path, tmp_path: Path) -> None:
    run(log, folder)
    entries = ",".join(f'{{"resource":{TEXTS[kind]}}}' for kind in sorted(TEXTS, reverse=True))
    bundle = tmp_path / "again.json"
    bundle.write_text(f'{{"resourceType":"Bundle","type":"collection","entry":[\n{entries}]}}')
    assert run(log, bundle).unchanged == len(TEXTS)


def test_a_change_is_a_correction_and_so_is_changing_back(log: MemoryLog, tmp_path: Path) -> None:
    contents = [vital("o", 1), vital("o", 2), vital("o", 1), vital("o", 1)]
    for content in contents:
        run(log, write(tmp_path / "o.ndjson", content))
    events = standing(log).of(PATIENT)
    assert [e.payload[1]["value_text"] for e in events] == ["1", "2", "1"]
    assert [e.payload[1]["corrects"] for e in events] == [None, events[0].event_id, events[1].event_id]
    assert len({e.event_id for e in events}) == 3


def test_all_changes_within_one_batch(log: MemoryLog, tmp_path: Path) -> None:
    report = run(log, write(tmp_path / "o.ndjson", *(vital("o", n) for n in (1, 2, 2, 1, 3))))
    assert (report.appended, report.unchanged, report.mapped["Observation"]) == (4, 1, 5)
    assert [r["valueInteger"] for r in exported(log)] == [3]
    assert run(log, tmp_path / "o.ndjson").unchanged == 5


@pytest.mark.parametrize(
    ("kind", "correction"),
    [
        ("Patient", "registration.PatientCorrected"),
        ("Observation", "laboratory.LaboratoryResultCorrected"),
        ("Condition", "care.DiagnosisRecorded"),
    ],
)
def test_the_type_of_a_correction(log: MemoryLog, tmp_path: Path, kind: str, correction: str) -> None:
    path = write(tmp_path / "r.ndjson", RESOURCES[kind], {**RESOURCES[kind], "language": "id"})
    run(log, path)
    first, second = standing(log).of(PATIENT)
    assert second.type == correction
    assert second.payload[1]["corrects"] == first.event_id


def test_the_same_id_from_two_sources_is_two_things(log: MemoryLog, folder: Path) -> None:
    run(log, folder)
    report = run(log, folder, source="t")
    assert report.appended == len(TEXTS)
    held = standing(log)
    assert len(held.of(patient_stream("t", "p1"))) == len(held.of(PATIENT))
    names = [e.payload[1]["record_id"] for e in held.of(CLINIC)]
    assert len(set(names)) == 6


def test_what_is_not_mapped_is_kept_with_its_patient_or_else_its_source(
    log: MemoryLog, tmp_path: Path
) -> None:
    plan = {"resourceType": "CarePlan", "id": "1", "subject": {"reference": "Patient/p1"}}
    medication = {"resourceType": "Medication", "id": "1"}
    homeless = vital("1", patient="Group/g")
    adjudication = {"resourceType": "ExplanationOfBenefit", "id": "1", "patient": {"reference": "Patient/p1"}}
    report = run(log, write(tmp_path / "k.ndjson", plan, medication, homeless, adjudication))
    assert report.mapped == {}
    assert report.kept == {"CarePlan": 1, "Medication": 1, "Observation": 1, "ExplanationOfBenefit": 1}
    assert [r["resourceType"] for r in exported(log)] == ["CarePlan", "ExplanationOfBenefit"]
    assert exported(log, source_stream("s")) == [medication, homeless]
    assert run(log, tmp_path / "k.ndjson").to_json() == report.to_json()


def test_what_could_not_be_mapped_and_now_can_is_corrected_into_its_type(
    log: MemoryLog, tmp_path: Path
) -> None:
    benefit = {"resourceType": "ExplanationOfBenefit", "id": "1", "patient": {"reference": "Patient/p1"}}
    whole = {**benefit, "claim": {"reference": "Claim/1"}}
    for content in (benefit, whole, benefit):
        run(log, write(tmp_path / "e.ndjson", content))
    events = standing(log).of(PATIENT)
    assert [e.type for e in events] == [
        "source.ResourceKept",
        "billing.ClaimAdjudicated",
        "source.ResourceKept",
    ]
    assert [e.payload[1]["corrects"] for e in events] == [None, events[0].event_id, events[1].event_id]
    assert exported(log) == [benefit]


def test_a_resource_without_id_is_known_by_its_content(log: MemoryLog, tmp_path: Path) -> None:
    nameless = {key: value for key, value in vital("x").items() if key != "id"}
    path = write(tmp_path / "n.ndjson", nameless, {**nameless, "valueInteger": 2})
    run(log, path)
    assert run(log, path).unchanged == 2
    assert exported(log) == [nameless, {**nameless, "valueInteger": 2}]


def test_patients_named_by_an_identifier(log: MemoryLog, tmp_path: Path) -> None:
    later = {"reference": "Patient?identifier=urn:rs-a|00-12-34"}
    logical = {"type": "Patient", "identifier": {"system": "urn:rs-a", "value": "00-12-34"}}
    nobody = {"reference": "Patient?identifier=urn:rs-a|99"}
    path = write(
        tmp_path / "c.ndjson",
        {**vital("1"), "subject": later},
        {**vital("2"), "subject": logical},
        {**vital("3"), "subject": nobody},
        RESOURCES["Patient"],
    )
    report = run(log, path)
    assert (report.mapped, report.kept) == ({"Observation": 2, "Patient": 1}, {"Observation": 1})
    assert [r["id"] for r in exported(log)] == ["p1", "1", "2"]
    assert [r["id"] for r in exported(log, source_stream("s"))] == ["3"]
    assert run(log, path).appended == 0


def test_of_two_patients_with_one_number_nobody_guesses(log: MemoryLog, tmp_path: Path) -> None:
    named = {**vital("1"), "subject": {"reference": "Patient?identifier=urn:rs-a|00-12-34"}}
    twin = {**RESOURCES["Patient"], "id": "p2"}
    path = write(tmp_path / "t.ndjson", RESOURCES["Patient"], named, twin)
    report = run(log, path)
    assert (report.mapped, report.kept) == ({"Patient": 2}, {"Observation": 1})
    assert run(log, path).appended == 0


def test_references_within_a_bundle(log: MemoryLog, tmp_path: Path) -> None:
    entry = [
        {"fullUrl": "urn:uuid:b", "resource": {**vital("9", patient="urn:uuid:a"), "id": None}},
        {"fullUrl": "urn:uuid:a", "resource": {"resourceType": "Patient", "id": "p1"}},
    ]
    del entry[0]["resource"]["id"]  # type: ignore[attr-defined]
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entry}))
    run(log, path)
    assert [e.type for e in standing(log).of(PATIENT)] == [
        "care.ObservationRecorded",
        "registration.PatientRegistered",
    ]


def test_refusals_are_told_and_the_rest_goes_on(log: MemoryLog, tmp_path: Path) -> None:
    path = tmp_path / "bad.ndjson"
    path.write_text("\n".join(["{", json.dumps(vital("1")), "[]", json.dumps(vital("2"))]))
    told: list[Any] = []
    report = run(log, path, on_refusal=told.append)
    assert (report.refused, report.mapped) == (2, {"Observation": 2})
    assert [(r.file, r.line) for r in told] == [(str(path), 1), (str(path), 3)]
    assert report.refusals == told


def test_an_event_that_the_log_cannot_take_is_refused(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_VALUE_BYTES", 2000)
    noise = "".join(f"{n * n:x}" for n in range(2000))
    report = run(log, write(tmp_path / "l.ndjson", vital("1"), vital("2", noise=noise), vital("3")))
    assert (report.refused, report.appended, report.refusals[0].line) == (1, 2, 2)
    assert all(v is Verdict.APPLIED for v in standing(log).verdicts)


def test_progress_and_the_mark_of_a_run(log: MemoryLog, folder: Path) -> None:
    told: list[Progress] = []
    run(log, folder, on_progress=told.append, correlation_id=b"r" * 16)
    size = (folder / "all.ndjson").stat().st_size
    assert told[-1] == Progress(size, size, len(TEXTS), len(TEXTS))
    assert {e.correlation_id for e in standing(log).events} == {b"r" * 16}


@pytest.mark.parametrize("source", ["", "  ", "x" * 65, "a\nb"])
def test_a_source_needs_a_name(log: MemoryLog, folder: Path, source: str) -> None:
    with pytest.raises(BadInput, match="source"):
        run(log, folder, source=source)


# -- others write too ---------------------------------------------------------------------------------------------


def rival(log: MemoryLog, times: int) -> Callable[[Sequence[Entry]], None]:
    """Writes to the stream of the middle entry just before it is appended, so that the rest of it comes too late."""
    left = [times]

    def meddle(entries: Sequence[Entry]) -> None:
        if left[0] == 0:
            return
        left[0] -= 1
        theirs = decode_event(entries[len(entries) // 2].value or b"")
        held = standing(log)
        head = held.heads([theirs.stream]).get(theirs.stream)
        mine = theirs._replace(
            event_id=left[0].to_bytes(16, "big"),
            version=head.version + 1 if head else 1,
            previous=head.last if head else None,
            payload=("id.rekam.care.NoteWritten", {"record_id": str(left[0]), "kind": "soap", "text": "x"}),
        )
        log.append(EVENTS, [Entry(mine.stream.encode(), encode_event(mine))])

    return meddle


def test_conflicts_with_another_writer_are_decided_anew(log: MemoryLog, tmp_path: Path) -> None:
    path = write(tmp_path / "v.ndjson", *(vital(str(n)) for n in range(20)))
    report = run(MeddledLog(log, before=rival(log, 3)), path, standing=LogStanding(log))
    assert report.appended == report.mapped["Observation"] == 20
    held = standing(log)
    assert len(held.of(PATIENT)) == 23
    assert Verdict.CONFLICT in held.verdicts
    assert Verdict.AHEAD in held.verdicts
    assert run(log, path).unchanged == 20


def test_a_writer_that_is_always_faster_ends_the_run_clearly(log: MemoryLog, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="other writers"):
        run(
            MeddledLog(log, before=rival(log, 10**6)),
            write(tmp_path / "v.ndjson", vital("1")),
            standing=LogStanding(log),
        )


def test_two_imports_of_the_same_at_once(log: MemoryLog, folder: Path) -> None:
    once = [1]

    def other(_: Sequence[Entry]) -> None:
        if once:
            once.pop()
            assert run(log, folder).appended == len(TEXTS)

    report = run(MeddledLog(log, before=other), folder, standing=LogStanding(log))
    assert report.mapped == dict.fromkeys(TEXTS, 1)
    held = standing(log)
    assert len(held.events) == len(TEXTS)
    assert held.verdicts.count(Verdict.DUPLICATE) == len(TEXTS)


def test_two_imports_of_different_contents_at_once(log: MemoryLog, tmp_path: Path) -> None:
    mine, theirs = write(tmp_path / "a.ndjson", vital("o", 1)), write(tmp_path / "b.ndjson", vital("o", 2))
    once = [1]
    meddled = MeddledLog(log, before=lambda _: once and once.pop() and run(log, theirs))
    run(meddled, mine, standing=LogStanding(log))
    assert [e.payload[1]["value_text"] for e in standing(log).of(PATIENT)] == ["2", "1"]


# -- dying and going back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("batch", range(3))
def test_a_run_that_died_is_run_again(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: bool, batch: int
) -> None:
    monkeypatch.setattr(importing, "BATCH_ITEMS", 7)
    path = write(tmp_path / "v.ndjson", *(vital(str(n % 15), n) for n in range(20)))
    left = [batch]

    def die(_: Sequence[Entry]) -> None:
        if left[0] == 0:
            raise LogUnavailable("killed")
        left[0] -= 1

    dying = MeddledLog(log, before=die) if heard else MeddledLog(log, after=die)
    with pytest.raises(LogUnavailable):
        run(dying, path, standing=LogStanding(log))
    run(log, path)
    whole = MemoryLog({EVENTS: 3})
    run(whole, path)
    assert exported(log) == exported(whole)
    assert all(v is Verdict.APPLIED for v in standing(log).verdicts)


def test_after_a_recovery_that_set_it_aside_it_applies_anew(log: MemoryLog, folder: Path) -> None:
    run(log, folder)
    before = {e.event_id for e in standing(log).events}
    partition = max(log.end().of(EVENTS), key=lambda p: log.end()[p])
    rewind(log, log.end().replace({partition: 3}), b"e" * 16)
    lost = len(before) - len(standing(log).events)
    report = run(log, folder)
    assert (report.appended, report.unchanged) == (lost, len(TEXTS) - lost)
    held = standing(log)
    assert {r["resourceType"]: r for s in (PATIENT, CLINIC) for r in exported(log, s)} == RESOURCES
    assert len({e.event_id for e in held.events} - before) == lost > 0
    # Going back to after the first import takes the second one's events back, and so on in either direction.
    rewind(log, log.end().replace({partition: 5}), b"f" * 16)
    run(log, folder)
    assert {r["resourceType"]: r for s in (PATIENT, CLINIC) for r in exported(log, s)} == RESOURCES


def test_a_recovery_during_an_import_ends_it(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_ITEMS", 5)
    path = write(tmp_path / "v.ndjson", *(vital(str(n)) for n in range(20)))
    start = log.end()
    turn = [0]

    def recover(_: Sequence[Entry]) -> None:
        turn[0] += 1
        if turn[0] == 2:
            rewind(log, start.replace({Partition("rekam.control", 0): 0}), b"e" * 16)

    with pytest.raises(SetAside):
        run(MeddledLog(log, after=recover), path, standing=LogStanding(log))
    assert standing(log).events == []
    assert run(log, path).appended == 20
    assert len(exported(log)) == 20


STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=8),
        st.sampled_from(["", "", "die before", "die after", "die half-way", "rival", "rewind"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=examples(150))
@given(steps=STEPS, batch=st.integers(1, 8))
def test_whatever_happens_the_record_holds_what_was_imported_last(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], batch: int
) -> None:
    path = tmp_path_factory.mktemp("f") / "o.ndjson"
    log = MemoryLog({EVENTS: 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "BATCH_ITEMS", batch)
        for number, (contents, event) in enumerate(steps):
            write(path, *(vital(str(identity), value) for identity, value in contents))
            _trouble(log, path, event, number)
            run(log, path)
            after = log.end()
            again = run(log, path)
            if len(contents) <= batch or len(dict(contents)) == len(contents):
                assert (again.appended, again.unchanged) == (0, len(contents))
            held = {r["id"]: r["valueInteger"] for r in exported(log) if r["resourceType"] == "Observation"}
            assert {str(k): v for k, v in dict(contents).items()}.items() <= held.items()
            assert log.end().covers(after)


def _trouble(log: MemoryLog, path: Path, event: str, number: int) -> None:
    if event == "rewind":
        run(log, path)
        end = log.end()
        rewind(log, end.replace({p: n // 2 for p, n in end.of(EVENTS).items()}), number.to_bytes(16, "big"))
    elif event == "rival":
        run(MeddledLog(log, before=rival(log, 1)), path, standing=LogStanding(log))
    elif event:

        def die(entries: Sequence[Entry]) -> None:
            if event == "die half-way":
                log.append(EVENTS, entries[: len(entries) // 2])
            raise LogUnavailable("killed")

        dying = MeddledLog(log, after=die) if event == "die after" else MeddledLog(log, before=die)
        try:
            run(dying, path, standing=LogStanding(log))
        except LogUnavailable:
            pass


def test_the_original_is_kept_byte_for_byte(log: MemoryLog, tmp_path: Path) -> None:
    text = '{ "id":"o",  "resourceType":"Observation","valueQuantity":{"value":1.50E+1, "unit":"\\u00b5g"}}'
    path = tmp_path / "o.ndjson"
    path.write_text(text)
    run(log, path)
    exports = list(export_events(standing(log).of(source_stream("s"))))
    assert [e.text.decode() for e in exports] == [text]
    assert exports[0].resource == parse(text)
