"""What runs all day: the projector's loop, and keeping several such loops together in one process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress

from events.errors import Busy, Unavailable
from projections.projector import project
from services.projecting import finish_journal
from services.system import System

IDLE_SECONDS = 0.2
RETRY_SECONDS = 2.0
GIVEN_WAY = 10
"""The nice value of what runs beside."""

Tell = Callable[[str], object]


def project_forever(system: System, stop: threading.Event, tell: Tell) -> None:
    """Folds the log into the tables as it grows. What does not answer is tried again; lost data ends it."""
    while not stop.is_set():
        try:
            with closing(system.log()) as log, closing(system.tables()) as tables:
                finish_journal(system.log_opener(), tables)
                try:
                    while not stop.is_set():
                        if not project(log, tables, hold=True).records:
                            stop.wait(IDLE_SECONDS)
                finally:
                    tables.release_lease()
        except (Unavailable, Busy) as error:
            tell(f"projecting waits: {error}")
            stop.wait(RETRY_SECONDS)


def keep(works: Sequence[Callable[[], None]], stop: threading.Event) -> None:
    """Runs the works side by side until `stop`; the first that fails stops the others and is raised."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (raised again below, in the thread that waits)
            failures.append(error)
            stop.set()

    threads = [
        threading.Thread(target=guarded, args=(work,), name=f"work-{n}") for n, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def give_way() -> None:
    """From here on this thread, and those that it starts, give way to whoever else wants a processor, as `nice` does.

    Where the system knows priorities of processes alone, nothing changes.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), GIVEN_WAY)
