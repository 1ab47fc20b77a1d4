"""The contract of the log: what every adapter promises, tried on each of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from events.errors import BadConfiguration, BadInput, LogGap, LogMissing, Refused, TooLarge
from events.log import MAX_LABEL_BYTES, MAX_VALUE_BYTES, Entry, Record, TimeType
from events.partitioning import partition_number
from events.position import ACCESS, CONTROL, EVENTS, Partition, Position
from tests.log_places import PLACES

COUNTS = {EVENTS: 3, ACCESS: 1, CONTROL: 1}
P0 = Partition(CONTROL, 0)


@pytest.fixture(params=[pytest.param(n, marks=[pytest.mark.kafka] if n == "kafka" else []) for n in PLACES])
def place(request):
    place = PLACES[request.param](request)
    yield place
    place.discard()


@pytest.fixture
def log(place):
    log = place.open(COUNTS, create=True)
    yield log
    log.close()


def every(log, partition, start=0, stop=None):
    stop = log.end()[partition] if stop is None else stop
    return [record for batch in log.read(partition, start, stop) for record in batch]


def entries(n, key=b"stream"):
    return [Entry(key, b"value %d" % i) for i in range(n)]


def test_what_was_appended_is_read_back_byte_for_byte(log):
    given = [
        Entry(b"a", b"\x00\xff value", (("h", b"\x01"), ("h", b"\x02"), ("\u00e9", b""))),
        Entry(None, b"no key"),
        Entry(b"b", None),
        Entry(b"", b""),
    ]
    placed = log.append(CONTROL, given)
    assert [p.offset for p in placed] == [0, 1, 2, 3]
    records = every(log, P0)
    assert [(r.key, r.value, r.headers) for r in records] == [(e.key, e.value, e.headers) for e in given]
    assert all(type(r) is Record and r.time_type == TimeType.APPEND for r in records)
    assert [(r.offset, r.time) for r in records] == [(p.offset, p.time) for p in placed]


def test_a_stream_lives_in_the_partition_of_its_key(log):
    keys = [b"stream-%d" % i for i in range(20)]
    for key, placed in zip(keys, log.append(EVENTS, [Entry(k, b"v") for k in keys]), strict=True):
        assert placed.partition == Partition(EVENTS, partition_number(key, 3))
    assert sum(n for p, n in log.end().items() if p.topic == EVENTS) == 20


def test_entries_of_one_partition_keep_their_order_over_appends(log):
    for size in (1, 2, 500, 1):
        log.append(CONTROL, [Entry(b"k", b"%d" % (i + size)) for i in range(size)])
    values = [r.value for r in every(log, P0)]
    assert values == [b"%d" % (i + size) for size in (1, 2, 500, 1) for i in range(size)]


def test_nothing_appended_is_nothing(log):
    assert log.append(EVENTS, []) == []
    assert log.end().records() == 0


def test_a_new_log_is_empty_everywhere(log):
    zero = dict.fromkeys([*(Partition(EVENTS, n) for n in range(3)), Partition(ACCESS, 0), P0], 0)
    assert log.end() == log.start() == Position(zero)
    assert log.partitions == COUNTS
    assert every(log, P0, 0, 0) == []


def test_reading_covers_exactly_the_range_asked_for(log):
    log.append(CONTROL, entries(10))
    assert [r.offset for r in every(log, P0, 3, 7)] == [3, 4, 5, 6]
    assert every(log, P0, 7, 7) == []
    assert [r.offset for r in every(log, P0, 9, 10)] == [9]


def test_batches_are_bounded_and_never_empty(log):
    log.append(CONTROL, [Entry(b"k", bytes(700_000)) for _ in range(6)])
    batches = list(log.read(P0, 0, 6))
    assert all(batches)
    assert len(batches) >= 3, "a batch holds about a megabyte"
    assert [r.offset for b in batches for r in b] == list(range(6))


def test_reading_beyond_the_end_is_a_gap_and_never_a_shorter_history(log):
    log.append(CONTROL, entries(3))
    with pytest.raises(LogGap, match="3 to 4"):
        every(log, P0, 0, 5)
    with pytest.raises(LogGap):
        every(log, Partition(EVENTS, 1), 0, 1)


def test_lost_records_are_a_gap_that_names_the_range(log, place):
    log.append(CONTROL, entries(10))
    place.lose_records(CONTROL, 0, 4)
    with pytest.raises(LogGap, match="0 to 3"):
        every(log, P0, 0, 10)
    assert log.start()[P0] == 4
    assert log.end()[P0] == 10
    assert [r.offset for r in every(log, P0, 4, 10)] == [4, 5, 6, 7, 8, 9]


def test_no_such_topic_or_partition(log):
    with pytest.raises(BadInput):
        log.append("rekam.other", entries(1))
    with pytest.raises(BadInput):
        every(log, Partition(EVENTS, 3), 0, 1)


def test_the_largest_value_fits_and_a_larger_one_is_refused_before_anything_is_written(log):
    [placed] = log.append(EVENTS, [Entry(b"k", bytes(MAX_VALUE_BYTES), (("h", bytes(MAX_LABEL_BYTES - 2)),))])
    assert len(every(log, placed.partition)[0].value) == MAX_VALUE_BYTES
    before = log.end()
    with pytest.raises(TooLarge):
        log.append(EVENTS, [*entries(2), Entry(b"k", bytes(MAX_VALUE_BYTES + 1))])
    with pytest.raises(TooLarge):
        log.append(EVENTS, [*entries(2), Entry(bytes(MAX_LABEL_BYTES + 1), b"")])
    assert log.end() == before
    log.append(EVENTS, entries(1))  # and the log still takes others


@pytest.mark.parametrize("unfit", [Entry(None, None), Entry(b"k", b"v", (("h", None),))])
def test_what_some_client_cannot_write_no_log_takes(log, unfit):
    with pytest.raises(BadInput):
        log.append(EVENTS, [*entries(2), unfit])
    assert log.end().records() == 0


def test_times_are_the_logs_own_and_never_run_backwards(log):
    for _ in range(5):
        log.append(CONTROL, entries(20))
    times = [r.time for r in every(log, P0)]
    assert times == sorted(times)
    assert 1_600_000_000_000 < times[0] < 9_000_000_000_000


def test_first_later_is_the_lowest_offset_with_a_greater_time(log):
    for n in range(4):
        log.append(CONTROL, [Entry(b"k", b"%d" % n)] * 3)
        _until_a_later_millisecond(log)
    records = every(log, P0)
    for time in {t + d for t in (r.time for r in records) for d in (-1, 0, 1)}:
        for start, stop in ((0, len(records)), (2, 9), (5, 5), (4, 5)):
            want = next((r.offset for r in records[start:stop] if r.time > time), None)
            assert log.first_later(P0, start, stop, time) == want


def _until_a_later_millisecond(log):
    [first] = log.append(ACCESS, entries(1))
    while log.append(ACCESS, entries(1))[0].time <= first.time:
        pass


def test_a_log_is_opened_again_as_it_was(log, place):
    log.append(EVENTS, entries(7))
    again = place.open()
    assert again.partitions == COUNTS
    assert again.end() == log.end()
    assert again.identity() == log.identity()
    log.append(EVENTS, entries(1))
    assert again.end() == log.end()
    again.close()


def test_opening_refuses_to_make_a_log_unasked(place):
    with pytest.raises(LogMissing):
        place.open()
    with pytest.raises(LogMissing):
        place.open(COUNTS)
    place.open(COUNTS, create=True).close()
    place.open(COUNTS, create=True).close()


def test_a_changed_number_of_partitions_is_refused(log, place):
    with pytest.raises(BadConfiguration, match=r"rekam\.events"):
        place.open({**COUNTS, EVENTS: 4})
    with pytest.raises(BadConfiguration, match=r"rekam\.events"):
        place.open({**COUNTS, EVENTS: 2}, create=True)


def test_a_log_that_was_made_again_has_another_identity(log, place):
    before = log.identity()
    assert set(before) == set(COUNTS)
    log.close()
    place.lose()
    again = place.open(COUNTS, create=True)
    assert all(again.identity()[topic] != before[topic] for topic in COUNTS)
    again.close()


def test_concurrent_appends_all_stand_once_in_each_threads_order(log):
    def write(thread):
        placed = []
        for n in range(25):
            placed += log.append(EVENTS, [Entry(b"s%d" % (thread % 5), b"%d:%d" % (thread, n))])
        return placed

    with ThreadPoolExecutor(8) as pool:
        placed = [p for future in [pool.submit(write, t) for t in range(8)] for p in future.result()]
    assert len({(p.partition, p.offset) for p in placed}) == 200
    records = {(p, r.offset): r for p in log.end() if p.topic == EVENTS for r in every(log, p)}
    assert len(records) == 200
    for thread in range(8):
        mine = [
            int(r.value.split(b":")[1])
            for _, r in sorted(records.items())
            if r.value.startswith(b"%d:" % thread)
        ]
        assert mine == list(range(25))


def test_what_an_append_returned_is_covered_by_any_later_end_and_readable(log, place):
    other = place.open()
    stop = threading.Event()
    wrong = []

    def watch():
        while not stop.is_set():
            end = other.end()[P0]
            if len(every(other, P0, max(0, end - 5), end)) != min(end, 5):
                wrong.append(end)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(100):
            [placed] = log.append(CONTROL, entries(1))
            assert other.end()[P0] > placed.offset
    finally:
        stop.set()
        watcher.join()
    assert not wrong
    other.close()


# Restoring


def as_it_was():
    """Records as no live log would time them: by their writers' clocks, running back."""
    return [
        Record(0, 1_700_000_000_000, TimeType.APPEND, b"a", (("h", b"x"),), b"one"),
        Record(1, 1_700_000_009_000, TimeType.APPEND, None, (), None),
        Record(2, 1_700_000_001_000, TimeType.APPEND, b"b", (("h", None),), b"three"),
        Record(3, 1_700_000_002_000, TimeType.APPEND, b"a", (), b"four"),
        Record(4, 1_700_000_009_500, TimeType.APPEND, b"a", (), b"five"),
    ]


