"""Asking witnesses to cosign what was shipped: after the commit, beside the shipping, never in its way.

A checkpoint is read from the archive, where it is committed already: a note that lost the race is never cosigned. What
the witness saw last is proven to be the beginning of what is there now. That it answers with a size that the archive
does not have, or refuses the proof, means that somebody rewrote the archive or rolled it back: that needs a person.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus

from events.errors import ArchiveDiverged, Busy, Corrupt, Refused, RekamError, Unavailable
from replicator.archive_index import ArchiveIndex
from replicator.witnessing.cosignature import cosignature_lines
from replicator.witnessing.deciding import SIZE_TYPE
from replicator.witnessing.growth import Growth, growth_from, read_on
from replicator.witnessing.request import AddCheckpoint
from services.home import Home
from services.witnessing.calling import Answer, Post, poster
from services.witnessing.standing import Witness, keep_trouble, keep_word, witnesses_of, word_of

RETRY_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""How often is looked whether a checkpoint was committed."""
END_SECONDS = 2.0
"""How long a witness that is being asked is waited for at the end."""
RACES = 5
"""How often another size is told, since other homes ask too, before giving way."""
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n\Z")

Tell = Callable[[str], object]


@dataclass
class Asker:
    """Asks one witness about one archive. Not for several threads at once."""

    place: Home
    witness: Witness
    post: Post
    _index: ArchiveIndex | None = field(default=None, init=False)
    _growth: Growth | None = field(default=None, init=False)

    def ask(self, *, again: bool = False) -> int:
        """Has the newest checkpoint cosigned, and keeps the word: how many leaves its tree has (0: none is there yet).

        `again`: also where it was cosigned already. Raises Unavailable or Busy (it may be asked again), Refused (a
        person must look at settings), LostData: the archive is not the one that the witness saw.
        """
        index = self._refreshed()
        word = word_of(self.place, self.witness)
        known = word.head.size if word else 0
        if index.head.n == 0 and not known:
            return 0
        if known > index.head.tree.size:
            raise self._shorter(known)
        if known == index.head.tree.size and not again:
            if word and word.head.root != index.head.tree.root():
                raise self._forked("cosigned another tree of the same size")
            return known
        return self._bring_up(index, known)

    def _refreshed(self) -> ArchiveIndex:
        if self._index is None:
            self._index = self.place.archive()
        else:
            self._index.refresh()
        return self._index

    def _bring_up(self, index: ArchiveIndex, known: int) -> int:
        for _ in range(RACES):
            try:
                while True:
                    known = self._step(index, known)
                    if known == index.head.tree.size:
                        return known
            except _OtherSize as told:
                if told.size == known:
                    raise self._forked("cosigned another tree of the same size") from None
                if told.size > index.head.tree.size:
                    index.refresh()
                if told.size > index.head.tree.size:
                    raise self._shorter(told.size) from None
                known = told.size
        raise Busy("others keep asking the witness at the same time", "it is asked again")

    def _step(self, index: ArchiveIndex, known: int) -> int:
        """One request, up to as many checkpoints as are read at once: the size that is cosigned now."""
        growth = self._growth_over(index, known)
        request = AddCheckpoint(known, growth.proof(known), growth.head.note)
        answer = self.post(request.to_bytes())
        if answer.status != HTTPStatus.OK:
            raise self._refused(answer)
        text, _ = index.keys.open(growth.head.note, "the newest note")
        try:
            lines = cosignature_lines(answer.body, text, self.witness.key, "the witness's answer")
        except Corrupt as error:  # nothing of ours is lost
            raise Refused(error.message, error.hint) from None
        keep_word(self.place, self.witness, growth.head.note + lines)
        return growth.size

    def _growth_over(self, index: ArchiveIndex, known: int) -> Growth:
        growth = self._growth
        if growth is None or known == 0 or known < growth.base.size:
            growth = self._growth = growth_from(index, known)
        while growth.head.n < index.head.n and (growth.size <= known or not known):
            read_on(growth, index)
        growth.forget(known)
        return growth

    def _refused(self, answer: Answer) -> RekamError:
        size = _SIZE.match(answer.body)
        if answer.status == HTTPStatus.CONFLICT and answer.content_type.startswith(SIZE_TYPE) and size:
            return _OtherSize(int(size[1]))
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return self._forked("refuses the proof that the archive grew from what it saw")
        if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
            what = "archive" if answer.status == HTTPStatus.NOT_FOUND else "clinic's key"
            origin = self._index.config.origin if self._index else "ORIGIN"
            return Refused(
                f"it does not know this {what}",
                f"its keeper runs: rekam witness trust {origin} '{self.place.verifier()}' --folder DIR",
            )
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.REQUEST_TIMEOUT:
            return Unavailable(f"the witness cannot answer now (status {answer.status})", "it is asked again")
        return Refused(f"it refuses, status {answer.status}", "is its url right?")

    def _shorter(self, cosigned: int) -> ArchiveDiverged:
        held = self._index.head.tree.size if self._index else 0
        return self._forked(f"cosigned {cosigned:,} leaves, and the archive holds {held:,}")

    def _forked(self, what: str) -> ArchiveDiverged:
        return ArchiveDiverged(
            f"the archive was rolled back or rewritten: the witness {what}",
            "compare with another copy of the archive before anything is shipped or removed",
        )


