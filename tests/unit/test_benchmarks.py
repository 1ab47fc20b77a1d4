"""The benchmark harness: limits, printing, and that every benchmark is documented and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, load, main
from benchmarks.child import run_child
from benchmarks.harness import (
    Bench,
    Figure,
    Missing,
    at_least,
    at_most,
    calls_in_turns,
    p50_milliseconds,
    peak_memory,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def test_a_limit_says_which_side_it_is_reached_from() -> None:
    assert at_least(3.5).reached(3.5) and not at_least(3.5).reached(3.4)
    assert at_most(1.5).reached(1.5) and not at_most(1.5).reached(1.6)


def test_every_benchmark_is_there_and_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in BENCHMARKS:
        assert f"| `{name}` |" in text, f"docs/benchmarks.md does not explain {name}"
        assert callable(load(name))


def test_calls_take_turns() -> None:
    made: list[str] = []
    taken = calls_in_turns(2, lambda n: made.append(f"a{n}"), lambda n: made.append(f"b{n}"))
    assert made == ["a0", "b0", "a1", "b1"]
    assert [len(seconds) for seconds in taken] == [2, 2]
    assert p50_milliseconds([0.001, 0.003, 0.002]) == 2.0


def test_memory_is_seen_at_its_peak() -> None:
    with peak_memory() as peak:
        before = peak()
        held = bytearray(b"x") * (64 << 20)
        assert peak() - before > 48
        del held


def test_an_unknown_name_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["nothing"])
    assert exit_.value.code == 2
    assert "known: simulate" in capsys.readouterr().err


def test_figures_come_as_one_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--events", "2000", "--runs", "1", "--folder", str(tmp_path), "--json"]
    assert main(["simulate", "segments", *quick]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["events"] == 2000 and found["machine"]["sqlite"]
    by_name = {figure["name"]: figure for figure in found["figures"]}
    assert by_name["generated and encoded"]["limit"] == {"at_least": 60_000}
    assert by_name["built, tree included"]["value"] > 0
    assert not list(tmp_path.iterdir()), "scratch was left behind"


def test_figures_are_shown_with_their_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--events", "500", "--runs", "1", "--folder", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "60,000 events/s" in shown and "reached" in shown and "bytes" in shown


def test_a_limit_that_is_missed_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = Figure("too slow", 1.0, "x", at_least(2))
    monkeypatch.setattr("benchmarks.simulate.run", lambda bench: [figure])
    assert main(["simulate", "--folder", str(tmp_path)]) == 0
    assert "NOT reached" in capsys.readouterr().out


def test_what_is_measured_and_fails_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(bench: Bench) -> list[Figure]:
        raise Missing("no such server")

    monkeypatch.setattr("benchmarks.simulate.run", lacking)
    assert main(["simulate", "--folder", str(tmp_path)]) == 0
    monkeypatch.setattr(
        "benchmarks.simulate.run", lambda bench: run_child("ship", "sqlite:/nowhere", "/nowhere")
    )
    assert main(["simulate", "--folder", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "left out: no such server" in said and "broken: ship failed" in said


def test_a_clinic_is_lost_and_recovered_in_a_process_of_its_own(tmp_path: Path) -> None:
    bench = Bench(1_000, 20, 1, 1, tmp_path)
    figures = {figure.name: figure for figure in load("memory")(bench)}
    assert "memory, larger against smaller" in figures
    assert figures["recovery of the larger"].value > 0
