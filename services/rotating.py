"""Rotating keys: to whom the archives are encrypted, and what signs their checkpoints.

Each goes step by step, in an order in which every step may be the last: what is new is durable here before an archive
names it, an archive names it before rekam.toml does, and what is old goes only once every archive has what is new. The
same command again goes on where the last one stopped; until then this machine has both keys in hand, and whoever ships
takes the one that is in force. `keys/next` holds what is to come into force, and keeps two rotations apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit import TOMLDocument

from events.durable import disk_errors, put_durably, sync
from events.errors import ArchiveDiverged, Refused, RekamError, WrongUsage
from events.sqlite_file import folder_lock
from replicator.archive import Archive
from replicator.encryption import Identity, Recipients, new_identity
from replicator.entries import Entry
from replicator.keys import create_signing_key, load_signing_key, replace_key_file, write_key_file
from replicator.note import Signer
from replicator.rotations import Changed, add_recipients, add_signer
from replicator.trust import write_handover
from services import owner as owners
from services.home import SIGNING_KEY, Home
from services.owner import Owner
from services.places import key_backup_url
from services.settings import FILE_NAME, FIRST_ARCHIVE

NEXT_IDENTITY = "identity.txt"
OTHERS = 0o077
"""What anybody but the owner of a file may do with it."""
BEGUN = "begun"
"""In `keys/next` while recipients are rotated: the backup of patients' keys is to be made anew."""


@dataclass(frozen=True)
class Why:
    """Who rotates, and why. Both are kept in the archive for ever, in the clear."""

    actor: Mapping[str, str]
    reason: str


@dataclass
class Step:
    """What became of one archive."""

    archive: str
    before: tuple[str, ...]
    """Recipients, or the one key that signed."""
    after: tuple[str, ...]
    checkpoint: int | None = None
    """The last one under what was before; None: nothing was to be done."""
    origin: str = ""
    error: RekamError | None = None

    @property
    def changes(self) -> bool:
        return set(self.before) != set(self.after)


@dataclass
class Rotated:
    """What a rotation did, or would do."""

    steps: list[Step] = field(default_factory=list)
    owner: Owner | None = None
    """The owner's file, where it was made anew."""
    backups_until: int | None = None
    """Until when older backups of patients' keys may stand (milliseconds UTC); None: none does."""
    keys_backed_up: bool = False
    new_recipient: str | None = None
    """Of the owner's new identity; of a dry run, one that will be another."""

    @property
    def changed(self) -> bool:
        return any(step.changes or step.checkpoint is not None for step in self.steps)

    @property
    def failed(self) -> list[Step]:
        return [step for step in self.steps if step.error is not None]


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """One rotation at a time in this home; whoever asks what is in force waits for its end."""
    with disk_errors(home.next_keys):
        home.next_keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder_lock(home.next_keys):
        with disk_errors(home.next_keys):
            for half in home.next_keys.glob(".*"):  # of a process that died while it wrote
                half.unlink()
        yield


def _owners_file(home: Home) -> Owner:
    path = home.keys / owners.FILE_NAME
    if not path.exists():
        raise Refused(
            "the owner's file is not on this machine, and is to be made anew",
            f"put {owners.FILE_NAME} into {home.keys} while this runs",
        )
    return owners.read_owner(path)


def sheet_of(home: Home, owner: Owner) -> str:
    settings = home.settings_now()
    archive, backups = (
        owners.on_paper(url, home.path) for url in (settings.archive.url, key_backup_url(settings))
    )
    return owners.sheet(owner, settings.clinic.name, archive, backups, home.keys)


# -- recipients


@dataclass(frozen=True)
class Wish:
    """How the recipients are to change."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    new_identity: bool = False
    """The owner gets a new identity, and those of the owner's file before it open nothing new."""


def recipients_after(before: Sequence[str], wish: Wish) -> tuple[str, ...]:
    """Pure. Twice is once. Raises Refused where nobody would be left, WrongUsage for what contradicts itself."""
    add, remove = Recipients(wish.add).texts, Recipients(wish.remove).texts
    if both := set(add) & set(remove):
        raise WrongUsage(f"{both.pop()} is both added and removed", "name it once")
    kept = [one for one in before if one not in remove]
    after = tuple(dict.fromkeys([*kept, *add]))
    if not after and before:
        raise Refused("nobody could open what is shipped: the last recipient stays", "add another one too")
    return after


