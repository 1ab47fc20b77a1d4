"""What a command prints: results on stdout, everything else (progress, warnings, errors) on stderr.

With --json stdout is exactly one JSON document, so a script can parse it whatever else happens.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from events.errors import RekamError

WIDE = 400
"""Columns of a table that goes to a file or a pipe: nothing is cut there."""

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=str)
    sys.stdout.write("\n")


def say(text: str = "") -> None:
    """A line for the person: on stderr, so that it never mixes with a result."""
    err.print(text, markup=False)


def show(text: str = "") -> None:
    """A line of the result."""
    out.print(text, markup=False)


def complain(error: RekamError) -> None:
    """An error as one clear line, and its hint as another."""
    err.print(f"error: {error.message}", markup=False, style="red")
    if error.hint:
        err.print(f"hint: {error.hint}", markup=False)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    out.print(table)


class Advance(Protocol):
    """Reports that the work stands at `done` of `total` (None: unknown)."""

    def __call__(self, done: float, total: float | None = None) -> None: ...


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """A progress bar on stderr; silent where stderr is no terminal."""
    if not err.is_terminal:
        yield lambda done, total=None: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err, transient=True) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: float, total: float | None = None) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
