"""Several archives of one clinic: each is shipped to by itself, so that none holds up the others or hides a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from events.errors import LostData, Refused, RekamError, Unavailable
from services.backups.keeping import back_up_forever
from services.home import Home
from services.replicating import Outcome, replicate_forever, replicate_once
from services.running import give_way
from services.witnessing.asking import Asking

Tell = Callable[[str], object]


def replicate_each_once(places: Sequence[Home], *, snapshot: bool) -> Mapping[str, Outcome | RekamError]:
    """Ships everything to each archive, side by side: what became of it, by the archive's name."""

    def once(place: Home) -> Outcome | RekamError:
        try:
            return replicate_once(place, snapshot=snapshot)
        except RekamError as error:
            return error

    with ThreadPoolExecutor(len(places), thread_name_prefix="archive") as pool:
        return dict(zip((place.archive_name for place in places), pool.map(once, places), strict=True))


def replicate_each_forever(places: Sequence[Home], stop: threading.Event, tell: Tell) -> None:
    """Ships to each archive until `stop`; takes its backups and asks its witnesses beside. One that needs a person is
    told and left; the last one to fail ends this.

    Raises the first failure at the end.
    """
    done = threading.Event()
    failures: list[BaseException] = []

    def forever(place: Home) -> None:
        name = f"{place.archive_name}: " if len(places) > 1 else ""
        try:
            replicate_forever(place, stop, lambda text: tell(f"{name}{text}"))
        except BaseException as error:  # noqa: BLE001  (raised again below, in the thread that waits)
            failures.append(error)
            tell(f"{name}nothing is shipped there any more: {error}")

    def back_up(place: Home) -> None:
        name = f"{place.archive_name}: " if len(places) > 1 else ""
        give_way()
        back_up_forever(place, done, lambda text: tell(f"{name}{text}"))

    keepers = [threading.Thread(target=back_up, args=(p,), name=f"keep-{p.archive_name}") for p in places]
    threads = [threading.Thread(target=forever, args=(p,), name=f"ship-{p.archive_name}") for p in places]
    for thread in (*threads, *keepers):
        thread.start()
    asking = Asking(places, tell)
    for thread in threads:
        thread.join()
    done.set()  # `stop`, or nothing is shipped any more
    asking.end()
    for thread in keepers:
        thread.join()
    if failures:
        raise failures[0]


def longer(than: Home, places: Sequence[Home]) -> list[str]:
    """The names of those that hold more of the log than one of them does; what cannot be read is left out."""
    held, found = than.archive().end().records(), []
    for place in places:
        with suppress(Unavailable, LostData, Refused):
            if place.archive_name != than.archive_name and place.archive().end().records() > held:
                found.append(place.archive_name)
    return found


def farthest(places: Sequence[Home], tell: Tell) -> Home:
    """The archive that holds most of the log, of those that can be read; the first of several that hold as much.

    A recovery from a shorter one would give up what the longer one holds, and could not be shipped there any more.
    Raises what the first archive said where none can be read.
    """
    if len(places) == 1:
        return places[0]
    held: list[tuple[int, Home]] = []
    errors: list[RekamError] = []
    for place in places:
        try:
            held.append((place.archive().end().records(), place))
        except (Unavailable, LostData, Refused) as error:
            tell(f"warning: the archive {place.archive_name!r} cannot be read: {error.message}")
            errors.append(error)
    if not held:
        raise errors[0]
    _, chosen = max(held, key=lambda found: found[0])
    tell(f"Reading from the archive {chosen.archive_name!r}.")
    return chosen