def bare(records):
    return [(r.offset, r.time, int(r.time_type), r.key, r.headers, r.value) for r in records]


def test_a_restored_log_holds_the_records_as_they_were_and_goes_on(place):
    restorer = place.restorer()
    assert restorer.begin(COUNTS).records() == 0
    target = Partition(EVENTS, 1)
    restorer.write(target, as_it_was()[:3])
    restorer.write(target, as_it_was()[3:])
    restorer.write(P0, as_it_was()[:2])
    restorer.finish()
    restorer.close()
    log = place.open()
    assert bare(every(log, target)) == bare(as_it_was())
    assert log.end()[P0] == 2
    [placed] = log.append(CONTROL, entries(1))
    assert (placed.offset, placed.time > 1_750_000_000_000) == (2, True)
    assert every(log, P0)[2].time_type == TimeType.APPEND
    log.close()


def test_first_later_holds_where_restored_times_run_back(place):
    restorer = place.restorer()
    restorer.begin(COUNTS)
    restorer.write(P0, as_it_was())
    restorer.finish()
    restorer.close()
    log = place.open()
    log.append(CONTROL, entries(3))
    records = every(log, P0)
    for time in {r.time + d for r in records for d in (-1, 0, 1)}:
        for start in range(len(records) + 1):
            for stop in range(start, len(records) + 1):
                want = next((r.offset for r in records[start:stop] if r.time > time), None)
                assert log.first_later(P0, start, stop, time) == want
    log.close()


