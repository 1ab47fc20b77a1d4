"""A clinic and its witness, the real server between them: law 7 against the clinic itself, who holds every key."""

from __future__ import annotations

import shutil
import socket
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from events.errors import ArchiveDiverged
from replicator.note import open_note, parse_head
from replicator.witnessing.cosignature import attested_by_witness
from replicator.witnessing.growth import read_on
from replicator.witnessing.keeping import WitnessFolder
from services.archives import replicate_each_forever
from services.home import Home
from services.witnessing.asking import askers
from services.witnessing.standing import cosigned_notes, witnesses_of, word_of
from tests.command_line import rekam, wait_for
from tests.witnesses import Serving, get, serving


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic that shipped once."""
    home = tmp_path_factory.mktemp("witnessed") / "clinic"
    rekam(home, "init")
    write(home, 1)
    rekam(home, "replicate", "--once")
    return home


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "clinic"))


@pytest.fixture
def folder(clinic: Path, tmp_path: Path) -> Path:
    """A witness's folder that knows the clinic."""
    path = tmp_path / "witness"
    WitnessFolder.create(path, "notary.example/1").trust(origin(clinic), Home.open(clinic).verifier())
    return path


@pytest.fixture
def witness(folder: Path, clinic: Path):
    with serving(folder) as served:
        name_witness(clinic, served)
        yield served


def write(home: Path, seed: int) -> None:
    rekam(home, "simulate", "--patients", "1", "--events", "10", "--seed", str(seed))


def origin(home: Path) -> str:
    return Home.open(home).archive().config.origin


def name_witness(home: Path, served: Serving, name: str = "notary") -> None:
    key = WitnessFolder.open(served.path).cosigner.key
    with (home / "rekam.toml").open("a") as file:
        file.write(f'\n[[witnesses]]\nname = "{name}"\nurl = "{served.url}"\nkey = "{key}"\n')


def newest(home: Path) -> bytes:
    """The text of the archive's newest note."""
    place = Home.open(home)
    return open_note(place.archive().head.note, [place.verifier()])


def attested(home: Path) -> bool:
    """As whoever audits asks."""
    place = Home.open(home)
    keys = [witness.key for witness in witnesses_of(place)]
    return set(attested_by_witness(newest(home), cosigned_notes(place), keys)) == {"notary.example/1"}


def forget(home: Path) -> None:
    """What somebody does who rewrites the past of this home: nothing here remembers the true one."""
    shutil.rmtree(home / "keys" / "seen")


def status(home: Path, code: int = 0) -> tuple[str, str]:
    """(colour, what is said of the witness)."""
    found = rekam(home, "status", "--json", code=code).json()
    (of,) = found["witnesses"]
    return of["status"], of["text"]


def test_every_checkpoint_of_a_normal_life_is_cosigned(clinic: Path, witness: Serving) -> None:
    for seed in range(2, 8):
        write(clinic, seed)
        told = rekam(clinic, "replicate", "--once")
        assert "witness" not in told.err
        assert attested(clinic)
        kept = (clinic / "keys" / "seen" / "archive.notary.note").read_bytes()
        assert get(witness.url, f"/checkpoint/{origin(clinic)}").data == kept
    assert status(clinic) == ("green", "")
    assert sum("cosigned" in line for line in witness.told) == 6
    assert not any("refused" in line for line in witness.told)


def test_a_witness_cosigns_on_once_it_is_told_the_clinics_new_key(clinic: Path, witness: Serving) -> None:
    rekam(clinic, "replicate", "--once")
    kept = (clinic / "keys" / "seen" / "archive.notary.note").read_bytes()
    told = rekam(clinic, "keys", "rotate", "signing", "--reason", "a test").out
    key = str(Home.open(clinic).verifier())
    line = f"rekam witness trust {origin(clinic)} '{key}' --only --folder DIR"
    assert line in told
    write(clinic, 2)
    refused = rekam(clinic, "replicate", "--once").err
    assert "it does not know this clinic's key" in refused and f"trust {origin(clinic)} '{key}'" in refused
    assert status(clinic)[0] == "yellow"  # what it cosigned under the earlier key is known still
    assert (clinic / "keys" / "seen" / "archive.notary.note").read_bytes() == kept
    rekam(clinic, "witness", "trust", origin(clinic), key, "--only", "--folder", witness.path)
    rekam(clinic, "witness", "ask")
    assert attested(clinic) and status(clinic) == ("green", "")


