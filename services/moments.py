"""Moments as people write and read them: ISO 8601, in the clinic's zone where no offset is given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from events.errors import WrongUsage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_moment(text: str, zone: ZoneInfo, now: int | None = None) -> int:
    """Milliseconds UTC of an ISO 8601 time, or of words for one, from `now` on (milliseconds UTC; None: no words).

    Words are those that count from now, in English or Indonesian: `2 hours ago`, `kemarin 14:00`. A date in any other
    order than ISO's is refused, since two people may read it differently. A fraction finer than a millisecond is cut
    off: the log's times have none. Raises WrongUsage.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        said = None if now is None else _from_words(text, zone, now)
        if said is None:
            raise WrongUsage(
                f"not a time: {text!r}",
                "write it like 2026-11-23T09:30:00+07:00 (without an offset: the clinic's zone)"
                + ("" if now is None else ", or '2 hours ago', 'yesterday 14:00'"),
            ) from None
        moment = said
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _from_words(text: str, zone: ZoneInfo, now: int) -> datetime | None:
    import dateparser  # slow to import, and seldom needed

    here = (_EPOCH + timedelta(milliseconds=now)).astimezone(zone)
    settings = {"PARSERS": ["relative-time"], "RELATIVE_BASE": here.replace(tzinfo=None)}
    found: datetime | None = dateparser.parse(text, languages=["en", "id"], settings=settings)
    return found


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
