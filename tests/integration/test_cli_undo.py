"""Undoing one patient: previewed, confirmed, repeated, killed; and what is refused."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from events.client import Client, Draft
from events.heads import LogHeads
from events.payloads.billing import ClaimSubmitted
from services.projecting import catch_up
from tests.clinics import Clinic
from tests.command_line import fork, instant, moment, murder, ndjson, rekam, sample_lines

VOIDED = 30
REASON = "a script gone wrong"


@pytest.fixture(scope="module")
def voided(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clinic, str, str, dict[str, Any]]:
    """A clinic where observations were voided by mistake; whose, since when, and the patient's record before."""
    folder = tmp_path_factory.mktemp("undo")
    clinic = Clinic(folder / "clinic").init()
    clinic.take(ndjson(folder / "all.ndjson", sample_lines(0, 300)))
    before = moment()
    clinic.void_by_mistake(VOIDED)
    [event, *_] = clinic.do("find", "--type", "EnteredInError", "--limit", "100", "--json").json()["events"]
    return clinic, event["stream"], before, shown(clinic, event["stream"], "--at", before)


@pytest.fixture
def clinic(voided: tuple[Clinic, str, str, Any], tmp_path: Path) -> Clinic:
    shutil.copytree(voided[0].home, tmp_path / "clinic")
    return Clinic(tmp_path / "clinic")


@pytest.fixture
def patient(voided: tuple[Clinic, str, str, Any]) -> str:
    return voided[1]


@pytest.fixture
def before(voided: tuple[Clinic, str, str, Any]) -> str:
    return voided[2]


def shown(clinic: Clinic, patient: str, *words: str) -> dict[str, Any]:
    """The record without what says by which event it came about."""
    tables = clinic.do("show", patient, "--json", *words).json()["tables"]
    hidden = ("event_id", "version", "voided_by")
    return {
        name: [{k: v for k, v in row.items() if k not in hidden} for row in rows]
        for name, rows in tables.items()
    }


def history(clinic: Clinic, patient: str) -> list[dict[str, Any]]:
    return clinic.do("history", patient, "--json").json()["events"]


def undo(clinic: Clinic, *words: str) -> dict[str, Any]:
    return clinic.do("undo", *words, "--json").json()


def test_the_preview_changes_nothing_and_says_what_would(clinic: Clinic, patient: str, before: str) -> None:
    digest = clinic.digest()
    told = undo(clinic, patient, "--to", before, "--dry-run")
    assert told["events"] == len(told["changes"]) > 0 and told["appended"] == 0 and told["stays"] == []
    for change in told["changes"]:
        assert change["kind"] == "observation"
        assert change["now"]["status"] == "entered-in-error" != change["then"]["status"]
        assert [made["type"] for made in change["appended"]] == ["care.ObservationRecorded"]
        assert change["appended"][0]["of"] == change["then"]["event_id"]
    words = clinic.do("undo", patient, "--to", before, "--dry-run").out
    assert "now entered-in-error" in words and "appended: care.ObservationRecorded" in words
    assert clinic.digest() == digest


def test_the_record_reads_as_it_did_and_history_grows(
    clinic: Clinic, patient: str, before: str, voided: Any
) -> None:
    old, others = history(clinic, patient), clinic.do("find", "--json", "--limit", "1").json()["total"]
    told = undo(clinic, patient, "--to", before, "--yes", "--reason", REASON)
    assert told["appended"] == told["events"]
    assert shown(clinic, patient) == voided[3]
    now = history(clinic, patient)
    assert now[: len(old)] == old and len(now) == len(old) + told["events"]
    assert clinic.do("find", "--json", "--limit", "1").json()["total"] == others + told["events"]
    again = undo(clinic, patient, "--to", before, "--yes")
    assert again["events"] == again["appended"] == 0 and again["changes"] == []
    assert "Nothing is to be undone" in clinic.do("undo", patient, "--to", before).out
    clinic.ship()
    assert clinic.status()["status"] == "green"


def test_an_undo_is_undone(clinic: Clinic, patient: str, before: str) -> None:
    wrong, at = shown(clinic, patient), moment()
    undo(clinic, patient, "--to", before, "--yes")
    last = history(clinic, patient)[-1]["event_id"]
    assert undo(clinic, patient, "--after", last, "--yes")["events"] == 0
    undo(clinic, patient, "--to", at, "--yes")
    assert shown(clinic, patient) == wrong


def test_before_and_after_an_event(clinic: Clinic, patient: str, voided: Any) -> None:
    mine = [event for event in history(clinic, patient) if event["type"] == "care.EnteredInError"]
    assert undo(clinic, patient, "--after", mine[0]["event_id"], "--dry-run")["events"] == len(mine) - 1
    undo(clinic, patient, "--before", mine[0]["event_id"], "--yes")
    assert shown(clinic, patient) == voided[3]