def test_a_witness_that_is_down_is_caught_up_with(clinic: Path, folder: Path) -> None:
    with serving(folder) as served:
        name_witness(clinic, served)
        rekam(clinic, "replicate", "--once")
    for seed in (2, 3, 4):
        write(clinic, seed)
        told = rekam(clinic, "replicate", "--once")
        assert "checkpoint" in told.out
        assert "warning: archive: witness 'notary': the witness does not answer" in told.err
    assert not attested(clinic)
    colour, text = status(clinic)
    assert colour == "yellow" and "does not answer" in text
    assert "does not answer" in rekam(clinic, "witness", "ask", code=1).out
    with (
        serving(folder, served.port) as back,
        mock.patch("services.witnessing.asking.read_on", partial(read_on, limit=1)),
    ):
        rekam(clinic, "witness", "ask")
        assert sum("cosigned" in line for line in back.told) == 3, "in strides, which here are checkpoints"
    assert attested(clinic)
    assert status(clinic) == ("green", "")


def test_asked_by_hand_it_vouches_for_the_same_tree_again(clinic: Path, witness: Serving) -> None:
    rekam(clinic, "witness", "ask")
    told = rekam(clinic, "witness", "ask", "--json").json()["witnesses"]
    leaves = parse_head(newest(clinic)).size
    assert told == [{"archive": "archive", "witness": "notary", "leaves": leaves, "error": None}]
    assert sum(f"{leaves} leaves" in line for line in witness.told) == 2