def rotate_recipients(
    home: Home, wish: Wish, why: Why, *, dry_run: bool = False, prepare: bool = False
) -> Rotated:
    """Encrypts what is archived from now on, and the backup of patients' keys, to others. Twice is once.

    `prepare`: no more than the owner's file with the new identity, which opens what is there now too.
    What an archive did not answer is in its step; what stands wrong is raised before anything is done.
    """
    with _alone(home):
        wish, owner = _with_identity(home, wish, dry_run=dry_run)
        done = Rotated([_look(place, wish) for place in home.archives()])
        done.new_recipient = owner.recipient if owner else None
        begun = home.next_keys / BEGUN
        if dry_run or not (owner or ((done.changed or begun.exists()) and not prepare)):
            return done
        if not begun.exists():
            write_key_file(begun, "recipients are being rotated")
        if owner:
            replace_key_file(home.keys / owners.FILE_NAME, owners.owner_text(owner))
            done.owner = owner
        if prepare:
            return done
        for place, step in zip(home.archives(), done.steps, strict=True):
            if step.error is None:
                _attempt(step, partial(_change_recipients, place, step, why))
        if done.steps[0].error is None:
            _back_up_keys(home, done)
        if not done.failed:
            with disk_errors(home.next_keys):
                (home.next_keys / NEXT_IDENTITY).unlink(missing_ok=True)
                begun.unlink()
        return done


def _attempt(step: Step, work: Callable[[], None]) -> None:
    try:
        work()
    except RekamError as error:
        step.error = error


def _with_identity(home: Home, wish: Wish, *, dry_run: bool) -> tuple[Wish, Owner | None]:
    """The wish with the owner's new recipient in place of the earlier ones, and the owner's new file.

    An identity that a stopped rotation left is taken up again, asked for or not: archives may name it already.
    """
    path = home.next_keys / NEXT_IDENTITY
    if not wish.new_identity and not path.exists():
        return wish, None
    owner = _owners_file(home)
    text = _identity_text(path, dry_run=dry_run)
    identity = next(line for line in text.splitlines() if not line.startswith("#"))
    (recipient,) = Identity(text).recipients
    earlier = tuple(one for one in owner.identities if one != identity)
    opened = Identity("\n".join(earlier)).recipients
    new = replace(owner, identity=identity, recipient=recipient, earlier=earlier)
    return Wish((*wish.add, recipient), (*wish.remove, *opened)), new


def _identity_text(path: Path, *, dry_run: bool) -> str:
    """A new identity, which is kept before anything names it; the one that was kept, where one was."""
    with disk_errors(path):
        if path.exists():
            return path.read_text(encoding="utf-8")
    text, _ = new_identity()
    if not dry_run:
        write_key_file(path, text)
    return text


def _look(place: Home, wish: Wish) -> Step:
    """What is to be done with one archive. Raises Refused where nobody would be left."""
    named = place.recipients
    step = Step(place.archive_name, named, recipients_after(named, wish))

    def look() -> None:
        archive = place.any_writer()
        step.before, step.origin = archive.recipients, archive.config.origin
        if set(step.before) not in (set(named), set(step.after)):
            raise ArchiveDiverged(
                "the archive names other recipients than rekam.toml does, and than it would after this",
                "somebody changed one of them; a rotation that was stopped goes on with the same command",
            )

    _attempt(step, look)
    return step


def _change_recipients(place: Home, step: Step, why: Why) -> None:
    if step.changes:
        archive = place.any_writer()
        changed = Changed(place.clock(), why.actor, why.reason, step.after)
        step.checkpoint = _ship(place, archive, [add_recipients(archive, changed)])
    _edit_settings(place, lambda document: _set_recipients(document, place.archive_name, step.after))


def _set_recipients(document: TOMLDocument, name: str, recipients: Sequence[str]) -> None:
    section: Any = document["archive"] if name == FIRST_ARCHIVE else cast(Any, document["archives"])[name]
    section["recipients"] = list(recipients)


def _back_up_keys(home: Home, done: Rotated) -> None:
    backup = home.key_backup()
    with closing(home.patient_keys()) as keys:
        if backup.is_used(keys):
            done.backups_until = backup.replace(keys)
            done.keys_backed_up = True


# -- the signing key