class _OtherSize(RekamError):
    """The witness saw so many leaves last."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the witness saw {size} leaves last")
        self.size = size


def askers(place: Home) -> list[Asker]:
    """One for each witness of rekam.toml, about the archive that `place` is with."""
    return [Asker(place, witness, poster(witness.url)) for witness in witnesses_of(place)]


def ask_and_keep(asker: Asker, *, again: bool = False) -> int | RekamError:
    """What became of it, which is kept for `status` too."""
    try:
        try:
            size = asker.ask(again=again)
        except RekamError as error:
            keep_trouble(asker.place, asker.witness, error)
            return error
        keep_trouble(asker.place, asker.witness, None)
        return size
    except Unavailable as error:  # nothing can be kept
        return error


def ask_each(places: Sequence[Home], *, again: bool = False) -> list[tuple[Asker, int | RekamError]]:
    """Asks every witness about every archive, side by side, once."""
    found = [asker for place in places for asker in askers(place)]
    if not found:
        return []
    with ThreadPoolExecutor(len(found), thread_name_prefix="witness") as pool:
        return list(zip(found, pool.map(lambda a: ask_and_keep(a, again=again), found), strict=True))


class Asking:
    """Threads that ask all day, one for each witness and archive: none waits for another, and shipping for none."""

    def __init__(self, places: Sequence[Home], tell: Tell) -> None:
        self._done = threading.Event()
        self._threads = [
            threading.Thread(
                target=ask_forever,
                args=(asker, self._done, tell),
                daemon=True,
                name=f"ask-{asker.witness.name}",
            )
            for place in places
            for asker in askers(place)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """What is under way is waited for a moment; no harm is done where it is cut off."""
        self._done.set()
        deadline = time.monotonic() + END_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def ask_forever(asker: Asker, done: threading.Event, tell: Tell) -> None:
    """Asks whenever a checkpoint was committed, and again after a failure. Each new trouble is told once."""
    asked: bytes | None = None
    told = ""
    wait = 0.0
    look = min(LOOK_SECONDS, asker.place.interval_seconds)
    while not done.is_set():
        seen = _seen(asker.place)
        wait -= look
        if seen is not None and (seen != asked or (told and wait <= 0)):
            found = ask_and_keep(asker)
            text = str(found) if isinstance(found, RekamError) else ""
            if text and text != told:
                tell(f"{asker.place.archive_name}: witness {asker.witness.name!r}: {text}")
            if told and not text:
                tell(f"{asker.place.archive_name}: witness {asker.witness.name!r} cosigns again")
            asked, told, wait = seen, text, RETRY_SECONDS
        done.wait(look)


def _seen(place: Home) -> bytes | None:
    try:
        return place.seen()
    except RekamError:
        return None  # shipping says what is wrong with it
