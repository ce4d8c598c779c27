"""The file: tables, blobs, sessions. The only room (with `sql`) that knows SQLite.

Functions take a `Session` and never open a connection; every write happens inside
`session.writing()`. Rows are the truth; what is derived from them can be rebuilt.
"""
