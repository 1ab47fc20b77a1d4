"""The witness's endpoint, over HTTP: every status of C2SP tlog-witness, limits, the command, and kill -9."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import urllib3

from replicator.merkle import consistency_proof, leaf_hash, root
from replicator.note import Signer, TreeHead, head_text, parse_head, sign_note
from replicator.witnessing.cosignature import Cosigner, WitnessKey, cosigned
from replicator.witnessing.request import MAX_REQUEST_BYTES, AddCheckpoint
from tests.command_line import ROOT, finish, rekam
from tests.witnesses import Serving, get, post, serving, start_witness

ORIGIN = "rekam/a/b"
clinic, stranger = Signer("rekam/a", b"1" * 32), Signer("rekam/a", b"2" * 32)
LEAVES = [leaf_hash(b"%d" % n) for n in range(40)]
FORKED = [*LEAVES[:3], *(leaf_hash(b"other %d" % n) for n in range(37))]


def body(leaves: list[bytes], old: int, size: int, *, origin: str = ORIGIN, signer: Signer = clinic) -> bytes:
    note = sign_note(head_text(TreeHead(origin, size, root(leaves[:size]))), [signer])
    proof = consistency_proof(leaves[:size], old) if 0 < old <= size else []
    return AddCheckpoint(old, proof, note).to_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "witness"
    rekam(None, "witness", "init", "--folder", path, "--name", "notary.example/1")
    rekam(None, "witness", "trust", ORIGIN, clinic.verifier, "--folder", path)
    return path


@pytest.fixture
def witness(folder: Path):
    with serving(folder, clock=lambda: 1_679_315_147_999) as served:
        yield served


def key_of(folder: Path) -> WitnessKey:
    return Cosigner.parse((folder / "witness.key").read_text()).key


def test_init_shows_a_key_that_clinics_can_take_and_no_secret(tmp_path: Path) -> None:
    told = rekam(None, "witness", "init", "--folder", tmp_path / "w", "--name", "notary", "--json")
    key = WitnessKey.parse(told.json()["key"])
    assert key == key_of(tmp_path / "w")
    secret = (tmp_path / "w" / "witness.key").read_text().strip()
    assert secret.rpartition("+")[2] not in told.out + told.err
    assert (tmp_path / "w" / "witness.key").stat().st_mode & 0o777 == 0o600
    again = rekam(None, "witness", "init", "--folder", tmp_path / "w", "--name", "notary", code=1)
    assert "exists already" in again.err


def test_what_the_commands_refuse(folder: Path, tmp_path: Path) -> None:
    rekam(None, "witness", "init", "--folder", tmp_path / "w", "--name", "two words", code=2)
    rekam(None, "witness", "trust", ORIGIN, "no key", "--folder", folder, code=2)
    rekam(None, "witness", "trust", ORIGIN, key_of(folder), "--folder", folder, code=2)
    told = rekam(None, "witness", "trust", ORIGIN, clinic.verifier, "--folder", tmp_path, code=2)
    assert "holds no witness" in told.err
    rekam(None, "witness", "serve", "--port", 0, "--folder", tmp_path, code=2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = rekam(None, "witness", "serve", "--port", port, "--folder", folder, code=1)
        assert "cannot be listened at" in told.err


def test_a_checkpoint_is_cosigned_and_kept(witness: Serving) -> None:
    key = key_of(witness.path)
    assert get(witness.url, f"/checkpoint/{ORIGIN}").status == 404
    for old, size in ((0, 5), (5, 5), (5, 17), (17, 40)):
        request = body(LEAVES, old, size)
        answer = post(witness.url, request)
        assert answer.status == 200, answer.data
        note = request.partition(b"\n\n")[2] + answer.data
        assert cosigned(note, [key]).times == {"notary.example/1": 1_679_315_147}
        kept = get(witness.url, f"/checkpoint/{ORIGIN}")
        assert (kept.status, kept.data) == (200, note)
    assert get(witness.url, f"/checkpoint/{quote(ORIGIN, safe='')}").data == note
    assert get(witness.url, "/health").data == b"ok, 1 origins\n"


def test_every_refusal_has_its_status(witness: Serving) -> None:
    assert post(witness.url, body(LEAVES, 0, 10)).status == 200
    stale = post(witness.url, body(LEAVES, 5, 20))
    assert (stale.status, stale.data) == (409, b"10\n")
    assert stale.headers["Content-Type"] == "text/x.tlog.size"
    fork = post(witness.url, body(FORKED, 10, 10))
    assert (fork.status, fork.data) == (409, b"10\n")
    assert post(witness.url, body(FORKED, 10, 20)).status == 422
    assert post(witness.url, body(LEAVES, 0, 20, signer=stranger)).status == 403
    assert post(witness.url, body(LEAVES, 0, 20, origin="rekam/x/y")).status == 404
    assert post(witness.url, body(LEAVES, 21, 20)).status == 400
    assert post(witness.url, b"nonsense").status == 400
    assert post(witness.url, b"").status == 400
    assert post(witness.url, b"x" * (MAX_REQUEST_BYTES + 1)).status == 413
    assert get(witness.url, "/add-checkpoint").status == 405
    assert get(witness.url, "/checkpoint/rekam/x/y").status == 404
    assert post(witness.url, body(LEAVES, 10, 20)).status == 200, "none of it changed what is kept"


def test_a_chunked_body_has_the_same_limit(witness: Serving) -> None:
    def endless():
        for _ in range(1000):
            yield b"x" * 1024

    with suppress(urllib3.exceptions.HTTPError):  # the connection may be gone before all was sent
        answer = urllib3.request("POST", f"{witness.url}/add-checkpoint", body=endless(), retries=False)
        assert answer.status == 413
    assert get(witness.url, "/health").status == 200


def test_logs_tell_what_happened_and_nothing_that_a_stranger_sent(witness: Serving) -> None:
    post(witness.url, body(LEAVES, 0, 10))
    post(witness.url, body(FORKED, 10, 20))
    post(witness.url, body(LEAVES, 0, 20, origin="3171014501900001"))
    post(witness.url, b"old 3171014501900001\n\n")
    told = "\n".join(witness.told)
    assert f"cosigned: {ORIGIN}, 10 leaves" in told
    assert f"refused, 422: {ORIGIN}, 20 leaves from 10" in told
    assert "refused, 404" in told and "refused, 400" in told
    assert "3171014501900001" not in told
    *_, secret = (witness.path / "witness.key").read_text().strip().split("+", 4)  # base64 may hold a + too
    assert len(secret) > 40 and secret not in told


def test_an_archive_that_is_trusted_while_the_witness_runs(witness: Serving) -> None:
    request = body(LEAVES, 0, 10, origin="rekam/a/c")
    assert post(witness.url, request).status == 404
    rekam(None, "witness", "trust", "rekam/a/c", clinic.verifier, "--folder", witness.path)
    assert post(witness.url, request).status == 200


def test_a_damaged_folder_cosigns_nothing_and_tells_its_keeper(witness: Serving) -> None:
    assert post(witness.url, body(LEAVES, 0, 10)).status == 200
    (newest,) = witness.path.glob("origins/*/newest.note")
    newest.unlink()
    answer = post(witness.url, body(LEAVES, 0, 10))
    assert answer.status == 500
    assert str(witness.path) not in answer.data.decode()
    assert any("newest.note is gone" in line for line in witness.told)


def test_the_command_stops_when_it_is_told_to(folder: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process, url = start_witness(folder)
        assert get(url, "/health").status == 200
        process.send_signal(number)
        finish(process)


def test_killed_at_any_instant_it_never_cosigns_two_trees_of_one_size(folder: Path) -> None:
    """Two histories of one clinic are asked for at once, over and over, while the witness is killed."""
    rnd, key, lock = random.Random(1), key_of(folder), threading.Lock()
    given: list[TreeHead] = []

    def press(url: str, leaves: list[bytes]) -> None:
        with suppress(urllib3.exceptions.HTTPError):
            while True:
                stale = post(url, body(leaves, 0, 40))
                size = int(stale.data) if stale.status == 409 else 40
                if size >= 40:
                    return
                request = body(leaves, size, size + 1)
                answer = post(url, request)
                if answer.status == 200:
                    text, times = cosigned(request.partition(b"\n\n")[2] + answer.data, [key])
                    assert times
                    with lock:
                        given.append(parse_head(text))
                elif answer.status == 422:
                    return  # the other history was cosigned

    assert post_first(folder)
    for _ in range(4):
        process, url = start_witness(folder)
        threads = [threading.Thread(target=press, args=(url, leaves)) for leaves in (LEAVES, FORKED)]
        for thread in threads:
            thread.start()
        with suppress(subprocess.TimeoutExpired):
            process.wait(rnd.uniform(0.02, 0.3))
        process.kill()
        for thread in threads:
            thread.join()
        process.communicate()
    roots: dict[int, bytes] = {}
    for head in given:
        assert roots.setdefault(head.size, head.root) == head.root
    assert given
    assert any(all(root(leaves[: head.size]) == head.root for head in given) for leaves in (LEAVES, FORKED))


def post_first(folder: Path) -> bool:
    """One leaf that both histories share, so that a request from nothing is told the size."""
    with serving(folder) as served:
        return post(served.url, body(LEAVES, 0, 1)).status == 200


def test_no_other_command_imports_the_server() -> None:
    code = (
        "import sys; from services.cli.main import application; application(['witness']); application(['status']); "
        "application([]); print([m for m in ('fastapi', 'uvicorn', 'urllib3') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
