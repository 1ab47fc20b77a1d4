"""Clients in many threads, on a memory log and on SQLite: each command once, each acknowledged one there."""

from __future__ import annotations

import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from events.codec import encode_event
from events.errors import BadInput, Conflict, LogRecreated, LogUnavailable, SetAside
from events.heads import LogHeads
from events.log import Entry, Record
from events.memory_log import MemoryLog
from events.partitioning import partition_number
from events.position import EVENTS, Partition
from events.sqlite_log import SqliteLog
from tests.client_world import Troubled, client, commands, go_back, history, says


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    log = MemoryLog({EVENTS: 2}) if request.param == "memory" else SqliteLog(tmp_path / "log.db", create=True)
    yield log
    log.close()


def test_threads_and_replicas_never_share_a_version(log):
    replicas = [client(log, seed=n, tries=200) for n in range(3)]

    def work(n):
        return [
            replicas[n % 3].append(f"patient-{(n + i) % 4}", says(f"{n}:{i}"), key=f"{n}:{i}")
            for i in range(20)
        ]

    with ThreadPoolExecutor(9) as pool:
        done = [a for future in [pool.submit(work, n) for n in range(9)] for a in future.result()]
    applied = history(log)
    assert sum(len(events) for events in applied.values()) == len(done) == 180
    for acknowledged in done:
        assert applied[acknowledged.event.stream][acknowledged.event.version - 1] == acknowledged.event
    for events in applied.values():
        assert [e.payload[1]["value"] for e in events] == [str(n) for n in range(len(events))]


def test_the_same_command_from_everywhere_at_once_takes_effect_once(log):
    replicas = [client(log, seed=n, tries=200) for n in range(4)]
    start = threading.Barrier(8)

    def work(n):
        start.wait(10)
        return [replicas[n % 4].append("patient-x", says(f"k{i}"), key=f"k{i}") for i in range(10)]

    with ThreadPoolExecutor(8) as pool:
        results = [future.result() for future in [pool.submit(work, n) for n in range(8)]]
    applied = history(log)["patient-x"]
    assert sorted(commands(applied)) == sorted(f"k{i}" for i in range(10))
    for i in range(10):
        assert len({done[i].event.event_id for done in results}) == 1
        assert sum(not done[i].again for done in results) == 1


def test_threads_while_an_operator_goes_back_again_and_again(log):
    replicas = [client(log, seed=n, tries=200) for n in range(2)]
    stop, outcomes, told = threading.Event(), Counter(), []

    def write(n):
        i = 0
        while not stop.is_set():
            i += 1
            try:
                told.append(replicas[n % 2].append(f"patient-{n % 3}", says(f"{n}:{i}"), key=f"{n}:{i}"))
                outcomes["done"] += 1
            except SetAside as error:
                assert error.epoch is not None
                outcomes["set aside"] += 1

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, n) for n in range(4)]
        kept = [log.end()]
        for _ in range(8):
            while log.end().records() < kept[-1].records() + 25:
                stop.wait(0.002)
            go_back(log, kept[-1], os.urandom(16))
            kept.append(log.end())
        stop.set()
        for writer in writers:
            writer.result()
    final = {e.event_id for events in history(log).values() for e in events}
    ever = set()
    for position in kept:
        ever |= {e.event_id for events in history(log, position).values() for e in events}
    for done in told:  # acknowledged: still there, or set aside by a rewind that came after it
        in_effect = done.event.event_id in final
        assert in_effect or done.event.epoch != LogHeads(log).look("patient-0").epoch
    assert outcomes["done"] > 40


# One step at a time


def test_a_conflict_is_decided_anew_on_the_newer_version():
    log = MemoryLog()
    first, second = client(log), client(log, seed=1)
    seen = []

    def interrupted(head):
        seen.append(head.version)
        if len(seen) == 1:
            second.append("patient-a", says("other"))

    done = first.append("patient-a", says("mine", interrupted))
    assert seen == [0, 1]
    assert (done.event.version, done.again) == (2, False)
    assert commands(history(log)["patient-a"]) == ["other", "mine"]
    assert (done.offset, done.time) == (2, log.records[done.partition][2].time)


def test_a_conflict_that_never_ends_is_told_with_the_current_version():
    log = MemoryLog()
    rival = client(log, seed=1)
    loser = client(log, tries=3)
    with pytest.raises(Conflict) as caught:
        loser.append("patient-a", says("mine", lambda head: rival.append("patient-a", says("other"))))
    assert caught.value.current == 3
    assert commands(history(log)["patient-a"]) == ["other"] * 3


def test_what_decide_raises_reaches_the_caller_and_nothing_is_written():
    log = MemoryLog()

    def refuse(head):
        raise Conflict("expected version 4", current=head.version)

    with pytest.raises(Conflict, match="expected version 4"):
        client(log).append("patient-a", refuse)
    assert log.end().records() == 0


def test_without_a_key_each_call_is_a_command_of_its_own():
    log = MemoryLog()
    writer = client(log)
    assert [writer.append("patient-a", says("same")).event.version for _ in range(3)] == [1, 2, 3]


