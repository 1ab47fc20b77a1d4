"""SIGTERM and Ctrl-C, however the system hands them to a process of several threads."""

from __future__ import annotations

import signal
import threading

import pytest

from services.cli.stopping import SIGNALS, until_stopped

PATIENCE_SECONDS = 10.0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_while_the_main_thread_waits_for_others(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stopped = []

    def work() -> None:
        signal.pthread_kill(threading.get_ident(), number)  # the kernel may choose any thread
        stopped.append(stop.wait(PATIENCE_SECONDS))

    with until_stopped() as stop:
        assert not stop.is_set()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert stopped == [True]
    assert signal.getsignal(number) is before and signal.set_wakeup_fd(-1) == -1


def test_without_a_signal_nothing_stops_and_no_thread_is_left() -> None:
    threads = threading.active_count()
    with until_stopped() as stop:
        assert threading.active_count() == threads + 1
    assert not stop.is_set() and threading.active_count() == threads
