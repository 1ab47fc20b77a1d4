"""When somebody is told that the system is not well, and how."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from services.status import Colour, Status
from services.watching.alerts import Alert, Channel, Told, after, alert_forever, deliver, to_tell

HOUR = 3_600_000
RED, YELLOW = Colour.RED, Colour.YELLOW


def status(now: int, *findings: tuple[Colour, str]) -> Status:
    return Status(now, findings=list(findings))


def told_at(told: Told, found: Status) -> tuple[Alert | None, Told]:
    alert = to_tell(told, "Klinik", found, HOUR)
    return alert, after(alert) if alert else told


def test_news_is_told_once_and_again_after_a_while_and_the_end_of_it():
    told = Told()
    alert, told = told_at(told, status(0))
    assert alert is None
    alert, told = told_at(told, status(1, (RED, "3 records are late")))
    assert alert is not None
    assert alert.findings == ((RED, "3 records are late"),)
    alert, told = told_at(told, status(2, (RED, "4 records are late")))
    assert alert is None, "a number that changed is no news"
    alert, told = told_at(told, status(3, (RED, "4 records are late"), (RED, "the disk is full")))
    assert alert is not None
    alert, told = told_at(told, status(4, (RED, "the disk is full")))
    assert alert is None, "something that ended, while the rest stays, can wait"
    alert, told = told_at(told, status(3 + HOUR, (RED, "the disk is full")))
    assert alert is not None
    alert, told = told_at(told, status(4 + HOUR))
    assert alert is not None
    assert alert.findings == ()
    alert, told = told_at(told, status(5 + 9 * HOUR))
    assert alert is None


def test_yellow_wakes_nobody():
    assert to_tell(Told(), "Klinik", status(1, (YELLOW, "look at this")), HOUR) is None


ALERT = Alert("Klinik", 5, RED, ((RED, "nothing is shipped"),))


def test_a_command_gets_the_alert_as_json(tmp_path: Path):
    target = tmp_path / "told.json"
    program = f"import sys; open({str(target)!r}, 'w').write(sys.stdin.read())"
    assert deliver(ALERT, [sys.executable, "-c", program], None) == []
    assert json.loads(target.read_text()) == ALERT.to_json()
    assert deliver(ALERT, [sys.executable, "-c", "raise SystemExit(1)"], None)
    assert deliver(ALERT, [str(tmp_path / "no-such-program")], None)


def test_a_webhook_is_posted_to_and_one_that_is_down_is_tried_again():
    got: list[bytes] = []
    stop = threading.Event()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fine = bool(got) or not said
            if fine:
                got.append(body)
            self.send_response(200 if fine else 503)
            self.end_headers()
            if fine:
                stop.set()

        def log_message(self, *_: object) -> None:
            pass

    said: list[str] = []
    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        said.append("not yet")
        looks = iter(range(1, 1_000))

        def tell(text: str) -> None:
            said.clear()

        channel = Channel((), url, 0.001, HOUR)
        look = lambda: status(next(looks), (RED, "nothing is shipped"))  # noqa: E731
        alert_forever(look, "Klinik", channel, stop, tell)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert json.loads(got[0])["findings"] == [{"status": "red", "text": "nothing is shipped"}]
    assert len(got) == 1