def test_only_what_one_actor_did(clinic: Clinic, patient: str, before: str) -> None:
    assert undo(clinic, patient, "--to", before, "--actor", "nobody", "--dry-run")["events"] == 0
    everything = undo(clinic, patient, "--to", before, "--dry-run")["events"]
    assert undo(clinic, patient, "--to", before, "--actor", "script", "--yes")["events"] == everything


def test_after_a_recovery_that_set_the_undo_aside_it_is_done_again(
    clinic: Clinic, patient: str, before: str, voided: Any
) -> None:
    wrong = moment()
    undo(clinic, patient, "--to", before, "--yes")
    clinic.recover(wrong)
    told = undo(clinic, patient, "--to", before, "--yes")
    assert told["appended"] > 0 and shown(clinic, patient) == voided[3]


def test_what_was_submitted_stays_and_is_told(clinic: Clinic, patient: str) -> None:
    at = moment()
    with clinic.surroundings() as home, closing(home.log()) as log, closing(home.tables()) as tables:
        payload = ClaimSubmitted(record_id="claim-1", amount="100", currency="IDR").to_payload()
        actor = {"id": "cashier", "role": "cashier", "system": "test"}
        client = Client(log, LogHeads(log), encoder=home.encoder())
        client.append(patient, lambda head: Draft(payload, 1_700_000_000_000_000, actor))
        catch_up(log, tables)
    told = undo(clinic, patient, "--to", at, "--yes")
    [stays] = told["stays"]
    assert told["events"] == 0 and (stays["kind"], stays["record_id"]) == ("claim", "claim-1")
    assert "stays: claim claim-1: it was submitted" in clinic.do("undo", patient, "--to", at).out


def test_killed_it_goes_on(clinic: Clinic, patient: str, before: str, voided: Any) -> None:
    total = undo(clinic, patient, "--to", before, "--dry-run")["events"]
    for seconds in (0.05, 0.1, 0.2, 0.4, 0.8):
        if not murder(fork(clinic.home, "undo", patient, "--to", before, "--yes"), seconds):
            break
    clinic.do("undo", patient, "--to", before, "--yes")
    assert shown(clinic, patient) == voided[3]
    made = [event for event in history(clinic, patient) if event["system"] == "cli"]
    assert len(made) == total, "each was appended once"


def test_the_plan_of_a_recovery_says_when_undoing_less_would_do(
    clinic: Clinic, patient: str, before: str
) -> None:
    clinic.ship()
    words = clinic.do("recover", "--to", before, "--dry-run").out
    assert "Enough" in words and "'rekam undo " in words
    at = moment()
    undo(clinic, patient, "--to", before, "--yes")
    words = clinic.do("recover", "--to", at, "--dry-run").out
    assert f"'rekam undo {patient} --to" in words
    option = words.partition(f"'rekam undo {patient} ")[2].partition("'")[0].split()
    assert undo(clinic, patient, *option, "--dry-run")["events"] > 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--to", "latest"), 2, "the newest state is what stands"),
        ((), 2, "name one target"),
        (("--to", "2001-02-03"), 1, "had no record yet"),
        (("--to", instant(4_000_000_000_000)), 1, "after now"),
        (("--before", "0" * 32), 1, "no such event"),
        (("--before", "x"), 2, "not an event's id"),
        (("--to", "rekam.events/0=99999,rekam.control/0=0,rekam.access/0=0"), 1, "beyond what is there"),
        (("--to", "{before}", "--actor", " "), 2, "--actor is empty"),
        (("--to", "{before}"), 1, "nobody is there to confirm"),
    ],
)
def test_what_cannot_be_is_refused(voided: Any, words: tuple[str, ...], code: int, says: str) -> None:
    clinic, patient, before, _ = voided
    ran = rekam(clinic.home, "undo", patient, *(word.format(before=before) for word in words), code=code)
    assert says in ran.err and "hint:" in ran.err


def test_the_unknown_the_restricted_and_the_erased_are_refused(
    clinic: Clinic, patient: str, before: str
) -> None:
    number = "3171014501900001"
    ran = rekam(clinic.home, "undo", number, "--to", before, code=1)
    assert "no such patient" in ran.err and number not in ran.err
    clinic.do("restrict", patient, "--reason", "asked for")
    assert "restricted" in rekam(clinic.home, "undo", patient, "--to", before, "--yes", code=1).err
    clinic.do("restrict", patient, "--lift", "--reason", "asked for")
    clinic.do("erase", patient, "--reason", "asked for", "--order", "a court's")
    ran = rekam(clinic.home, "undo", patient, "--to", before, "--yes", code=1)
    assert "erased" in ran.err and "hint:" in ran.err