def test_a_key_means_its_own_stream():
    log = MemoryLog()
    writer = client(log)
    assert not writer.append("patient-a", says("x"), key="k").again
    assert not writer.append("patient-b", says("x"), key="k").again
    assert writer.append("patient-b", says("x"), key=b"k").again


def test_a_command_that_was_set_aside_is_told_and_done_again_only_on_demand():
    log = MemoryLog()
    writer = client(log)
    writer.append("patient-a", says("kept"), key="kept")
    before = log.end()
    first = writer.append("patient-a", says("gone"), key="gone")
    go_back(log, before, b"E" * 16)
    assert writer.append("patient-a", says("kept"), key="kept").again
    with pytest.raises(SetAside) as caught:
        writer.append("patient-a", says("gone"), key="gone")
    assert caught.value.epoch == b"E" * 16
    again = writer.append("patient-a", says("gone"), key="gone", reapply=True)
    assert (again.again, again.event.version, again.event.epoch) == (False, 2, b"E" * 16)
    assert again.event.event_id != first.event.event_id
    assert writer.append("patient-a", says("gone"), key="gone", reapply=True).again
    assert writer.append("patient-a", says("gone"), key="gone").again
    go_back(log, log.end().replace({p: n for p, n in before.items() if p.topic == EVENTS}), b"F" * 16)
    with pytest.raises(SetAside) as caught:
        writer.append("patient-a", says("gone"), key="gone")
    assert caught.value.epoch == b"F" * 16


def test_a_rewind_between_decision_and_append_sets_the_event_aside():
    log = MemoryLog()
    writer = client(log)
    writer.append("patient-a", says("one"))
    target = log.end()
    with pytest.raises(SetAside) as caught:
        writer.append("patient-a", says("two", lambda head: go_back(log, target, b"E" * 16)), key="two")
    assert caught.value.epoch == b"E" * 16
    assert commands(history(log)["patient-a"]) == ["one"]
    rewinds = iter([b"F" * 16])

    def once_more(head):
        for epoch in rewinds:
            go_back(log, target.replace({}), epoch)

    done = writer.append("patient-a", says("three", once_more), key="three", reapply=True)
    assert done.event.epoch == b"F" * 16
    assert commands(history(log)["patient-a"]) == ["one", "three"]


def test_going_back_before_a_rewind_brings_its_commands_back():
    log = MemoryLog()
    writer = client(log)
    start = log.end()
    writer.append("patient-a", says("one"), key="one")
    whole = log.end()
    go_back(log, start, b"E" * 16)
    with pytest.raises(SetAside):
        writer.append("patient-a", says("one"), key="one")
    go_back(log, whole, b"F" * 16)
    assert writer.append("patient-a", says("one"), key="one").again
    assert writer.append("patient-a", says("two")).event.version == 2


def test_foreign_records_and_misplaced_events_move_no_head():
    log = MemoryLog({EVENTS: 2})
    writer = client(log)
    first = writer.append("patient-a", says("one"))
    value = encode_event(first.event._replace(event_id=b"n" * 16, version=2, previous=first.event.event_id))
    homes = {partition_number(b"patient-%d" % n, 2): b"patient-%d" % n for n in range(20)}
    log.append(EVENTS, [Entry(key, value) for key in (None, *homes.values())])
    log.append(EVENTS, [Entry(b"patient-a", b"foreign"), Entry(b"patient-a", None)])
    log.records[Partition(EVENTS, 1 - first.partition.number)].append(
        Record(log.end()[Partition(EVENTS, 1 - first.partition.number)], 9**13, 1, b"patient-a", (), value)
    )
    assert LogHeads(log).look("patient-a").head.version == 1
    assert writer.append("patient-a", says("two")).event.version == 2


def test_a_log_made_anew_behind_a_client_is_noticed():
    log = MemoryLog()
    writer = client(log)
    for n in range(3):
        writer.append("patient-a", says(str(n)))
    del log.records[Partition(EVENTS, 0)][1:]
    with pytest.raises(LogRecreated):
        writer.append("patient-a", says("more"))


def test_an_event_that_cannot_be_written_leaves_nothing():
    log = MemoryLog()

    def bad(head):
        return says("x")(head)._replace(payload=("id.rekam.clinic.SettingChanged", {"name": 3}))

    with pytest.raises(BadInput):
        client(log).append("patient-a", bad)
    assert log.end().records() == 0


def test_answers_that_got_lost_are_found_by_the_same_key():
    log = MemoryLog()
    troubled = Troubled(log)
    writer = client(troubled, heads=LogHeads(log))
    fates = iter(["unheard", "late", "kept"])
    troubled.fate = lambda: next(fates)
    with pytest.raises(LogUnavailable):
        writer.append("patient-a", says("one"), key="one")
    assert writer.append("patient-a", says("one"), key="one").again
    with pytest.raises(LogUnavailable):
        writer.append("patient-a", says("two"), key="two")
    assert not writer.append("patient-a", says("two"), key="two").again
    troubled.deliver()
    assert commands(history(log)["patient-a"]) == ["one", "two"]
    assert writer.append("patient-a", says("two"), key="two").again