def test_two_homes_that_ship_to_one_archive(clinic: Path, witness: Serving, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(clinic / "keys", other / "keys")
    settings = (clinic / "rekam.toml").read_text()
    for name in ("sqlite:log.db", "sqlite:tables.db"):
        settings = settings.replace(name, f"sqlite:{clinic / name.partition(':')[2]}")
    (other / "rekam.toml").write_text(settings.replace('url = "archive"', f'url = "{clinic / "archive"}"'))
    for seed in range(2, 6):
        write(clinic, seed)
        for home in (clinic, other) if seed % 2 else (other, clinic):
            assert "warning" not in rekam(home, "replicate", "--once").err
            assert attested(home)
    for home in (clinic, other):
        rekam(home, "witness", "ask")
        assert status(home) == ("green", "")
    assert any("refused, 409" in line for line in witness.told), "each was told where the other had come to"


def test_two_homes_that_ask_at_the_same_time(clinic: Path, witness: Serving) -> None:
    places = [Home.open(clinic) for _ in range(4)]
    start = threading.Barrier(4)
    found: list[int] = []

    def ask(place: Home) -> None:
        (asker,) = askers(place)
        start.wait()
        found.append(asker.ask())

    threads = [threading.Thread(target=ask, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [parse_head(newest(clinic)).size] * 4


def test_a_rolled_back_archive_is_refused(clinic: Path, witness: Serving, tmp_path: Path) -> None:
    before = shutil.copytree(clinic / "archive", tmp_path / "before")
    write(clinic, 2)
    rekam(clinic, "replicate", "--once")
    vouched = get(witness.url, f"/checkpoint/{origin(clinic)}").data
    shutil.rmtree(clinic / "archive")
    before.rename(clinic / "archive")
    told = rekam(clinic, "witness", "ask", code=1)
    assert "rolled back" in told.out, "this home remembers"
    forget(clinic)
    told = rekam(clinic, "witness", "ask", code=1)
    assert "rolled back or rewritten" in told.out and "and the archive holds" in told.out
    colour, text = status(clinic, code=1)
    assert colour == "red" and "the witness cosigned" in text
    assert get(witness.url, f"/checkpoint/{origin(clinic)}").data == vouched
    assert not attested(clinic)


def test_a_history_forked_with_the_clinics_own_key_is_refused_and_shown(
    clinic: Path, witness: Serving, tmp_path: Path
) -> None:
    forked = Path(shutil.copytree(clinic, tmp_path / "forked"))
    for seed in (2, 3):
        write(clinic, seed)
        rekam(clinic, "replicate", "--once")
    true = parse_head(newest(clinic))
    forget(forked)
    seen: set[str] = set()
    while parse_head(newest(forked)).size <= true.size:
        write(forked, 100 + len(seen))
        assert "rolled back or rewritten" in rekam(forked, "replicate", "--once").err
        assert not attested(forked)
        colour, text = status(forked, code=1)
        assert colour == "red"
        seen.add(text)
    assert parse_head(newest(forked)).size > true.size
    assert any("refuses the proof" in text for text in seen)
    assert any("refused, 422" in line for line in witness.told)
    write(clinic, 4)
    rekam(clinic, "replicate", "--once")
    assert attested(clinic), "the true history goes on"


def test_a_fork_of_the_same_size_is_refused_and_shown(clinic: Path, witness: Serving, tmp_path: Path) -> None:
    forked = Path(shutil.copytree(clinic, tmp_path / "forked"))
    for home, seed in ((clinic, 2), (forked, 3)):
        write(home, seed)
        rekam(home, "replicate", "--once")
    true, false = (parse_head(newest(home)) for home in (clinic, forked))
    assert true.size == false.size and true.root != false.root
    forget(forked)
    assert "another tree of the same size" in rekam(forked, "witness", "ask", code=1).out
    assert status(forked, code=1)[0] == "red"
    told = len(witness.told)
    shutil.copy(clinic / "keys" / "seen" / "archive.notary.note", forked / "keys" / "seen")
    with pytest.raises(ArchiveDiverged, match="another tree of the same size"):
        askers(Home.open(forked))[0].ask()
    assert len(witness.told) == told, "the word that was kept is enough"


def test_what_a_person_must_mend_is_yellow_and_says_how(
    clinic: Path, witness: Serving, tmp_path: Path
) -> None:
    rekam(clinic, "archive", "add", "second", tmp_path / "disk")
    told = rekam(clinic, "replicate", "--once")
    second = Home.open(clinic).with_archive("second")
    command = f"rekam witness trust {second.archive().config.origin} '{second.verifier()}' --folder DIR"
    assert command in told.err
    rows = rekam(clinic, "status", "--json").json()["witnesses"]
    assert {row["archive"]: row["status"] for row in rows} == {"archive": "green", "second": "yellow"}
    rekam(
        None, "witness", "trust", second.archive().config.origin, second.verifier(), "--folder", witness.path
    )
    rekam(clinic, "witness", "ask")
    rows = rekam(clinic, "status", "--json").json()["witnesses"]
    assert {row["status"] for row in rows} == {"green"}


def test_an_answer_by_another_key_is_not_taken(clinic: Path, witness: Serving, tmp_path: Path) -> None:
    other = WitnessFolder.create(tmp_path / "other", "notary.example/1").cosigner.key
    text = (clinic / "rekam.toml").read_text()
    true = str(WitnessFolder.open(witness.path).cosigner.key)
    (clinic / "rekam.toml").write_text(text.replace(true, str(other)))
    assert "no cosignature of" in rekam(clinic, "witness", "ask", code=1).out
    assert status(clinic)[0] == "yellow"
    assert not attested(clinic)


@pytest.mark.parametrize(
    "lines",
    [
        'name = "notary"\nurl = "http://localhost:1"\nkey = "nonsense"',
        'name = "no tary"\nurl = "http://localhost:1"\nkey = "KEY"',
        'name = "notary"\nurl = "ftp://localhost:1"\nkey = "KEY"',
        'name = "notary"\nurl = "http://localhost:1"',
        "\n[[witnesses]]\n".join(['name = "notary"\nurl = "http://h:1"\nkey = "KEY"'] * 2),
    ],
)
def test_settings_that_cannot_be(clinic: Path, folder: Path, lines: str) -> None:
    lines = lines.replace("KEY", str(WitnessFolder.open(folder).cosigner.key))
    with (clinic / "rekam.toml").open("a") as file:
        file.write(f"\n[[witnesses]]\n{lines}\n")
    assert "witnesses" in rekam(clinic, "status", code=2).err


def test_no_witness_is_said(clinic: Path) -> None:
    assert "names no witness" in rekam(clinic, "witness", "ask", code=2).err
    assert rekam(clinic, "status", "--json").json()["witnesses"] == []


def test_a_word_that_was_damaged_is_red_and_replaced_by_the_next(clinic: Path, witness: Serving) -> None:
    rekam(clinic, "witness", "ask")
    kept = clinic / "keys" / "seen" / "archive.notary.note"
    kept.write_bytes(kept.read_bytes().replace(b"\n\n", b"0\n\n"))
    assert status(clinic, code=1)[0] == "red"
    kept.unlink()
    rekam(clinic, "witness", "ask")
    assert attested(clinic)


@contextmanager
def replicating(home: Path):
    """Shipping all day, every tenth of a second: what it told of witnesses."""
    stop, told = threading.Event(), []
    with mock.patch.dict("os.environ", {"REKAM_REPLICATOR__INTERVAL_SECONDS": "0.1"}):
        places = Home.open(home).archives()
    args = (places, stop, lambda text: told.append(text) if "witness" in text else None)
    thread = threading.Thread(target=replicate_each_forever, args=args)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join()


def test_all_day_each_checkpoint_is_cosigned_soon_after_it_was_committed(clinic: Path, folder: Path) -> None:
    with serving(folder) as served:
        name_witness(clinic, served)
        with replicating(clinic) as told:
            for seed in (2, 3):
                before = newest(clinic)
                write(clinic, seed)
                wait_for(lambda before=before: newest(clinic) != before and attested(clinic), "a cosignature")
            port = served.port
    assert told == []
    with replicating(clinic) as told:
        write(clinic, 4)
        wait_for(lambda: told, "word that the witness is gone")
        assert "does not answer" in told[0]
        wait_for(lambda: not attested(clinic), "the next checkpoint")
        with mock.patch("services.witnessing.asking.RETRY_SECONDS", 0.1), serving(folder, port):
            wait_for(lambda: attested(clinic), "the witness that is back")
            wait_for(lambda: len(told) > 1, "word of it")
    assert told[1:] == ["archive: witness 'notary' cosigns again"]


def test_a_witness_that_never_answers_holds_up_nothing(clinic: Path, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name_witness(clinic, Serving(folder, f"http://127.0.0.1:{silent.getsockname()[1]}"))
        with replicating(clinic) as told:
            connection, _ = silent.accept()  # it is being asked now
            for seed in (2, 3, 4):
                before = newest(clinic)
                write(clinic, seed)
                wait_for(lambda before=before: newest(clinic) != before, "the next checkpoint")
            assert told == [], "it is asked still"
        connection.close()
    assert word_of(Home.open(clinic), witnesses_of(Home.open(clinic))[0]) is None


def test_an_audit_takes_the_witnesss_word_for_the_newest_checkpoint(clinic: Path, witness: Serving) -> None:
    rekam(clinic, "witness", "ask")
    (clinic / "keys" / "seen" / "newest.note").unlink()
    assert rekam(clinic, "audit", "verify", "--json").json()["outcome"] == "ok"
    for kept in (clinic / "keys" / "seen").glob("*.note"):
        kept.unlink()
    assert rekam(clinic, "audit", "verify", "--json", code=4).json()["outcome"] == "inconclusive"
