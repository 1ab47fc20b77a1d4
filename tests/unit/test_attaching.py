"""Attaching: the file first, then its document; killed between the two, the same command goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from events.blobs import MemoryBlobs, named_by
from events.client import Client, Draft
from events.errors import BadInput, Refused, Unavailable
from events.heads import LogHeads
from events.log import Entry, EventLog, Placed
from events.patient_keys import ERASED, Mark
from events.payloads.registration import PatientRegistered
from events.position import EVENTS, Partition
from projections.store import Tables
from services.attachments import (
    Wanted,
    attach,
    content_of,
    documents_in,
    kind_of,
    media_type_of,
    one_document,
)
from services.projecting import catch_up
from services.records import record_of
from services.replicating import keep_up, ship
from services.shipped_attachments import NotShipped, not_shipped
from tests.systems import Died, TestSystem

STREAM = f"patient-{'a' * 32}"
ACTOR = {"id": "s1", "role": "nurse", "system": "test"}
SCAN = Wanted(b"scan" * 100, "application/pdf", "Scan", "59284-0")


class DyingLog:
    """A log whose writer dies before or after an append."""

    def __init__(self, log: EventLog, *, after: bool) -> None:
        self._log, self._after = log, after

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        if self._after:
            self._log.append(topic, entries)
        raise Died

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@pytest.fixture
def system(tmp_path: Path) -> TestSystem:
    return TestSystem(f"sqlite:{tmp_path / 'tables.db'}")


def attached(system: TestSystem, wanted: Wanted = SCAN, log: Any = None) -> Any:
    log = log or system.log()
    client = Client(log, LogHeads(log), clock=lambda: system.clock() * 1000, encoder=system.encoder())
    with closing(system.tables()) as tables:
        files = system.attachments(system.patient_keys())
        return attach(tables, client, files, STREAM, wanted, ACTOR, system.clock() * 1000)


def documents(system: TestSystem, tables: Tables) -> list[dict[str, Any]]:
    catch_up(system.log(), tables)
    return documents_in(record_of(tables, STREAM, None))


@pytest.mark.parametrize("after", [False, True])
def test_killed_beside_its_append_it_is_attached_once_by_the_same_command(
    system: TestSystem, after: bool
) -> None:
    with pytest.raises(Died):
        attached(system, log=DyingLog(system.log(), after=after))
    assert len(system.kept_blobs.held) == 1, "the file was there first"
    assert system.log().end().records() == int(after)
    ship(system, system.log())
    assert len(system.archive().blobs) == int(after), "an orphan is nobody's"
    done = attached(system)
    assert done.again == after and len(system.kept_blobs.held) == 1
    with closing(system.tables()) as tables:
        (row,) = documents(system, tables)
        assert content_of(tables, system.attachments(system.kept_keys), STREAM, row) == SCAN.content


def test_where_the_file_cannot_be_kept_nothing_is_recorded(
    system: TestSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(data: bytes) -> bytes:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(system.kept_blobs, "put", full)
    with pytest.raises(Unavailable):
        attached(system)
    assert system.log().end().records() == 0


def test_the_record_names_the_blob_in_the_clear_and_nothing_else(system: TestSystem) -> None:
    done = attached(system)
    (batch,) = system.log().read(Partition(EVENTS, 0), 0, 1)
    fields = done.event.payload[1]
    assert list(named_by(batch[0].headers)) == [fields["blob_sha256"]] and len(batch[0].headers) == 1
    assert fields["content_sha256"] == hashlib.sha256(SCAN.content).digest()
    assert fields["content_sha256"] not in (batch[0].value or b"") and b"Scan" not in (batch[0].value or b"")


def test_other_events_name_none(system: TestSystem) -> None:
    log = system.log()
    client = Client(log, LogHeads(log), encoder=system.encoder())
    payload = PatientRegistered(name="Ada", sex="female").to_payload()
    client.append(STREAM, lambda head: Draft(payload, 0, ACTOR))
    (batch,) = log.read(Partition(EVENTS, 0), 0, 1)
    assert batch[0].headers == ()


def test_what_the_archive_lacks_waits_or_is_missing_and_the_erased_do_not_count(system: TestSystem) -> None:
    attached(system)
    held = dict(system.kept_blobs.held)
    system.kept_blobs.held.clear()
    log = system.log()
    assert ship(system, log).missing_blobs == 1

    def standing() -> NotShipped:
        return not_shipped(system.blobs(), system.kept_keys, log, system.archive())

    assert standing() == NotShipped(missing=1)
    assert not keep_up(system, log)
    system.kept_blobs.held.update(held)
    assert standing() == NotShipped(waiting=1)
    system.kept_blobs = MemoryBlobs()
    system.kept_keys.destroy(STREAM, Mark(STREAM, ERASED, {"at": 1}))
    assert standing() == NotShipped()


def test_a_document_is_named_by_its_id_or_the_beginning_of_it(system: TestSystem) -> None:
    attached(system)
    with closing(system.tables()) as tables:
        (row,) = rows = documents(system, tables)
    assert one_document(rows, row["record_id"]) == one_document(rows, row["record_id"][:6]) == row
    for text in ("", "x", row["record_id"] + "0"):
        with pytest.raises(Refused, match="no such document"):
            one_document(rows, text)
    with pytest.raises(Refused, match="2 such documents"):
        one_document([row, {**row, "record_id": row["record_id"][:6] + "other"}], row["record_id"][:6])
    with pytest.raises(Refused, match="in error"):
        one_document([{**row, "status": "entered-in-error"}], row["record_id"])


def test_a_kind_is_a_code_or_words() -> None:
    code, words = kind_of("59284-0")
    assert code is not None and (code.system, code.code, words) == ("http://loinc.org", "59284-0", None)
    code, words = kind_of("urn:clinic|c-1")
    assert code is not None and (code.system, code.code, words) == ("urn:clinic", "c-1", None)
    assert kind_of("surat rujukan") == (None, "surat rujukan") and kind_of(None) == (None, None)
    assert kind_of("2024-12") == (None, "2024-12"), "no LOINC code: its check digit is one digit"
    with pytest.raises(BadInput):
        kind_of("urn:clinic|")


def test_the_type_of_a_file_is_said_or_follows_from_its_name() -> None:
    allowed = ["application/pdf", "image/jpeg"]
    assert media_type_of(Path("a.PDF"), None, allowed) == "application/pdf"
    assert media_type_of(Path("a.bin"), "Image/JPEG", allowed) == "image/jpeg"
    with pytest.raises(BadInput, match="does not say"):
        media_type_of(Path("a.bin"), None, allowed)
    with pytest.raises(BadInput, match="not taken"):
        media_type_of(Path("a.png"), None, allowed)


@pytest.mark.parametrize("wanted", [{"title": "\ud800"}, {"title": "x" * 300_000}, {"author": "nul\0"}])
def test_what_cannot_be_recorded_is_refused_before_the_file_is_kept(
    system: TestSystem, wanted: dict[str, str]
) -> None:
    with pytest.raises(BadInput, match="cannot be recorded"):
        attached(system, Wanted(b"x", "text/plain", **wanted))
    assert not system.kept_blobs.held
