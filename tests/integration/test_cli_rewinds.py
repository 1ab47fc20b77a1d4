"""What recoveries set aside: listed, told apart by patient, and applied again where somebody chooses so."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from events.codec import decode_event, encode_event
from events.envelope import Event
from events.log import Entry, EventLog
from events.payloads.care import EnteredInError
from events.position import EVENTS
from projections.store import Tables
from services.projecting import catch_up
from tests.clinics import ACTOR, Clinic
from tests.command_line import lose, moment, rekam

VOIDED = 20


@pytest.fixture(scope="module")
def recovered(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """Some observations were voided by mistake, and all went back to before it. Not to be changed."""
    folder = tmp_path_factory.mktemp("rewinds")
    clinic = Clinic(folder / "clinic").with_sample(300)
    before = moment()
    clinic.void_by_mistake(VOIDED)
    clinic.do("recover", "--to", before, "--yes", "--reason", "a script gone wrong")
    return clinic


@pytest.fixture
def clinic(recovered: Clinic, tmp_path: Path) -> Clinic:
    return recovered.copied_to(tmp_path / "clinic")


def rewinds(clinic: Clinic) -> list[dict[str, Any]]:
    return clinic.do("rewinds", "list", "--json").json()["rewinds"]


def diff(clinic: Clinic, number: int) -> list[dict[str, Any]]:
    return clinic.do("rewinds", "diff", str(number), "--json").json()["streams"]


def again(clinic: Clinic, *words: str) -> dict[str, Any]:
    return clinic.do("rewinds", "reapply", *words, "--yes", "--json").json()


def test_a_rewind_says_who_why_and_how_much(recovered: Clinic) -> None:
    [told] = rewinds(recovered)
    assert (told["number"], told["kind"], told["reason"]) == (1, "recovery", "a script gone wrong")
    assert told["set_aside"] == VOIDED and told["in_effect"]
    assert told["back_to"] < told["time"]
    of = diff(recovered, 1)
    assert sum(aside["events"] for aside in of) == VOIDED
    assert all(aside["types"] == {"care.EnteredInError": aside["events"]} for aside in of)
    drawn = recovered.do("rewinds", "list").out
    assert "a script gone wrong" in drawn and f"{VOIDED} events set aside" in drawn and "now" in drawn


def test_a_recovery_that_is_taken_back_hangs_from_where_it_went_to(clinic: Clinic) -> None:
    before = moment()
    clinic.void_by_mistake(3)
    clinic.do("recover", "--to", before, "--yes")
    with_them = clinic.do("find", "--type", "EnteredInError", "--limit", "1", "--json").json()["events"][0]
    clinic.do("recover", "--after", with_them["event_id"], "--yes")
    first, second, third = rewinds(clinic)
    assert second["parent"] == third["parent"] == first["epoch"]
    assert [told["in_effect"] for told in (first, second, third)] == [True, False, True]
    assert second["set_aside"] == 3
    assert [aside["again"] for aside in diff(clinic, 2)] == [aside["events"] for aside in diff(clinic, 2)]
    lose(clinic.home, "log.db", "tables.db")
    clinic.do("recover", "--to", "latest", "--yes")
    assert [told["kind"] for told in rewinds(clinic)] == ["recovery"] * 3 + ["generation"]
    assert rewinds(clinic)[3]["set_aside"] == 0


def test_what_was_set_aside_is_applied_again_once(clinic: Clinic) -> None:
    recovered = clinic.digest()
    of = diff(clinic, 1)
    [*_, event] = clinic.do("find", of[0]["stream"], "--verdict", "set-aside", "--json").json()["events"]
    assert again(clinic, "1", "--event", event["event_id"]) == {"applied": 1, "again": 0, "refused": []}
    assert again(clinic, "1", "--event", event["event_id"]) == {"applied": 0, "again": 1, "refused": []}
    mine = again(clinic, "1", "--patient", of[0]["stream"])
    assert (mine["applied"], mine["again"]) == (of[0]["events"] - 1, 1)
    rest = again(clinic, "1", "--all")
    assert (rest["applied"], rest["again"]) == (VOIDED - of[0]["events"], of[0]["events"])
    assert clinic.digest() != recovered
    history = clinic.do("history", of[0]["stream"], "--json").json()["events"]
    assert (
        sum(e["verdict"] == "applied" and e["type"] == "care.EnteredInError" for e in history)
        == of[0]["events"]
    )
    voided = clinic.digest()["observations"]
    clinic.do("recover", "--to", "latest", "--yes")
    assert clinic.digest()["observations"] == voided
    assert clinic.status()["status"] == "green"


def test_what_never_took_effect_is_not_applied_again(clinic: Clinic) -> None:
    """Two writers that lost a race: one decided anew, under the same id, and one was told."""
    before = moment()
    stream = find_one(clinic, "--type", "EnteredInError")["stream"]
    lost(clinic, stream, b"decided anew....", "other-record")
    lost(clinic, stream, b"was told........", "no-record")
    with clinic.surroundings() as home, closing(home.log()) as log, closing(home.tables()) as tables:
        head = tables.head(stream)
        append(log, tables, stream, b"decided anew....", head.version + 1, head.last, "record")
    clinic.do("recover", "--to", before, "--yes")
    assert sum(aside["events"] for aside in diff(clinic, 2)) == 3
    ran = rekam(clinic.home, "rewinds", "reapply", "2", "--all", "--yes", "--json", code=1).json()
    assert (ran["applied"], ran["again"]) == (1, 0)
    assert [row["event"] for row in ran["refused"]] == [b"was told........".hex()]
    assert "did not take effect" in ran["refused"][0]["why"]
    applied = find_one(clinic, stream)["event_id"]
    with clinic.surroundings() as home, closing(home.tables()) as tables:
        [row] = tables.occurrences(bytes.fromhex(applied))
        event = home.encoder().reveal(decode_event(row.value))
        assert event.payload[1]["record_id"] == "record"


def find_one(clinic: Clinic, *words: str) -> dict[str, Any]:
    """The newest of them."""
    [found] = clinic.do("find", *words, "--limit", "1", "--json").json()["events"]
    return found


def lost(clinic: Clinic, stream: str, event_id: bytes, record_id: str) -> None:
    """An event that was decided on an older state of its stream."""
    with clinic.surroundings() as home, closing(home.log()) as log, closing(home.tables()) as tables:
        append(log, tables, stream, event_id, 1, None, record_id)


def append(log: EventLog, tables: Tables, stream: str, event_id: bytes, version: int, *rest: Any) -> None:
    previous, record_id = rest
    payload = EnteredInError(kind="observation", record_id=record_id, target=event_id).to_payload()
    epoch = tables.control()[-1][1].epoch
    event = Event(event_id, epoch, stream, version, previous, 1, 1, ACTOR, None, None, payload)
    log.append(EVENTS, [Entry(stream.encode(), encode_event(event))])
    catch_up(log, tables)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("diff", "2"), 1, "there is no rewind 2"),
        (("diff", "0"), 1, "there is no rewind 0"),
        (("reapply", "1", "--yes"), 2, "choose what"),
        (("reapply", "1", "--all", "--patient", "p", "--yes"), 2, "choose what"),
        (("reapply", "1", "--patient", "patient-1", "--yes"), 2, "has nothing of patient-1"),
        (("reapply", "1", "--event", "0" * 32, "--yes"), 1, "set no event"),
        (("reapply", "1", "--event", "x", "--yes"), 2, "not an event's id"),
        (("reapply", "1", "--all"), 1, "nobody is there to confirm"),
    ],
)
def test_what_cannot_be_is_refused(recovered: Clinic, words: tuple[str, ...], code: int, says: str) -> None:
    ran = rekam(recovered.home, "rewinds", *words, code=code)
    assert says in ran.err and "hint:" in ran.err
    assert "--dry-run" not in ran.err  # these commands have none


def test_a_clinic_that_never_went_back_has_none(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path / "clinic").init()
    assert rewinds(clinic) == []
    assert "None" in clinic.do("rewinds", "list").out
    assert "no recovery went back" in rekam(clinic.home, "rewinds", "diff", "1", code=1).err
