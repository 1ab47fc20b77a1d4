"""Child processes that a test leaves behind: found by their parent, never by their name.

Where the kernel can, this process adopts its descendants' orphans (a "subreaper"), so that the worker of a command
that was killed in a test is noticed too and does not live on unseen.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Collection
from multiprocessing import resource_tracker

import psutil

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_SECONDS = 5.0


def adopt_orphans() -> None:
    """Become the parent of what our children leave behind (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[psutil.Process]:
    """Our living child processes, but for Python's own resource tracker."""
    if not _has_any():
        return set()
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    return {child for child in psutil.Process().children() if child.pid != tracker and _lives(child)}


def left(before: Collection[psutil.Process], known: Collection[int]) -> list[psutil.Process]:
    """Those that neither were there before nor are known, once they had `PATIENCE_SECONDS` to end."""
    new = [child for child in children() - set(before) if child.pid not in known]
    if not new:
        return []
    _, alive = psutil.wait_procs(new, timeout=PATIENCE_SECONDS)
    return [child for child in alive if _lives(child)]


def described(process: psutil.Process) -> str:
    """Process id and the first words of its command; no arguments that could hold more."""
    try:
        return f"{process.pid} ({' '.join(process.cmdline()[:3])})"
    except psutil.Error:
        return str(process.pid)


def _has_any() -> bool:
    """Whether there is a child at all, which is asked around each test; finding out which looks at every process."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # takes nothing from who waits for it
    except ChildProcessError:
        return False
    return True


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
