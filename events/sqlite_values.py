"""Values on their way into SQLite, for every connection of the process: import this where connections are made.

CPython's sqlite3 asks for an adapter for each value that is not exactly an int, a float, a str or a bytearray. For None
and bytes, of which half of our values are, it finds none and goes on to ask the object itself, which takes longer than
everything else about the value together: a row of 24 columns took 4.2 µs to insert, and takes 2.1 µs with the adapters
below, which change no value and are found at once. (Python 3.11; docs/benchmarks.md.)
"""

from __future__ import annotations

import sqlite3

NOTHING: dict[None, None] = {}

sqlite3.register_adapter(type(None), NOTHING.get)  # None of None, without a Python frame
sqlite3.register_adapter(bytes, memoryview)