def rotate_signing(home: Home, why: Why, *, dry_run: bool = False, prepare: bool = False) -> Rotated:
    """Gives every archive a new signing key; then the owner's file, the sheet and rekam.toml name it.

    The owner's file holds the next key before any archive names it: whichever copy was made from then on will do.
    `prepare`: no more than that.
    What an archive did not answer is in its step, and the same again goes on with it; what stands wrong is raised
    before anything is done.
    """
    with _alone(home):
        owner = _owner_who_signs(home)
        current, path = load_signing_key(home.keys / SIGNING_KEY), home.next_keys / SIGNING_KEY
        if dry_run:
            return Rotated([_signed_now(place) for place in home.archives()])
        following = (
            load_signing_key(path) if path.exists() else create_signing_key(path, current.verifier.name)
        )
        done = Rotated()
        if owner.signing_key != following.secret_text():
            owner = replace(owner, next_signing_key=following.secret_text())
            replace_key_file(home.keys / owners.FILE_NAME, owners.owner_text(owner))
        if prepare:
            return Rotated([_signed_now(place) for place in home.archives()], owner)
        for place in home.archives():
            step = Step(place.archive_name, (str(current.verifier),), (str(following.verifier),))
            done.steps.append(step)
            _attempt(step, partial(_hand_over, place, step, current, following, why))
        if not done.failed:
            done.owner = _switch(home, owner, current, following)
            _back_up_keys(
                home, done
            )  # signed with the new key: whoever has only the new sheet trusts no other
        return done


def _owner_who_signs(home: Home) -> Owner:
    owner = _owners_file(home)
    if Signer.parse(owner.signing_key).verifier not in [signer.verifier for signer in home.signers()]:
        raise Refused(
            f"{owners.FILE_NAME} signs with another key than this home", "use the owner's file of this clinic"
        )
    return owner


def _signed_now(place: Home) -> Step:
    step = Step(place.archive_name, (), ())

    def look() -> None:
        head = place.any_writer().head()
        step.before = (str(head.signer),)

    _attempt(step, look)
    return step


def _hand_over(place: Home, step: Step, current: Signer, following: Signer, why: Why) -> None:
    """Two checkpoints: the last under the current key, which names the next, and the first under that one.

    With the second nobody who trusts the new sheet can be shown an archive that ends with the first.
    """
    archive = Archive.open(place.store(), current, lambda: [following])
    step.origin = archive.config.origin
    if archive.head().signer != following.verifier:
        handover = write_handover(current, following, time=place.clock(), actor=why.actor, reason=why.reason)
        step.checkpoint = _ship(place, archive, [add_signer(archive, handover)])
    head = archive.head()
    if head.manifest is None or head.manifest.signed_with(head.first) != following.verifier:
        _ship(place, archive, [])


def _ship(place: Home, archive: Archive, entries: Sequence[Entry]) -> int:
    """The number of the checkpoint that names the entries."""
    with closing(place.log()) as log:
        shipped = place.shipper(log, archive).ship_once(entries)
    place.remember(shipped.note)
    return shipped.checkpoint


def _switch(home: Home, owner: Owner, current: Signer, following: Signer) -> Owner:
    """The last steps, once every archive is signed with the new key. Each may be done again."""
    new = replace(
        owner,
        signing_key=following.secret_text(),
        verification_key=str(following.verifier),
        next_signing_key="",
    )
    replace_key_file(home.keys / owners.FILE_NAME, owners.owner_text(new))
    _edit_settings(home, lambda document: _set_verifier(document, current, following))
    replace_key_file(home.keys / owners.SHEET_NAME, sheet_of(home, new))
    with disk_errors(home.keys):
        (home.next_keys / SIGNING_KEY).replace(home.keys / SIGNING_KEY)
        sync(home.keys)
        sync(home.next_keys)
    return new


def _set_verifier(document: TOMLDocument, current: Signer, following: Signer) -> None:
    keys: Any = document["keys"]
    earlier = [str(one) for one in keys.get("earlier_verification_keys", [])]
    keys["verification_key"] = str(following.verifier)
    kept = [one for one in dict.fromkeys([*earlier, str(current.verifier)]) if one != str(following.verifier)]
    keys["earlier_verification_keys"] = kept


def _edit_settings(home: Home, edit: Callable[[TOMLDocument], None]) -> None:
    """Changes rekam.toml in place: what people wrote beside it stays. Raises Unavailable."""
    path = home.path / FILE_NAME
    with disk_errors(path):
        before = path.read_text(encoding="utf-8")
        document = tomlkit.parse(before)
        edit(document)
        after = tomlkit.dumps(document)
        if after == before:
            return
        if path.stat().st_mode & OTHERS:
            put_durably(path, after.encode())
        else:  # it holds credentials, and nobody else reads it
            replace_key_file(path, after)
