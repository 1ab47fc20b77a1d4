"""The tables that every projection shares: what was read, how it was judged, and how far.

`journal` holds every readable event of rekam.events with its verdict and its value's bytes; `history`, as-of
views, rewinds and duplicates are answered from it alone. `streams` is where each stream stands. `control` holds
control's records as read, from which the chain of any position follows. `access_log` is the access topic, judged
by the version rule alone. `unreadable` lists records that are no event of ours: kept on the log, listed here,
blocking nobody. `cursor`, `lease` and `meta` say how far, by whom, in which layout.

Within a stream the journal's offsets order its events, since a stream lives in one partition (an event elsewhere
is listed as unreadable). The views name what had no effect, and why.
"""

from __future__ import annotations

import sqlalchemy as sa

from events.position import ACCESS, EVENTS
from events.rules import Verdict
from projections.columns import Digest, Id, Instant, Integer, Text, column, keyed_table

METADATA = sa.MetaData()

JOURNAL = keyed_table(
    METADATA,
    "journal",
    ("stream", "log_offset"),
    column("stream", Text(), nullable=False),
    column("log_partition", Integer(), nullable=False),
    column("log_offset", Integer(), nullable=False),
    column("logged_at", Instant(), nullable=False),
    column("version", Integer(), nullable=False),
    column("event_id", Id(), nullable=False),
    column("epoch", Id()),
    column("type", Text(), nullable=False),
    column("occurred_at", Instant(), nullable=False),
    column("recorded_at", Instant(), nullable=False),
    column("actor_id", Text(), nullable=False),
    column("actor_role", Text(), nullable=False),
    column("actor_system", Text(), nullable=False),
    column("verdict", Text(), nullable=False),
    column("value", Digest(), nullable=False),
    comment="Every event of rekam.events, as judged.",
)
sa.Index("journal_event_id", JOURNAL.c.event_id)
_odd = JOURNAL.c.verdict != Verdict.APPLIED.value
sa.Index("journal_odd", JOURNAL.c.verdict, sqlite_where=_odd, postgresql_where=_odd)

STREAMS = keyed_table(
    METADATA,
    "streams",
    ("stream",),
    column("stream", Text(), nullable=False),
    column("version", Integer(), nullable=False),
    column("last", Id(), nullable=False),
    comment="Where each stream stands: its version and its last applied event.",
)

ACCESS_LOG = keyed_table(
    METADATA,
    "access_log",
    ("stream", "log_offset"),
    column("stream", Text(), nullable=False),
    column("log_partition", Integer(), nullable=False),
    column("log_offset", Integer(), nullable=False),
    column("logged_at", Instant(), nullable=False),
    column("version", Integer(), nullable=False),
    column("event_id", Id(), nullable=False),
    column("type", Text(), nullable=False),
    column("patient", Text()),
    column("occurred_at", Instant(), nullable=False),
    column("recorded_at", Instant(), nullable=False),
    column("actor_id", Text(), nullable=False),
    column("actor_role", Text(), nullable=False),
    column("actor_system", Text(), nullable=False),
    column("verdict", Text(), nullable=False),
    column("value", Digest(), nullable=False),
    comment="Who viewed, printed or exported what: rekam.access, judged by the version rule alone.",
)
sa.Index("access_log_patient", ACCESS_LOG.c.patient, ACCESS_LOG.c.occurred_at)

UNREADABLE = keyed_table(
    METADATA,
    "unreadable",
    ("topic", "log_partition", "log_offset"),
    column("topic", Text(), nullable=False),
    column("log_partition", Integer(), nullable=False),
    column("log_offset", Integer(), nullable=False),
    column("logged_at", Instant(), nullable=False),
    column("reason", Text(), nullable=False),
    column("fingerprint", Digest()),
    column("size_bytes", Integer(), nullable=False),
    comment="Records that are no event of ours; their bytes stay on the log.",
)

CONTROL = keyed_table(
    METADATA,
    "control",
    ("log_offset",),
    column("log_offset", Integer(), nullable=False),
    column("logged_at", Instant(), nullable=False),
    column("kind", Text(), nullable=False),
    column("control_id", Id(), nullable=False),
    column("recorded_at", Instant(), nullable=False),
    column("epoch", Id()),
    column("value", Digest(), nullable=False),
    comment="The control topic as read: rewinds, heartbeats, incidents, drills.",
)

_rewinds = CONTROL.c.epoch.is_not(None)
sa.Index("control_rewinds", CONTROL.c.log_offset, sqlite_where=_rewinds, postgresql_where=_rewinds)

CURSOR = keyed_table(
    METADATA,
    "cursor",
    ("topic", "log_partition"),
    column("topic", Text(), nullable=False),
    column("log_partition", Integer(), nullable=False),
    column("next_offset", Integer(), nullable=False),
    comment="The position that all tables stand at.",
)

LEASE = keyed_table(
    METADATA,
    "lease",
    ("name",),
    column("name", Text(), nullable=False),
    column("holder", Text(), nullable=False),
    column("expires_at", Instant(), nullable=False),
    comment="Who projects, and until when.",
)

META = keyed_table(
    METADATA,
    "meta",
    ("name",),
    column("name", Text(), nullable=False),
    column("value", Text(), nullable=False),
    comment="The layout's version, the identity of the log's topics, how far the journal is complete.",
)

SYSTEM_TABLES = (JOURNAL, STREAMS, ACCESS_LOG, UNREADABLE, CONTROL, CURSOR, LEASE, META)
KEPT_IN = {EVENTS: JOURNAL, ACCESS: ACCESS_LOG}
"""topic of data -> the table that holds its events."""
LISTED_TABLES = (JOURNAL, STREAMS, ACCESS_LOG, UNREADABLE, CONTROL)
"""Those that a rebuild fills from the log."""

VIEWS = {
    "duplicates": Verdict.DUPLICATE,
    "conflicts": Verdict.CONFLICT,
    "events_ahead": Verdict.AHEAD,
    "set_aside": Verdict.SET_ASIDE,
    "unknown_epochs": Verdict.UNKNOWN_EPOCH,
}
"""view -> the verdict that its journal rows bear."""


def view_ddl() -> list[str]:
    return [
        f"CREATE VIEW {name} AS SELECT * FROM journal WHERE verdict = '{verdict.value}'"
        for name, verdict in VIEWS.items()
    ]
