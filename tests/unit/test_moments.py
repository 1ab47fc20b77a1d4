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
    ],
)
def test_words_count_from_now_in_the_clinics_zone(words: str, moment: str) -> None:
    assert parse_moment(words, JAKARTA, NOW) == parse_moment(moment, JAKARTA)


@pytest.mark.parametrize("words", ["", "12", "03/04/2026", "10:30", "sometime", "latest", "24 Nov"])
def test_what_two_people_may_read_differently_is_refused(words: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_moment(words, JAKARTA, NOW)
    assert "2 hours ago" in refused.value.hint


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
