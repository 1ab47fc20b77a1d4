"""SIGTERM and Ctrl-C for what runs all day: an event, so that what is under way ends cleanly."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def until_stopped() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set.

    A thread of its own sets it. A handler in Python runs in the main thread alone, when that wakes: where the kernel
    interrupts another thread it may sleep in join() for ever, and where it holds the event's lock it waits for itself.
    The interpreter's own handler, which writes to the wakeup descriptor, runs at once and anywhere.
    """
    stop = threading.Event()
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def listen() -> None:
        while told := reader.recv(1):
            if told[0] in SIGNALS:
                stop.set()

    thread = threading.Thread(target=listen, name="signals")
    descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    thread.start()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)
        writer.close()
        thread.join()
        reader.close()
