"""Auditing an archive: what an outsider can check of it, from its bytes and a note that was kept elsewhere.

Unlike a reader, who stops at the first thing that is wrong, an auditor goes on and names everything that is.
"""
