from zoneinfo import ZoneInfo

import pytest

from events.errors import Refused
from services.moments import parse_moment, show_micros, show_millis, show_span

JAKARTA = ZoneInfo("Asia/Jakarta")


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T07:00:00+07:00", 0),
        ("1970-01-01T07:00:00", 0),  # the clinic's zone
        ("1970-01-01 07:00:00.250", 250),
        (
            "1970-01-01T00:00:00.1239+00:00",
            123,
        ),  # finer than the log: cut off, never rounded up into the future
        ("1969-12-31T23:59:59.9995Z", -1),
        ("1970-01-02", 86_400_000 - 7 * 3_600_000),
    ],
)
def test_a_moment_is_read_in_its_own_zone_or_the_clinics(text: str, millis: int) -> None:
    assert parse_moment(text, JAKARTA) == millis


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "25:00", "2026-11-23T25:00"])
def test_what_is_no_moment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_moment(text, JAKARTA)
    assert "2026-" in refused.value.hint


NOW = parse_moment("2026-11-24T15:00:00+07:00", JAKARTA)


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("2 hours ago", "2026-11-24T13:00:00+07:00"),
        ("2 jam yang lalu", "2026-11-24T13:00:00+07:00"),
        ("90 minutes ago", "2026-11-24T13:30:00+07:00"),
        ("yesterday 14:00", "2026-11-23T14:00:00+07:00"),
        ("kemarin 14:00", "2026-11-23T14:00:00+07:00"),
        ("hari ini 09:30", "2026-11-24T09:30:00+07:00"),
        ("1 hour 30 minutes ago", "2026-11-24T13:30:00+07:00"),
        ("2  Hours\tAgo ", "2026-11-24T13:00:00+07:00"),
        ("kemarin 14.05", "2026-11-23T14:05:00+07:00"),
        ("kemarin jam 14.05.30", "2026-11-23T14:05:30+07:00"),
        ("yesterday at 9:00", "2026-11-23T09:00:00+07:00"),
    ],
)
def test_words_count_from_now_in_the_clinics_zone(words: str, moment: str) -> None:
    assert parse_moment(words, JAKARTA, NOW) == parse_moment(moment, JAKARTA)


@pytest.mark.parametrize(
    "words",
    [
        *("", "12", "03/04/2026", "10:30", "sometime", "latest", "24 Nov", "now"),
        *(
            "yesterday",
            "kemarin",
            "today",
            "kemarin jam 14",
            "yesterday 2pm",
            "yesterday 25:00",
            "yesterday 9:61",
        ),
        *("2 hours", "3 m ago", "ago", "lalu", "2 hours ago 14:00", "2 hours ago UTC", "yesterday 14:00 UTC"),
        *("1 month ago", "999999 weeks ago", "²2 hours ago", "in 2 hours"),
    ],
)
def test_what_two_people_may_read_differently_is_refused(words: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_moment(words, JAKARTA, NOW)
    assert "2 hours ago" in refused.value.hint


def test_so_long_ago_is_time_that_passed_whatever_clocks_were_set_to() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for now, words, moment in (
        ("2026-10-25T02:30:00+01:00", "10 minutes ago", "2026-10-25T02:20:00+01:00"),
        ("2026-03-29T03:30:00+02:00", "2 hours ago", "2026-03-29T00:30:00+01:00"),
    ):
        assert parse_moment(words, berlin, parse_moment(now, berlin)) == parse_moment(moment, berlin)


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31T23:59:59-07:00"])
def test_a_time_that_no_message_could_show_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="not a time"):
        parse_moment(text, JAKARTA, NOW)


def test_a_moment_is_shown_with_its_offset_and_read_back() -> None:
    shown = show_millis(1_795_000_000_123, JAKARTA)
    assert shown.endswith("+07:00")
    assert parse_moment(shown, ZoneInfo("UTC")) == 1_795_000_000_123
    assert show_micros(1_795_000_000_123_000, JAKARTA) == shown
    assert show_micros(1_795_000_000_123_456, JAKARTA).endswith(".123456+07:00")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (12, "12 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
        (356_400, "4 d 03 h"),
    ],
)
def test_a_span_is_said_in_words(seconds: float, words: str) -> None:
    assert show_span(seconds) == words