def test_until_it_is_finished_a_restore_is_no_log_and_can_be_resumed(place):
    first = place.restorer()
    first.begin(COUNTS, "archive at 7")
    first.write(P0, as_it_was()[:2])
    first.close()
    with pytest.raises(LogMissing):
        place.open()
    second = place.restorer()
    position = second.begin(COUNTS, "archive at 7")
    assert position[P0] in (0, 2)
    second.write(P0, as_it_was()[position[P0] :])
    second.finish()
    second.close()
    log = place.open()
    assert bare(every(log, P0)) == bare(as_it_was())
    log.close()


def test_a_half_done_restore_of_something_else_starts_over(place):
    first = place.restorer()
    first.begin(COUNTS, "archive at 7")
    first.write(P0, as_it_was())
    first.close()
    for counts, source in ((COUNTS, "archive at 6"), ({**COUNTS, EVENTS: 2}, "archive at 6")):
        other = place.restorer()
        assert other.begin(counts, source).records() == 0
        other.write(P0, as_it_was()[:1])
        other.close()
    last = place.restorer()
    last.begin(COUNTS, "archive at 6")
    last.finish()
    last.close()
    log = place.open(COUNTS)
    assert log.end().records() == 0
    log.close()


def test_a_restore_never_writes_over_a_log(log, place):
    log.append(EVENTS, entries(1))
    restorer = place.restorer()
    with pytest.raises(Refused):
        restorer.begin(COUNTS)
    restorer.close()
    assert log.end().records() == 1


def test_a_restore_refuses_records_that_do_not_follow(place):
    restorer = place.restorer()
    restorer.begin(COUNTS)
    with pytest.raises(Refused):
        restorer.write(P0, as_it_was()[1:])
    restorer.write(P0, as_it_was()[:1])
    with pytest.raises(Refused):
        restorer.write(P0, as_it_was()[2:])
    restorer.close()
