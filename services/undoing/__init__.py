"""Undoing what went wrong with one patient's record: by new events, so that history keeps both."""
