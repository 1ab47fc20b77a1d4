"""Moments as people write and read them: ISO 8601, in the clinic's zone where no offset is given."""

from __future__ import annotations

import re
from datetime import MAXYEAR, UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from events.errors import WrongUsage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {
    word: unit
    for unit, words in {
        "seconds": "second seconds sec detik",
        "minutes": "minute minutes min menit",
        "hours": "hour hours jam",
        "days": "day days hari",
        "weeks": "week weeks minggu",
    }.items()
    for word in words.split()
}
_DAYS = {"today": 0, "hari ini": 0, "yesterday": 1, "kemarin": 1}
_SPAN = re.compile(rf"(\d{{1,6}}) ?({'|'.join(_UNITS)})\b")
_AGO = re.compile(rf"((?:{_SPAN.pattern} ?)+)(?:ago|(?:yang )?lalu)")
_OF_DAY = re.compile(rf"({'|'.join(_DAYS)}) (?:(?:at|jam|pukul) )?(\d\d?)[:.](\d\d)(?:[:.](\d\d))?")


def parse_moment(text: str, zone: ZoneInfo, now: int | None = None) -> int:
    """Milliseconds UTC of an ISO 8601 time, or of words for one, from `now` on (milliseconds UTC; None: no words).

    Words are those that count from now, in English or Indonesian: `2 hours ago`, `kemarin 14:00`. What two people may
    read differently is refused: a date in any other order than ISO's, a day without its time, and whatever is said
    beside these words. A fraction finer than a millisecond is cut off: the log's times have none. Raises WrongUsage.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        said = None if now is None else _from_words(" ".join(text.lower().split()), zone, now)
        if said is None:
            raise WrongUsage(
                f"not a time: {text!r}",
                "write it like 2026-11-23T09:30:00+07:00 (without an offset: the clinic's zone)"
                + ("" if now is None else ", or '2 hours ago', 'yesterday 14:00'"),
            ) from None
        moment = said
    if not 1 < moment.year < MAXYEAR:
        raise WrongUsage(f"not a time: {text!r}", "its year is out of range")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _from_words(text: str, zone: ZoneInfo, now: int) -> datetime | None:
    here = (_EPOCH + timedelta(milliseconds=now)).astimezone(zone)
    if ago := _AGO.fullmatch(text):
        spans = (timedelta(**{_UNITS[unit]: int(count)}) for count, unit in _SPAN.findall(ago[1]))
        try:
            return here.astimezone(UTC) - sum(
                spans, timedelta()
            )  # time that passed, whatever clocks were set to
        except OverflowError:
            return None
    if of_day := _OF_DAY.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in of_day.groups()[1:])
        try:
            clock = time(hour, minute, second)
        except ValueError:
            return None
        return datetime.combine(here.date() - timedelta(days=_DAYS[of_day[1]]), clock)
    return None


def show_millis(milliseconds: int, zone: ZoneInfo) -> str:
    """ISO 8601 with offset, in the clinic's zone, to the millisecond."""
    return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone).isoformat(timespec="milliseconds")


def show_micros(microseconds: int, zone: ZoneInfo) -> str:
    """As show_millis, to the microsecond where there is one."""
    moment = (_EPOCH + timedelta(microseconds=microseconds)).astimezone(zone)
    return moment.isoformat(timespec="microseconds" if microseconds % 1000 else "milliseconds")


def show_span(seconds: float) -> str:
    """A duration in words: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`, `4 d 03 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"
